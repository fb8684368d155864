/** Comparison of answers with those of the vectors; for Node and for pages. */

import type { AnyAnswer } from "../src/answers.js";
import type { Text } from "../src/text/encoder.js";
import type { TextVector } from "./vectors.js";

export const FP32_TOLERANCE = 1e-3;
export const INT8_ERROR = 0.5; // five times the limit of the self-test, as `gearshift verify --vectors` has it for one row
export const INT8_AGREEMENT = 0.9;

export function textOf(vector: TextVector): Text {
  if (vector.words) return { words: vector.words };
  return vector.text!.length > 1 ? [vector.text![0]!, vector.text![1]!] : vector.text![0]!;
}

/** Text that places of an answer are in. */
export function placedIn(vector: TextVector): string {
  return vector.words?.join(" ") ?? vector.text!.at(-1)!;
}

/** An answer in the form of the vectors: names of Python, places in characters. */
export function plain(answer: AnyAnswer, text: string): unknown {
  const characters = (place: number): number => [...text.slice(0, place)].length;
  const renamed = (value: unknown): unknown => {
    if (value instanceof Float32Array) return Array.from(value);
    if (Array.isArray(value)) return value.map(renamed);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(
      Object.entries(value).map(([name, one]) => {
        if (name === "start" || name === "end") return [name, characters(one as number)];
        return [name === "nullScoreDiff" ? "null_score_diff" : name, renamed(one)];
      }),
    );
  };
  return renamed(answer);
}

export function isSame(expected: unknown, found: unknown, tolerance: number): boolean {
  if (typeof expected === "number" && typeof found === "number") {
    return Math.abs(expected - found) <= tolerance;
  }
  if (typeof expected !== "object" || expected === null || typeof found !== "object" || found === null) return expected === found;
  const names = Object.keys(expected);
  return (
    names.length === Object.keys(found).length &&
    names.every((name) => Object.hasOwn(found, name) && isSame((expected as any)[name], (found as any)[name], tolerance))
  );
}

/** Spread of the outputs of a subnet: of one text, or of all texts where an output is one number. */
export function spreadAt(vectors: readonly TextVector[], vector: TextVector, precision: string, subnet: string): number {
  const { output } = vector.precisions[precision]![subnet]!;
  return spreadOf(output.length > 1 ? output : vectors.flatMap((one) => one.precisions[precision]![subnet]!.output));
}

function spreadOf(values: readonly number[]): number {
  const mean = values.reduce((sum, one) => sum + one, 0) / values.length;
  return Math.max(Math.sqrt(values.reduce((sum, one) => sum + (one - mean) ** 2, 0) / values.length), FP32_TOLERANCE);
}

