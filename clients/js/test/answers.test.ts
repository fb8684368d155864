/** Answers are read from as many numbers as the manifest says, and from no others. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { readAnswer } from "../src/answers.js";
import type { Manifest, Task } from "../src/manifest.js";
import type { Encoded } from "../src/text/encoder.js";

const ENCODED = { encoding: { ids: [2, 7, 3] } } as unknown as Encoded;

const WIDTHS: [Task, string[], number][] = [
  ["classification", ["on", "off"], 2],
  ["multi-label-classification", ["on", "off"], 2],
  ["regression", [], 1],
  ["token-classification", ["O", "B-x"], 6],
  ["question-answering", [], 6],
];

for (const [task, labels, wanted] of WIDTHS) {
  test(`${task} with a label too few or too many is refused, and has no label that is undefined`, () => {
    for (const found of [wanted - 1, wanted + 1]) {
      assert.throws(() => readAnswer({ task, labels } as unknown as Manifest, new Float32Array(found), ENCODED, null), {
        name: "BundleError",
        message: `expected ${wanted} numbers of the graph, found ${found}; export the bundle again`,
      });
    }
  });
}
