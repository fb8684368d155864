/** Latency table of a bundle on a device, and the interpolation between its lengths. */

import { ProfileError } from "./errors.js";

export interface LatencyTable {
  /** Lengths of the timed texts in tokens, ascending. */
  readonly lengths: readonly number[];
  /** Subnet -> median latency of a call in ms, one value per length. */
  readonly medianMs: Readonly<Record<string, readonly number[]>>;
}

/** Median time in ms of a subnet for one text, on the unloaded device; never less than that of the shortest length. */
export function timeAt({ lengths, medianMs }: LatencyTable, name: string, tokens: number): number {
  const times = medianMs[name]!;
  const count = lengths.length;
  if (tokens <= lengths[0]!) return times[0]!;
  if (count === 1) return Math.max((times[0]! * tokens) / lengths[0]!, times[0]!);
  const found = lengths.findIndex((length) => length >= tokens);
  const right = found < 0 ? count - 1 : found;
  const slope = (times[right]! - times[right - 1]!) / (lengths[right]! - lengths[right - 1]!);
  const time =
    tokens > lengths[count - 1]!
      ? times[count - 1]! + Math.max(slope, 0) * (tokens - lengths[count - 1]!)
      : times[right - 1]! + slope * (tokens - lengths[right - 1]!);
  return Math.max(time, times[0]!);
}

/** Lengths in tokens to time: 8, 32, 128 and so on, and the longest that the bundle accepts. */
export function defaultLengths(maxLength: number): number[] {
  const lengths: number[] = [];
  for (let length = 8; length * 2 <= maxLength; length *= 4) lengths.push(length);
  return [...lengths, maxLength];
}

/** The first usable table of a folder's `latencies.json` for a manifest, precision, threads and device; else null. */
export function shippedTable(raw: unknown, wanted: Readonly<Record<string, unknown>>, names: readonly string[]): LatencyTable | null {
  const { schema_version, tables } = (raw ?? {}) as { schema_version?: unknown; tables?: unknown };
  if (schema_version !== 1 || !Array.isArray(tables)) return null;
  const isMeant = (table: any): boolean =>
    Object.entries(wanted).every(([name, value]) => table?.[name] === value || (name === "device" && table?.device === null));
  for (const table of tables.filter(isMeant)) {
    try {
      return checkedTable({ lengths: table.lengths, medianMs: table.median_ms }, names);
    } catch (error) {
      if (!(error instanceof ProfileError)) throw error;
    }
  }
  return null;
}

/** The table of plain values; raises ProfileError unless it has these subnets, ascending lengths and positive times. */
export function checkedTable(raw: unknown, names: readonly string[]): LatencyTable {
  const { lengths, medianMs } = (raw ?? {}) as Partial<LatencyTable>;
  const positive = (value: unknown): boolean => typeof value === "number" && value > 0 && Number.isFinite(value);
  const ascending =
    Array.isArray(lengths) &&
    lengths.length > 0 &&
    lengths.every((one, place) => Number.isInteger(one) && one >= 1 && (place === 0 || one > lengths[place - 1]!));
  const whole =
    ascending &&
    typeof medianMs === "object" &&
    medianMs !== null &&
    names.every((name) => {
      const times = Object.hasOwn(medianMs, name) ? medianMs[name] : null;
      return Array.isArray(times) && times.length === lengths.length && times.every(positive);
    });
  if (!whole) throw new ProfileError("latency table: expected positive milliseconds of every subnet; time it again");
  return { lengths, medianMs };
}
