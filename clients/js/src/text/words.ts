/** The rule by which a text is cut into the words that a model labels (docs/bundle.md, "Words and tags"). */

import { BLANK, countOf } from "./characters.js";
import { InputError, repr } from "../errors.js";
import type { WordRuleFields } from "../manifest.js";
import type { Place } from "./tokenizer.js";

const IDEOGRAPHS =
  "\\u3005-\\u3007\\u3041-\\u3096\\u309d-\\u30fa\\u30fc-\\u30ff\\u31f0-\\u31ff" +
  "\\u3400-\\u4dbf\\u4e00-\\u9fff\\uf900-\\ufaff\\u{20000}-\\u{3ffff}";
const WIDE_MARKS = "\\u3001-\\u3003\\u3008-\\u3011\\u3014-\\u301f\\uff01\\uff08\\uff09\\uff0c\\uff1a\\uff1b\\uff1f";
const CHUNK = new RegExp(`[^${BLANK}]+`, "gu");
const CLUSTER = new RegExp(
  `[\\u{1f1e6}-\\u{1f1ff}]{2}|.(?:[\\ufe0e\\ufe0f\\u20e3\\u{1f3fb}-\\u{1f3ff}\\u{e0020}-\\u{e007f}]|\\u200d[^${BLANK}])*`,
  "gsu",
);
const IDEOGRAPH_RUN = new RegExp(`[${IDEOGRAPHS}]+`, "gu");
const HAS_IDEOGRAPH = new RegExp(`[${IDEOGRAPHS}]`, "u");
const APART = new RegExp(
  `[${IDEOGRAPHS}][\\ufe00-\\ufe0f\\u{e0100}-\\u{e01ef}]*|[${WIDE_MARKS}]|[^${IDEOGRAPHS}${WIDE_MARKS}]+`,
  "gu",
);
const INITIALS = /^(?:[\p{L}\p{Nl}\p{No}]\.){2,}$/u;
const SIGNS = ".,+-\u2212";
const DIGIT = /^[\p{Nd}\u00b2\u00b3\u00b9\u2070\u2074-\u2079\u2080-\u2089\u2460-\u2468\u2474-\u247c\u2488-\u2490\u24ea\u24f5-\u24fd\u24ff\u2776-\u277e\u2780-\u2788\u278a-\u2792]+$/u;
const CATEGORIES = ["Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So"].map(
  (name) => [name, new RegExp(`^\\p{${name}}`, "u")] as const,
);

/** Words of a text, and the text that the model reads: the words with single blanks between them. */
export interface SplitText {
  readonly text: string;
  /** Place of each word in `text`. */
  readonly places: readonly Place[];
  /** Numbers of words that the words of the caller were cut into, in order; null for a text. */
  readonly counts: readonly number[] | null;
  /** Whether some of the text was left out. */
  readonly cut: boolean;
}

export function joined({ text, places }: SplitText): string {
  return places.map(([start, end]) => text.slice(start, end)).join(" ");
}

/** Place of each word in the joined text. */
export function joinedPlaces({ places }: SplitText): Place[] {
  let start = 0;
  return places.map(([from, to]) => {
    const place: Place = [start, start + to - from];
    start = place[1] + 1;
    return place;
  });
}

export class WordRule {
  private readonly kept: ReadonlySet<string>;

  constructor(private readonly fields: WordRuleFields) {
    this.kept = new Set(fields.kept);
  }

  /** Cut a text into words until they have `longest` characters; raises InputError for text without blanks. */
  split(text: string, longest: number): SplitText {
    const places: Place[] = [];
    let characters = 0;
    for (let [start, end] of this.places(text, longest + 1)) {
      const count = countOf(text.slice(start, end));
      if (characters + count > longest) {
        end = start + [...text.slice(start, end)].slice(0, Math.max(0, longest - characters)).join("").length;
        return { text, places: end > start ? [...places, [start, end]] : places, counts: null, cut: true };
      }
      this.check(text.slice(start, end));
      places.push([start, end]);
      characters += count + 1;
    }
    return { text, places, counts: null, cut: false };
  }

  /** Places of the words of a text; what has no blank for more than `longest` characters ends there. */
  *places(text: string, longest = Infinity): Generator<Place> {
    for (const chunk of text.matchAll(CHUNK)) {
      let start = chunk.index;
      const whole = chunk[0].length > longest ? [...chunk[0]].slice(0, longest).join("") : chunk[0];
      for (const word of this.cut(whole)) {
        yield [start, start + word.length];
        start += word.length;
      }
    }
  }

  private check(word: string): void {
    const most = this.fields.longest_ideographs;
    if (!most) return;
    const run = [...word.matchAll(IDEOGRAPH_RUN)].map(([one]) => one).find((one) => countOf(one) > most);
    if (run === undefined) return;
    throw new InputError(
      `${repr([...run].slice(0, 20).join(""))} has no blanks between its words; expected text like the training rows, whose ` +
        `words have at most ${most} characters; pass Words([...])`,
    );
  }

  private cut(chunk: string): string[] {
    if (this.kept.has(chunk) || /^[A-Za-z0-9]+$/.test(chunk)) return [chunk];
    if (this.fields.longest_ideographs || !HAS_IDEOGRAPH.test(chunk)) return this.withoutMarks(chunk);
    return [...chunk.matchAll(APART)].flatMap(([part]) => this.withoutMarks(part));
  }

  /** Cut marks and endings off both ends of a word, one by one, until nothing is left to cut off. */
  private withoutMarks(part: string): string[] {
    let found = clusters(part);
    const before: string[] = [];
    const behind: string[] = [];
    while (found.length) {
      const rest = found.join("");
      const first = run(found);
      const last = run(found.toReversed());
      if (first === found.length || this.isWhole(rest)) break;
      const ending = this.fields.endings.find((one) => rest.endsWith(one));
      if (this.cutsBefore(found[0]!, first, found[first]!)) {
        before.push(found.slice(0, first).join(""));
        found = found.slice(first);
      } else if (ending !== undefined) {
        behind.push(ending);
        found = clusters(rest.slice(0, rest.length - ending.length));
      } else if (cuts(this.fields.after, found.at(-1)!)) {
        behind.push(found.slice(-last).join(""));
        found = found.slice(0, -last);
      } else break;
    }
    const rest = found.join("");
    return [...before, ...(rest ? [rest] : []), ...behind.reverse()];
  }

  private isWhole(rest: string): boolean {
    return this.kept.has(rest) || this.fields.endings.includes(rest) || (this.fields.initials && INITIALS.test(rest));
  }

  private cutsBefore(mark: string, count: number, following: string): boolean {
    if (count === 1 && SIGNS.includes(mark) && DIGIT.test(following)) return false;
    return cuts(this.fields.before, mark) || (count > 1 && cuts(this.fields.after, mark));
  }
}

/** Cut the words of a caller as those of training rows were cut, until they have `longest` characters. */
export function splitWords(words: readonly string[], rule: WordRule | null, longest: number): SplitText {
  const places: Place[] = [];
  const counts: number[] = [];
  const read: string[] = [];
  let [start, characters, cut] = [0, 0, false];
  for (const word of words) {
    const own = rule === null ? word : word.trimEnd();
    cut = characters + countOf(own) > longest;
    if (cut && places.length) break;
    const begin = cut ? word.length - word.trimStart().length : 0;
    const kept = cut ? word.slice(0, begin) + [...word.slice(begin)].slice(0, longest).join("") : word;
    read.push(kept);
    const found: Place[] = rule === null ? [[begin, kept.length]] : [...rule.places(kept)];
    places.push(...found.map(([from, to]): Place => [start + from, start + to]));
    counts.push(found.length);
    start += word.length + 1;
    characters += countOf(word) + 1;
  }
  return { text: read.join(" "), places, counts, cut };
}

function clusters(text: string): string[] {
  return [...text.matchAll(CLUSTER)].map(([one]) => one);
}

function run(found: readonly string[]): number {
  const end = found.findIndex((one) => one !== found[0]);
  return end < 0 ? found.length : end;
}

function cuts(table: Readonly<Record<string, boolean>>, mark: string): boolean {
  const character = [...mark][0]!;
  const category = CATEGORIES.find(([, pattern]) => pattern.test(character))?.[0];
  if (category === undefined) return false;
  return (Object.hasOwn(table, character) ? table[character] : table[category]) ?? false;
}
