/** The ladder: the subnets of a pool that are worth switching between on this device, its Pareto front. */

import { InputError } from "../errors.js";
import type { LatencyTable } from "../latency_table.js";

export type ByName = Readonly<Record<string, number>>;

/** Time that subnets are compared by: the sum of the medians over the lengths, in ms. */
export function expected(table: LatencyTable): Record<string, number> {
  const sum = (times: readonly number[]): number => times.reduce((total, one) => total + one, 0);
  return Object.fromEntries(Object.entries(table.medianMs).map(([name, times]) => [name, sum(times)]));
}

/** Names of the Pareto front of accuracy and time, the most accurate (and slowest) first. */
export function ladderOf(accuracies: ByName, times: ByName): string[] {
  const names = Object.keys(accuracies);
  names.sort((one, other) => accuracies[other]! - accuracies[one]! || times[one]! - times[other]!);
  const front: string[] = [];
  for (const name of names) if (!front.length || times[name]! < times[front.at(-1)!]!) front.push(name);
  return front;
}

/** Accuracies made to rise with time where rows are too few to tell; with 0 rows, not known, nothing changes. */
export function smoothed(accuracies: ByName, times: ByName, rows: number): Record<string, number> {
  if (!rows) return { ...accuracies };
  const names = Object.keys(accuracies);
  names.sort((one, other) => times[one]! - times[other]! || accuracies[other]! - accuracies[one]!);
  const left: string[] = [];
  const asFast: Record<string, string> = {};
  let best = -Infinity;
  for (const name of names) {
    const last = left.at(-1);
    if (last !== undefined && times[name] === times[last]) asFast[name] = last;
    else if (!left.length || best - accuracies[name]! <= noise(best, rows)) {
      left.push(name);
      best = Math.max(best, accuracies[name]!);
    }
  }
  const values = isotonic(left.map((name) => accuracies[name]!));
  const risen = Object.fromEntries(left.map((name, place) => [name, values[place]!]));
  const below = Object.entries(asFast).map(([name, better]) => [name, Math.min(accuracies[name]!, risen[better]!)]);
  return { ...accuracies, ...risen, ...Object.fromEntries(below) };
}

/** Difference of two accuracies on the same rows that luck alone hardly makes: two standard errors. */
function noise(accuracy: number, rows: number): number {
  const share = (Math.min(Math.max(accuracy, 0), 1) * rows + 2) / (rows + 4);
  return 2 * Math.sqrt((share * (1 - share)) / (rows + 4));
}

/** The rising sequence that is nearest to the values: pool adjacent violators. */
function isotonic(values: readonly number[]): number[] {
  const blocks: [number, number][] = [];
  for (const value of values) {
    let [mean, count] = [value, 1];
    while (blocks.length && blocks.at(-1)![0] >= mean - 1e-12) {
      const [before, size] = blocks.pop()!;
      [mean, count] = [(before * size + mean * count) / (size + count), size + count];
    }
    blocks.push([mean, count]);
  }
  return blocks.flatMap(([mean, count]) => new Array<number>(count).fill(mean));
}

/** The rungs whose accuracy is at least `least`, as the bundle states it; raises InputError if there is none. */
export function rungsAbove(stated: ByName, ladder: readonly string[], least: number | null): readonly number[] {
  const rungs = [...ladder.keys()];
  if (least === null) return rungs;
  const enough = rungs.filter((rung) => stated[ladder[rung]!]! >= least);
  if (enough.length) return enough;
  const best = ladder.reduce((one, other) => (stated[other]! > stated[one]! ? other : one));
  throw new InputError(
    `min_accuracy: expected at most ${stated[best]}, that of ${best}, the best on this device's ladder, got ${least}`,
  );
}
