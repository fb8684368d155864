/** From the output of a graph to a typed answer (docs/bundle.md, "Answers"). Places are in UTF-16 units. */

import { BundleError } from "./errors.js";
import { TASKS, type Manifest } from "./manifest.js";
import { begins, Scheme, type Tag } from "./text/tags.js";
import type { Encoded } from "./text/encoder.js";
import type { Encoding, Place } from "./text/tokenizer.js";
import { joinedPlaces, type SplitText } from "./text/words.js";

const LONGEST_ANSWER = 30;
const NULL_TOKEN = 0;
const OUTSIDE = "O";

export interface Classification {
  readonly label: string;
  /** Probability of `label`, from 0 to 1. */
  readonly score: number;
  readonly scores: Readonly<Record<string, number>>;
}

export interface MultiLabelClassification {
  /** Labels of a probability of at least 1/2, the most probable first. */
  readonly labels: readonly string[];
  readonly scores: Readonly<Record<string, number>>;
}

export interface Regression {
  readonly value: number;
}

export interface Word {
  readonly text: string;
  readonly start: number;
  readonly end: number;
  readonly label: string;
  readonly score: number;
}

export interface TokenClassification {
  readonly words: readonly Word[];
  readonly entities: readonly Word[];
}

export interface QuestionAnswering {
  /** Text of the answer; empty if there is none. */
  readonly answer: string;
  readonly start: number;
  readonly end: number;
  readonly score: number;
  readonly answerable: boolean;
  /** Score of no answer less that of the best one; null for a model that always answers. */
  readonly nullScoreDiff: number | null;
}

export interface Embedding {
  readonly vector: Float32Array;
}

export interface Answers {
  classification: Classification;
  "multi-label-classification": MultiLabelClassification;
  regression: Regression;
  "token-classification": TokenClassification;
  "question-answering": QuestionAnswering;
  embedding: Embedding;
}
export type AnyAnswer = Answers[keyof Answers];

/**
 * Read the answer of a bundle's task for one text; raises BundleError for another number of numbers than it has.
 * `output`: the graph's numbers for it, row after row.
 */
export function readAnswer(
  manifest: Manifest,
  output: Float32Array,
  encoded: Encoded,
  nullThreshold: number | null,
): AnyAnswer {
  const { labels, task } = manifest;
  const columns = task === "question-answering" ? 2 : Math.max(1, labels.length);
  const wanted = columns * (TASKS[task].perToken ? encoded.encoding.ids.length : 1);
  if (task !== "embedding" && output.length !== wanted) {
    throw new BundleError(`expected ${wanted} numbers of the graph, found ${output.length}; export the bundle again`);
  }
  switch (task) {
    case "classification": {
      const shares = softmax(output);
      const best = indexOfHighest(output);
      return { label: labels[best]!, score: shares[best]!, scores: byLabel(labels, shares) };
    }
    case "multi-label-classification": {
      const scores = Array.from(output, sigmoid);
      const order = labels.map((_, place) => place).filter((place) => scores[place]! >= 0.5);
      order.sort((one, other) => scores[other]! - scores[one]!);
      return { labels: order.map((place) => labels[place]!), scores: byLabel(labels, scores) };
    }
    case "regression":
      return { value: output[0]! };
    case "token-classification":
      return tokenClassification(manifest, output, encoded);
    case "question-answering":
      return questionAnswering(output, encoded, nullThreshold);
    case "embedding":
      return { vector: output.slice() };
  }
}

function byLabel(labels: readonly string[], scores: readonly number[]): Record<string, number> {
  return Object.fromEntries(labels.map((label, place) => [label, scores[place]!]));
}

function softmax(logits: ArrayLike<number>): number[] {
  const numbers = Array.from(logits);
  const highest = Math.max(...numbers);
  const exponents = numbers.map((one) => Math.exp(one - highest));
  const total = exponents.reduce((sum, one) => sum + one, 0);
  return exponents.map((one) => one / total);
}

function sigmoid(logit: number): number {
  return logit >= 0 ? 1 / (1 + Math.exp(-logit)) : Math.exp(logit) / (1 + Math.exp(logit));
}

function indexOfHighest(values: ArrayLike<number>): number {
  let best = 0;
  for (let place = 1; place < values.length; place += 1) if (values[place]! > values[best]!) best = place;
  return best;
}

function tokenClassification(manifest: Manifest, output: Float32Array, encoded: Encoded): TokenClassification {
  const { labels } = manifest;
  const { encoding, split } = encoded;
  const scheme = schemeOf(manifest);
  const best = (token: number | null): readonly [string, number] => {
    if (token === null) return [OUTSIDE, 0];
    const row = output.subarray(token * labels.length, (token + 1) * labels.length);
    const place = indexOfHighest(row);
    return [labels[place]!, softmax(row)[place]!];
  };
  if (split === null) {
    const text = encoded.parts[0]!;
    const found = tokenizerWords(encoding, text).map(([token, start, end]) => wordOf(text, [start, end], best(token)));
    const moved = (one: Word): Word => ({ ...one, start: one.start + encoded.starts[0]!, end: one.end + encoded.starts[0]! });
    return { words: found.map(moved), entities: entities(found, text, scheme).map(moved) };
  }
  const tokens = firstTokens(encoding, joinedPlaces(split));
  const known = tokens.map((token, number) => (token === null ? -1 : number)).filter((number) => number >= 0);
  const isRead = (number: number): boolean =>
    !encoding.cut || (known.length > 0 && number >= known[0]! && number <= known.at(-1)!);
  const pieces = split.places.map((place, number) =>
    isRead(number) ? wordOf(split.text, place, best(tokens[number]!)) : null,
  );
  const read = pieces.filter((piece) => piece !== null);
  const words = split.counts === null ? read : givenWords(pieces, split, split.counts, scheme, labels);
  return { words, entities: entities(read, split.text, scheme) };
}

/** Scheme of the labels; of bundles that record none, whose labels may be of any, `B-` and `I-` keep their sense. */
function schemeOf({ tagging, labels }: Manifest): Scheme {
  if (tagging !== undefined) return new Scheme(tagging.scheme.name, tagging.scheme.form);
  return labels.some((label) => /^[BI]-./.test(label)) ? new Scheme("IOB2", "B-x") : new Scheme("plain", "B-x");
}

function wordOf(text: string, [start, end]: Place, [label, score]: readonly [string, number]): Word {
  return { text: text.slice(start, end), start, end, label, score };
}

/** Words of the caller, each with the label of the pieces that it was cut into. */
function givenWords(
  pieces: readonly (Word | null)[],
  split: SplitText,
  counts: readonly number[],
  scheme: Scheme,
  labels: readonly string[],
): Word[] {
  const words: Word[] = [];
  let place = 0;
  for (const count of counts) {
    const own = pieces.slice(place, place + count).filter((piece) => piece !== null);
    const [start, end] = [split.places[place]![0], split.places[place + count - 1]![1]];
    place += count;
    if (!own.length) continue;
    const label = scheme.join(own.map((piece) => piece.label), labels);
    words.push(wordOf(split.text, [start, end], [label, own[0]!.score]));
  }
  return words;
}

/** First token, start and end of each word of the first text, as the tokenizer cuts it. */
function tokenizerWords(encoding: Encoding, text: string): [number, number, number][] {
  const words = new Map<number, number[]>();
  for (const [token, word] of encoding.words.entries()) {
    if (word === null || encoding.sequences[token] !== 0) continue;
    words.set(word, [...(words.get(word) ?? []), token]);
  }
  const found: [number, number, number][] = [];
  for (const tokens of words.values()) {
    const [from, to] = [encoding.places[tokens[0]!]![0], encoding.places[tokens.at(-1)!]![1]];
    const whole = text.slice(from, to);
    const start = from + whole.length - whole.trimStart().length;
    if (whole.trim()) found.push([tokens[0]!, start, start + whole.trim().length]);
  }
  return found;
}

/** First token of each word of the joined text; null for one that was cut off, or that has no token of its own. */
function firstTokens(encoding: Encoding, places: readonly Place[]): (number | null)[] {
  const taken = new Set<number>();
  return places.map(([start, end]) => {
    const token = encoding.places.findIndex(
      ([from, to], one) => encoding.sequences[one] === 0 && from < end && to > start && to > from,
    );
    if (token < 0 || taken.has(token)) return null;
    taken.add(token);
    return token;
  });
}

function entities(words: readonly Word[], text: string, scheme: Scheme): Word[] {
  const found: Word[] = [];
  let run: Word[] = [];
  let last: Tag = [OUTSIDE, ""];
  const end = (): void => {
    if (!run.length) return;
    const [start, stop] = [run[0]!.start, run.at(-1)!.end];
    const score = run.reduce((sum, word) => sum + word.score, 0) / run.length;
    found.push({ text: text.slice(start, stop), start, end: stop, label: last[1], score });
    run = [];
  };
  for (const word of words) {
    const tag = scheme.read(word.label);
    if (tag[0] === OUTSIDE || begins(last, tag)) end();
    if (tag[0] !== OUTSIDE) run.push(word);
    last = tag;
  }
  end();
  return found;
}

function questionAnswering(output: Float32Array, encoded: Encoded, threshold: number | null): QuestionAnswering {
  const { sequences, places } = encoded.encoding;
  const second = sequences.flatMap((sequence, token) => (sequence === 1 ? [token] : []));
  const none = { answer: "", start: 0, end: 0, answerable: false } as const;
  if (threshold === null && !second.length) return { ...none, score: 0, nullScoreDiff: null };
  const tokens = threshold === null ? second : [NULL_TOKEN, ...second];
  const [firsts, lasts] = [0, 1].map((column) => logSoftmax(tokens.map((token) => output[2 * token + column]!)));
  const offset = threshold === null ? 0 : 1;
  const nothing = threshold === null ? -Infinity : firsts![0]! + lasts![0]!;
  if (!second.length) return { ...none, score: Math.exp(nothing), nullScoreDiff: null };
  let [best, first, last] = [-Infinity, 0, 0];
  for (let from = 0; from < second.length; from += 1) {
    for (let to = from; to < Math.min(second.length, from + LONGEST_ANSWER); to += 1) {
      const total = firsts![from + offset]! + lasts![to + offset]!;
      if (total > best) [best, first, last] = [total, from, to];
    }
  }
  const nullScoreDiff = threshold === null ? null : nothing - best;
  if (nullScoreDiff !== null && nullScoreDiff > threshold!) {
    return { ...none, score: Math.exp(nothing), nullScoreDiff };
  }
  const [start, end] = [places[second[first]!]![0], places[second[last]!]![1]];
  const answer = encoded.parts.at(-1)!.slice(start, end);
  const by = encoded.starts.at(-1)!;
  return { answer, start: start + by, end: end + by, score: Math.exp(best), answerable: true, nullScoreDiff };
}

function logSoftmax(values: readonly number[]): number[] {
  const highest = Math.max(...values);
  const log = Math.log(values.reduce((sum, one) => sum + Math.exp(one - highest), 0));
  return values.map((one) => one - log - highest);
}
