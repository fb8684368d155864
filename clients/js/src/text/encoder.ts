/** From a text to the tokens that a graph takes: checks, prompt, shortening, words (docs/bundle.md). */

import { BLANK, isBlank } from "./characters.js";
import { InputError, shown, typeName } from "../errors.js";
import type { Manifest } from "../manifest.js";
import { TASKS } from "../manifest.js";
import { Tokenizer, type Encoding } from "./tokenizer.js";
import { joined, splitWords, WordRule, type SplitText } from "./words.js";

const CHARACTERS_PER_TOKEN = 32;
const WORD = new RegExp(`[^${BLANK}]+`, "gu");

/** One text, a pair of texts that are read together, or, for token classification, the words of a text. */
export type Text = string | readonly [string, string] | { readonly words: readonly string[] };

export interface Encoded {
  readonly encoding: Encoding;
  /** Texts as they were tokenized: cut, and words with single blanks between them. */
  readonly parts: readonly string[];
  /** Place of each part in the text that was given, in UTF-16 units. */
  readonly starts: readonly number[];
  readonly truncated: boolean;
  /** Words of the first text; null where the tokenizer alone cuts it. */
  readonly split: SplitText | null;
}

interface Part {
  readonly text: string;
  readonly cut: boolean;
  readonly start: number;
}

export class TextEncoder {
  private readonly rule: WordRule | null;
  private readonly characters: number;
  private readonly prompt: string;
  private readonly keepsPlaces: boolean;

  constructor(private readonly manifest: Manifest, private readonly tokenizer: Tokenizer) {
    this.rule = manifest.tagging === undefined ? null : new WordRule(manifest.tagging.words);
    this.characters = manifest.max_length * CHARACTERS_PER_TOKEN;
    this.prompt = manifest.vectors?.prompt ?? "";
    this.keepsPlaces = TASKS[manifest.task].perToken;
  }

  /** Tokens of a text; raises InputError for an empty one and for anything but a text. */
  encode(text: Text): Encoded {
    const [split, parts] = this.parts(text);
    for (const part of parts) {
      if (!part.text.isWellFormed()) throw new InputError("not valid Unicode; expected text without lone surrogates");
    }
    const texts = parts.map((part) => part.text);
    const encoding = this.tokenizer.encode(texts);
    const truncated = encoding.cut || parts.some((part) => part.cut);
    return { encoding, parts: texts, starts: parts.map((part) => part.start), truncated, split };
  }

  private parts(text: unknown): [SplitText | null, Part[]] {
    if (typeof text === "object" && text !== null && "words" in text) {
      if (this.manifest.task !== "token-classification") {
        throw new InputError("expected a text, got Words, which are for token classification; pass a text");
      }
      const split = splitWords(checkedWords(text.words), this.rule, this.characters);
      return [split, [{ text: joined(split), cut: split.cut, start: 0 }]];
    }
    const [first, ...others] = checkedParts(text);
    if (this.manifest.task === "question-answering" && !others.length) {
      throw new InputError("expected a pair, a question and the text with its answer, got one text");
    }
    const rest = others.map((part) => this.shortened(part, ""));
    if (this.rule === null) return [null, [this.shortened(first!, this.prompt), ...rest]];
    const split = this.rule.split(first!, this.characters);
    return [split, [{ text: joined(split), cut: split.cut, start: 0 }, ...rest]];
  }

  /** Cut a text, with `prompt` before it, to the characters that can fit the model. */
  private shortened(text: string, prompt: string): Part {
    const [longest, beginning] = [this.characters, this.tokenizer.cutsBeginning];
    const whole = prompt + text;
    if (!isLonger(whole, longest)) return { text: whole, cut: false, start: 0 };
    if (this.keepsPlaces) {
      const kept = beginning ? tail(text, longest) : head(text, longest);
      return { text: kept, cut: true, start: beginning ? text.length - kept.length : 0 };
    }
    const single = beginning ? whole.match(WORD)!.join(" ") : firstWords(whole, longest);
    if (!isLonger(single, longest)) return { text: single, cut: false, start: 0 };
    return { text: beginning ? tail(single, longest) : head(single, longest), cut: true, start: 0 };
  }
}

/** Words of a text with single blanks between them, up to the first that makes it longer than `longest` characters. */
function firstWords(text: string, longest: number): string {
  let kept = "";
  for (const [word] of text.matchAll(WORD)) {
    kept += kept ? ` ${word}` : word;
    if (isLonger(kept, longest)) break;
  }
  return kept;
}

/** Whether a text has more than `longest` code points. */
function isLonger(text: string, longest: number): boolean {
  if (text.length <= longest) return false;
  if (text.length > 2 * longest) return true;
  let count = 0;
  for (const _ of text) if (++count > longest) return true;
  return false;
}

function head(text: string, count: number): string {
  return [...text.slice(0, 2 * count)].slice(0, count).join("");
}

function tail(text: string, count: number): string {
  return [...text.slice(-2 * count - 1)].slice(-count).join("");
}

function checkedParts(text: unknown): string[] {
  const parts: unknown[] = Array.isArray(text) ? text : [text];
  if (Array.isArray(text) && parts.length !== 2) {
    throw new InputError(`expected a text or a pair of texts, got a tuple of ${parts.length}`);
  }
  for (const part of parts) {
    if (typeof part !== "string") {
      throw new InputError(`expected a text (str) or a pair of texts, got ${typeName(part)}`);
    }
    if (isBlank(part)) throw new InputError("empty text; expected at least one word");
  }
  return parts as string[];
}

function checkedWords(words: unknown): string[] {
  if (!Array.isArray(words)) throw new InputError(`Words: expected a list of words, got ${typeName(words)}`);
  if (!words.length) throw new InputError("Words: empty list; expected at least one word");
  for (const [number, word] of words.entries()) {
    if (typeof word !== "string") throw new InputError(`word ${number}: expected a word (str), got ${typeName(word)}`);
    if (isBlank(word)) {
      throw new InputError(`word ${number}: empty; expected a word, leave it out together with its label`);
    }
  }
  return words;
}

/** A deadline in ms, or null; raises InputError for anything but a positive number or nothing. */
export function checkedDeadline(deadlineMs: unknown): number | null {
  if (deadlineMs === null || deadlineMs === undefined) return null;
  if (typeof deadlineMs === "number" && deadlineMs > 0 && deadlineMs < Infinity) return deadlineMs;
  throw new InputError(`deadline_ms: expected a positive number of milliseconds or None, got ${shown(deadlineMs)}`);
}
