/** N-grams of a text as 64-bit keys, as `gearshift.runtime.dan.ngrams` makes them (docs/bundle.md, "The DAN"). */

import { BLANK } from "../text/characters.js";

const IDEOGRAPHS = "\\u3040-\\u30ff\\u3400-\\u9fff";
const LETTER = "[\\p{L}\\p{N}_]";
const WORD = new RegExp(
  `(?:(?![${IDEOGRAPHS}])${LETTER})+|(?!${LETTER})[^${BLANK}]|[${IDEOGRAPHS}]`,
  "gu",
);
const LETTER_BASE = 0x9e3779b97f4a7c15n;
const WORD_BASE = 0xc2b2ae3d27d4eb4fn;
const MIX = 0xd6e8feb86659fd93n;
const HALF = 32n;
/** Bytes that are hashed at once: a word that is cut by this is two. */
const PIECE = 1 << 13;
const BEYOND_ASCII = 128;

export function whole(value: bigint): bigint {
  return BigInt.asUintN(64, value);
}

/** Key of every n-gram of 1 to `longest` words, repeats kept: single words, then pairs, and so on. */
export function keys(text: string, longest: number): bigint[] {
  let last = wordKeys(text);
  const single = last;
  const found = [...single];
  for (let length = 2; length <= Math.min(longest, single.length); length += 1) {
    last = last.slice(0, -1).map((key, place) => whole(key * WORD_BASE + single[place + length - 1]!));
    found.push(...last);
  }
  return found.map((key) => {
    const mixed = whole((key ^ (key >> HALF)) * MIX);
    return mixed ^ (mixed >> HALF);
  });
}

function wordKeys(text: string): bigint[] {
  let lower = text.toLowerCase();
  if (/[^\x00-\x7f]/.test(lower)) lower = (lower.match(WORD) ?? []).join(" "); // can be split like ASCII then
  const content = new TextEncoder().encode(lower);
  const found: bigint[] = [];
  let start = 0;
  while (content.length - start >= PIECE) {
    let end = start + PIECE - 2;
    while (end > start && KINDS[content[end]!] !== "blank") end -= 1;
    if (end === start) end = start + PIECE - 1;
    found.push(...hashed(content.subarray(start, end)));
    start = end;
  }
  found.push(...hashed(content.subarray(start)));
  return found;
}

type Kind = "inside" | "alone" | "blank";

function kindOf(byte: number): Kind {
  const character = String.fromCharCode(byte);
  if (byte >= BEYOND_ASCII || /\w/.test(character)) return "inside";
  return /[\t-\r\x1c-\x20]/.test(character) ? "blank" : "alone";
}

const KINDS: readonly Kind[] = Array.from({ length: 256 }, (_, byte) => kindOf(byte));

/** Sum of (byte + 1) x base^place of each word, mixed. */
function hashed(content: Uint8Array): bigint[] {
  const found: bigint[] = [];
  let [sum, power, open] = [0n, 1n, false];
  const end = (): void => {
    if (open) found.push(whole((sum ^ (sum >> HALF)) * MIX));
    [sum, power, open] = [0n, 1n, false];
  };
  for (const byte of content) {
    const kind = KINDS[byte]!;
    if (kind !== "inside") end();
    if (kind === "blank") continue;
    sum = whole(sum + BigInt(byte + 1) * power);
    power = whole(power * LETTER_BASE);
    open = true;
    if (kind === "alone") end();
  }
  end();
  return found;
}
