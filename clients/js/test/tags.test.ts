/** Schemes of tags are read as by the Python engine. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { begins, Scheme } from "../src/text/tags.js";

test("a label is read by its scheme", () => {
  const read = (name: string, form: string, label: string): readonly string[] => new Scheme(name, form).read(label);
  assert.deepEqual(read("IOB2", "B-x", "B-person"), ["B", "person"]);
  assert.deepEqual(read("BILOU", "B-x", "L-person"), ["E", "person"]);
  assert.deepEqual(read("BILOU", "B-x", "U-person"), ["S", "person"]);
  assert.deepEqual(read("BMES", "x_B", "person_M"), ["I", "person"]);
  assert.deepEqual(read("BMEWO", "x-B", "person-W"), ["S", "person"]);
  assert.deepEqual(read("IOBES", "B", "S"), ["S", "_"]);
  assert.deepEqual(read("IO", "B-x", "B-person"), ["I", "B-person"]);
  assert.deepEqual(read("plain", "B-x", "B-person"), ["I", "B-person"]);
  assert.deepEqual(read("IOB2", "B-x", "O"), ["O", ""]);
});

test("a tag begins an entity behind another kind, an end, or nothing", () => {
  const cases: [string, string, string, string, boolean][] = [
    ["I", "a", "I", "a", false], ["I", "a", "I", "b", true], ["B", "a", "I", "a", false], ["I", "a", "B", "a", true],
    ["E", "a", "I", "a", true], ["S", "a", "I", "a", true], ["O", "", "I", "a", true], ["I", "a", "S", "a", true],
    ["I", "a", "E", "a", false], ["I", "a", "O", "", false],
  ];
  for (const [last, of, tag, kind, expected] of cases) assert.equal(begins([last, of], [tag, kind]), expected, `${last}${of} ${tag}${kind}`);
});

test("the tag of a word follows from those of its pieces", () => {
  const known = ["O", "B-x", "I-x", "E-x", "S-x", "B-y"];
  const joined = (labels: string[]): string => new Scheme("IOBES", "B-x").join(labels, known);
  assert.equal(joined(["B-x", "I-x"]), "B-x");
  assert.equal(joined(["B-x", "E-x"]), "S-x");
  assert.equal(joined(["I-x", "E-x"]), "E-x");
  assert.equal(joined(["I-x", "I-x"]), "I-x");
  assert.equal(joined(["B-x", "B-y"]), "B-x");
  assert.equal(joined(["O", "O"]), "O");
  assert.equal(new Scheme("IOBES", "B-x").join(["B-z", "E-z"], known), "B-z");
});
