/** Latency table of a bundle on this device, timed once and kept. */

import type { TestedDan } from "./bundle.js";
import { ProfileError } from "./errors.js";
import { checkedTable, defaultLengths, type LatencyTable } from "./latency_table.js";
import type { Manifest, PoolEntry } from "./manifest.js";
import type { ElasticSession } from "./session.js";

const RUNS = 5;
const FEWEST_RUNS = 3;
const BUDGET_MS = 2000;

/** Where tables are kept between two starts; `get` gives undefined for what is not there, and neither raises. */
export interface TableStore {
  get(key: string): Promise<unknown>;
  put(key: string, table: LatencyTable): Promise<void>;
}

/** The table that is kept under a key, or one that is timed now and kept. */
export async function keptOrTimed(
  store: TableStore | null,
  key: string,
  names: readonly string[],
  time: () => Promise<LatencyTable>,
): Promise<LatencyTable> {
  const kept = await store?.get(key);
  try {
    if (kept !== undefined) return checkedTable(kept, names);
  } catch (error) {
    if (!(error instanceof ProfileError)) throw error;
  }
  const table = await time();
  await store?.put(key, table);
  return table;
}

/** Time every subnet at every length, in rounds of a new random order. */
export async function timed(session: ElasticSession, dan: TestedDan | null, manifest: Manifest, pool: readonly PoolEntry[]): Promise<LatencyTable> {
  const lengths = defaultLengths(manifest.max_length);
  const calls = lengths.flatMap((length) => pool.map((entry) => ({ length, entry, times: [] as number[] })));
  const inputs = new Map(lengths.map((length) => [length, randomInputs(length, manifest.space.shape.vocabulary)]));
  const run = async ({ length, entry }: (typeof calls)[number]): Promise<number> => {
    const text = entry.executor === "dan" ? sample(dan!.words, length) : "";
    const began = performance.now();
    if (entry.executor === "dan") dan!.dan.run([text]);
    else await session.run(inputs.get(length)!, [1, length], entry);
    return performance.now() - began;
  };
  for (const call of calls) await run(call);
  const began = performance.now();
  for (let round = 0; round < RUNS && (round < FEWEST_RUNS || performance.now() - began < BUDGET_MS); round += 1) {
    for (const call of shuffled(calls)) call.times.push(await run(call));
  }
  const medians = (entry: PoolEntry): number[] => calls.filter((call) => call.entry === entry).map((call) => median(call.times));
  return { lengths, medianMs: Object.fromEntries(pool.map((entry) => [entry.name, medians(entry)])) };
}

/** A text of `length` words. */
function sample(words: readonly string[], length: number): string {
  return Array.from({ length }, (_, place) => words[place % words.length]!).join(" ");
}

function randomInputs(length: number, vocabulary: number): Map<string, BigInt64Array> {
  const filled = (value: () => number): BigInt64Array => BigInt64Array.from({ length }, () => BigInt(value()));
  return new Map([
    ["input_ids", filled(() => Math.floor(Math.random() * vocabulary))],
    ["attention_mask", filled(() => 1)],
    ["token_type_ids", filled(() => 0)],
  ]);
}

function shuffled<T>(values: readonly T[]): T[] {
  const found = [...values];
  for (let place = found.length - 1; place > 0; place -= 1) {
    const other = Math.floor(Math.random() * (place + 1));
    [found[place], found[other]] = [found[other]!, found[place]!];
  }
  return found;
}

/** Median; at least a microsecond, as clocks of browsers are coarse and a table has positive times. */
function median(values: readonly number[]): number {
  const ordered = values.toSorted((one, other) => one - other);
  const middle = ordered.length >> 1;
  const found = ordered.length % 2 ? ordered[middle]! : (ordered[middle - 1]! + ordered[middle]!) / 2;
  return Math.max(found, 1e-3);
}
