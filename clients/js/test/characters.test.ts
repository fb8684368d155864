/** Every character is cleaned, set apart, bared of accents, made small and cut at as the `tokenizers` package does. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";

import { cleaned, isChinese, isPunctuation, isSpace, withoutAccents } from "../src/text/characters.js";
import { MADE } from "./vectors.js";

const BLOCK = 1 << 12;
const RANGES = [[0, 0xd800], [0xe000, 0x30000], [0xe0000, 0xe1000]] as const;
const CHARACTERS = RANGES.flatMap(([first, end]) =>
  Array.from({ length: end - first }, (_, place) => String.fromCodePoint(first + place)),
);
const STEPS: Record<string, (character: string) => string> = {
  cleaned: (one) => `a${cleaned(one)}b`,
  apart: (one) => (isChinese(one) ? `a ${one} b` : `a${one}b`),
  bare: (one) => `a${withoutAccents(one)}b`,
  lower: (one) => `a${one.toLowerCase()}b`,
  words: (one) => (isSpace(one) ? "a b" : isPunctuation(one) ? `a ${one} b` : `a${one}b`),
};
const expected: Record<string, string[]> = JSON.parse(readFileSync(path.join(MADE, "characters.json"), "utf8"));

for (const [step, make] of Object.entries(STEPS)) {
  test(`every character is ${step} as in Python`, () => {
    assert.equal(expected[step]!.length, Math.ceil(CHARACTERS.length / BLOCK));
    for (const [block, hash] of expected[step]!.entries()) {
      const texts = CHARACTERS.slice(block * BLOCK, (block + 1) * BLOCK).map(make);
      const found = createHash("sha256").update(texts.join("\n")).digest("hex");
      assert.equal(found, hash, `block of ${CHARACTERS[block * BLOCK]!.codePointAt(0)!.toString(16)}`);
    }
  });
}

test("the tables end with Unicode 17, which this Node has", () => {
  assert.ok(Number.parseFloat(process.versions.unicode!) <= 17, "compare all characters again, and list those that differ");
});
