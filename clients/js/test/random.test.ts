/** Random texts of all scripts have the tokens and places of the `tokenizers` package, or are refused by name. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";

import { keys as ngramKeys } from "../src/dan/ngrams.js";
import { InputError } from "../src/errors.js";
import { Tokenizer } from "../src/text/tokenizer.js";
import { bundlePath, MADE } from "./vectors.js";

const MOST_REFUSED = 0.05;

const rows: { text: string; ids: number[]; places: [number, number][]; keys: [number, string] }[] = JSON.parse(
  readFileSync(path.join(MADE, "random.json"), "utf8"),
);
const json: unknown = JSON.parse(readFileSync(path.join(bundlePath("token"), "tokenizer.json"), "utf8"));

test("random texts have the tokens of Python", () => {
  const tokenizer = new Tokenizer(json, "tokenizer.json", 512);
  let refused = 0;
  for (const { text, ids, places } of rows) {
    try {
      const found = tokenizer.encode([text]);
      const inCharacters = found.places.map((place) => place.map((end) => [...text.slice(0, end)].length));
      assert.deepEqual([found.ids, inCharacters], [ids, places], JSON.stringify(text));
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      refused += 1;
    }
  }
  assert.ok(rows.length > 1000);
  assert.ok(refused <= MOST_REFUSED * rows.length, `${refused} of ${rows.length} are refused`);
});

test("random texts have the n-grams of Python", () => {
  for (const { text, keys } of rows) {
    const found = ngramKeys(text, 3);
    const sum = BigInt.asUintN(64, found.reduce((total, one) => total + one, 0n));
    assert.deepEqual([found.length, sum.toString(16)], keys, JSON.stringify(text));
  }
});
