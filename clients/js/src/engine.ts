/** The engine: answers each text with the most accurate subnet that keeps its deadline. */

import { readAnswer, type AnyAnswer } from "./answers.js";
import { Bundle, type TestedDan } from "./bundle.js";
import { DeadlineTooShortError, EngineClosedError, InputError, SelfTestError, shown } from "./errors.js";
import type { Files } from "./files.js";
import { checkedTable, shippedTable, type LatencyTable } from "./latency_table.js";
import type { PoolEntry, Precision } from "./manifest.js";
import { checkedOptions } from "./options.js";
import { checkedObjective, Controller, DEFAULT_OBJECTIVE, type Objective, type Reason } from "./policy/controller.js";
import { checkVersion, versionOf, type ElasticSession, type OnnxRuntime } from "./session.js";
import { checkedDeadline, type Encoded, type Text } from "./text/encoder.js";
import { keptOrTimed, timed, type TableStore } from "./timing.js";

/** Time in ms kept out of the slack for what follows the graph. */
const FINISH_MS = 0.2;

export interface LoadOptions extends Partial<Objective> {
  /** Precision of the graph; by default the faster one of those whose self-test passes here. */
  readonly precision?: Precision;
  /** Threads of a call, 1 by default. */
  readonly threads?: number;
  /** Latency table to use in place of a kept or timed one. */
  readonly table?: LatencyTable;
}

/** Names of the options of `load` that all platforms have. */
export const LOAD_OPTIONS: readonly (keyof LoadOptions)[] = [
  "precision", "threads", "table", ...(Object.keys(DEFAULT_OBJECTIVE) as (keyof Objective)[]),
];

/** What an engine needs of its platform. */
export interface Platform {
  readonly ort: OnnxRuntime;
  readonly files: Files;
  /** Where latency tables are kept; null to time them at every load. */
  readonly store: TableStore | null;
  /** Name of the device, under which tables are kept. */
  readonly device: string;
  /** Number of CPUs. */
  readonly cpus: number;
}

export interface RunOptions {
  /** Time for the answer in ms, from the call of `run` on. */
  readonly deadlineMs?: number | null;
  /** Takes the request back while it waits for another one. */
  readonly signal?: AbortSignal;
}

const RUN_OPTIONS: readonly (keyof RunOptions)[] = ["deadlineMs", "signal"];

/** Facts of the run behind an answer. */
export interface RunFacts {
  readonly subnet: string;
  readonly reason: Reason;
  /** Time in ms from the call of `run` to the answer. */
  readonly latencyMs: number;
  /** Bound in ms that the graph was predicted to stay under. */
  readonly predictedMs: number;
  readonly deadlineMs: number | null;
  readonly deadlineMet: boolean | null;
  readonly tokens: number;
  readonly truncated: boolean;
}

export type Answer = AnyAnswer & RunFacts;

interface Opened {
  readonly session: ElasticSession;
  readonly dan: TestedDan | null;
  readonly table: LatencyTable;
}

export class Engine {
  private pinned: string | null = null;
  private turn: Promise<unknown> = Promise.resolve();
  private waiting = 0;
  private closed = false;

  private constructor(
    readonly bundle: Bundle,
    private readonly session: ElasticSession,
    private readonly dan: TestedDan | null,
    /** Latencies of every subnet on this device. */
    readonly table: LatencyTable,
    private readonly controller: Controller,
  ) {}

  /** Load a bundle; raises a BundleError, or InputError for an option that cannot be used. */
  static async open(platform: Platform, options: LoadOptions = {}): Promise<Engine> {
    const { precision, threads = 1, table, ...wanted } = checkedOptions("load", options, LOAD_OPTIONS);
    if (precision !== undefined && typeof precision !== "string") {
      throw new InputError(`precision: expected fp32 or int8, got ${shown(precision)}`);
    }
    if (!Number.isInteger(threads) || threads < 1 || threads > 1024) {
      throw new InputError(`threads: expected a whole number from 1 to 1024, got ${shown(threads)}`);
    }
    const objective = checkedObjective(wanted);
    const bundle = await Bundle.open(platform.files);
    checkVersion(platform.ort, bundle.manifest.minimum_onnxruntime);
    if (precision !== undefined) bundle.pool(precision);
    const opened = await fastest(platform, bundle, precision === undefined ? bundle.precisions : [precision], threads, table);
    const { chosen_by, dev_rows = 0 } = bundle.manifest;
    const pool = [...bundle.entries(opened.session.precision).values()];
    const accuracies = Object.fromEntries(pool.map((one) => [one.name, one.dev_accuracy ?? one.accuracy]));
    const cpus = platform.cpus / threads;
    const controller = new Controller(accuracies, opened.table, objective, chosen_by === undefined ? 0 : dev_rows, cpus);
    return new Engine(bundle, opened.session, opened.dan, opened.table, controller);
  }

  get precision(): Precision {
    return this.session.precision;
  }

  /** Names of the subnets that the engine switches between on this device, the most accurate first. */
  get ladder(): readonly string[] {
    return this.controller.ladder;
  }

  /** Observed / expected latency now; 1 is the machine as it was when it was timed. */
  get slowDown(): number {
    return this.controller.slowDown;
  }

  /** Answer every request with this subnet; null goes back to deciding. */
  pin(name: string | null): void {
    if (name !== null) this.bundle.entry(name, this.precision);
    this.pinned = name;
  }

  /** Answer a text; requests are answered one after another.
   *
   * Raises InputError, DeadlineTooShortError if such are refused, EngineClosedError after `close`.
   */
  async run(text: Text, options?: RunOptions): Promise<Answer> {
    const arrived = performance.now();
    const { deadlineMs, signal } = checkedOptions("run", options, RUN_OPTIONS);
    if (signal !== undefined && !(signal instanceof AbortSignal)) {
      throw new InputError(`signal: expected an AbortSignal, got ${shown(signal)}`);
    }
    if (this.closed) throw new EngineClosedError("the engine is closed; load it again");
    const deadline = checkedDeadline(deadlineMs);
    const encoded = this.bundle.encoder.encode(text);
    const waits = this.waiting > 0;
    this.waiting += 1;
    const answer = this.turn.then(() => {
      signal?.throwIfAborted();
      return this.answer(encoded, arrived, deadline, waits);
    });
    this.turn = answer.catch(() => undefined).finally(() => (this.waiting -= 1));
    return answer;
  }

  /** Wait for the requests that are in, and free the weights. */
  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    await this.turn;
    await this.session.close();
  }

  private async answer(encoded: Encoded, arrived: number, deadlineMs: number | null, waited: boolean): Promise<Answer> {
    const began = performance.now();
    const tokens = encoded.encoding.ids.length;
    const decision = this.controller.decide({
      tokens,
      slackMs: deadlineMs === null ? null : deadlineMs - (began - arrived) - FINISH_MS,
      now: began / 1e3,
      pinned: this.pinned,
      deadlineMs: waited ? deadlineMs : null,
    });
    if (decision.reason === "rejected") {
      throw new DeadlineTooShortError(
        `refused: ${(deadlineMs! - (began - arrived) - FINISH_MS).toFixed(1)} ms are left of its deadline, and the fastest subnet may take ` +
          `${decision.predictedMs.toFixed(1)} ms now; give it more time, or load with on_miss='best_effort'`,
      );
    }
    const entry = this.bundle.entry(decision.subnet, this.precision);
    const output = await this.output(encoded, entry);
    const ended = performance.now();
    const answer = readAnswer(this.bundle.manifest, output, encoded, entry.null_threshold ?? null);
    const latencyMs = performance.now() - arrived;
    const deadlineMet = deadlineMs === null ? null : latencyMs <= deadlineMs;
    this.controller.record(decision, ended - began, deadlineMet, performance.now() / 1e3);
    const { subnet, reason, predictedMs } = decision;
    return { ...answer, subnet, reason, latencyMs, predictedMs, deadlineMs, deadlineMet, tokens, truncated: encoded.truncated };
  }

  /** The graph's numbers for one text, row after row. */
  private async output({ encoding, parts }: Encoded, entry: PoolEntry): Promise<Float32Array> {
    if (entry.executor === "dan") return this.dan!.dan.run(parts);
    const column = (values: readonly number[]): BigInt64Array => BigInt64Array.from(values, BigInt);
    const inputs = new Map([
      ["input_ids", column(encoding.ids)],
      ["attention_mask", column(encoding.ids.map(() => 1))],
      ["token_type_ids", column(encoding.types)],
    ]);
    return (await this.session.run(inputs, [1, encoding.ids.length], entry)).data as Float32Array;
  }
}

/** Open the graphs of some precisions one after another, and keep the one whose subnets take the least time here.
 *
 * A precision whose self-test fails is left out if another one passes.
 */
async function fastest(
  platform: Platform, bundle: Bundle, precisions: readonly Precision[], threads: number, table: LatencyTable | undefined,
): Promise<Opened> {
  const dan = await bundle.dan();
  let best: Opened | null = null;
  let failure: unknown = new SelfTestError(`${bundle.place}: no graph for CPUs in this bundle; export it with fp32 or int8`);
  for (const precision of precisions) {
    try {
      const opened = await open(platform, bundle, dan, precision, threads, table);
      const isSlower = best !== null && total(best.table) <= total(opened.table);
      await (isSlower ? opened : best)?.session.close();
      if (!isSlower) best = opened;
    } catch (error) {
      if (!(error instanceof SelfTestError)) throw error;
      failure = error;
    }
  }
  if (best === null) throw failure;
  return best;
}

async function open(
  platform: Platform, bundle: Bundle, dan: TestedDan | null, precision: Precision, threads: number, table: LatencyTable | undefined,
): Promise<Opened> {
  const { ort, store, device } = platform;
  const session = await bundle.session(ort, precision, threads);
  const pool = [...bundle.entries(precision).values()];
  const names = pool.map((entry) => entry.name);
  if (table !== undefined) return { session, dan, table: checkedTable(table, names) };
  const wanted = { manifest: bundle.hash, precision, threads, device };
  const shipped = shippedTable(await bundle.latencies(), wanted, names);
  if (shipped !== null) return { session, dan, table: shipped };
  const key = [bundle.hash, precision, threads, versionOf(ort), device].join(" ");
  return { session, dan, table: await keptOrTimed(store, key, names, () => timed(session, dan, bundle.manifest, pool)) };
}

function total({ medianMs }: LatencyTable): number {
  return Object.values(medianMs).flat().reduce((sum, one) => sum + one, 0);
}

