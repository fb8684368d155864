/** The controller: decides the subnet of each request and learns from its outcome; no timers, clocks or files.
 *
 * The rules of `gearshift.runtime.policy`, for one request after another (docs/bundle.md, "The decision").
 */

import { InputError, repr, shown, UnknownSubnetError } from "../errors.js";
import type { LatencyTable } from "../latency_table.js";
import { expected, ladderOf, rungsAbove, smoothed, type ByName } from "./ladder.js";
import { boundMs, LatencyModel, type Prediction } from "./latency_model.js";
import { Arrivals, Backoff } from "./restraint.js";
import { IDLE_S } from "./slow_down.js";

const GAP_MEMORY = 0.1;

/** Reason of a choice, in the words of the Python engine. */
export type Reason =
  | "fits" | "likely" | "best_effort" | "rejected" | "no_deadline" | "accuracy_floor" | "cpu_share" | "pinned";

/** What an engine is to keep, in the fields of Python's `Objective`. */
export interface Objective {
  /** Share of the deadlines to keep at least; null: as many as give the most right answers in time. */
  readonly target: number | null;
  /** What a late answer is worth, from 0 (nothing) to 1 (as much as one in time). */
  readonly lateValue: number;
  readonly minAccuracy: number | null;
  /** Without a deadline: share of the CPUs that requests may take on average. */
  readonly maxCpuShare: number | null;
  /** Where no subnet keeps a deadline: answer as fast as can be, or refuse. */
  readonly onMiss: "best_effort" | "reject";
}

export const DEFAULT_OBJECTIVE: Objective = {
  target: null, lateValue: 0, minAccuracy: null, maxCpuShare: null, onMiss: "best_effort",
};

/** Share of the requests that a predicted bound covers where no target was asked for. */
const USUAL_SHARE = 0.99;

/** Largest probability of being in time at which a request counts as late on every rung. */
const HOPELESS = 1e-3;

/** Multiple of its bound within which a run is in time for certain. */
const SURE = 2;

/** Slack in ms up to which nothing is in time. */
const NONE_MS = 1e-6;

/** The objective of these fields; raises InputError for one that is out of its range. */
export function checkedObjective(wanted: Partial<Objective>): Objective {
  const found = { ...DEFAULT_OBJECTIVE, ...wanted };
  const isShare = (value: unknown): value is number => typeof value === "number" && value > 0 && value <= 1;
  if (found.target !== null && (!isShare(found.target) || found.target < 0.5 || found.target === 1)) {
    throw new InputError(`target: expected a share of deadlines from 0.5 to below 1, got ${shown(found.target)}`);
  }
  if (found.lateValue !== 0 && !isShare(found.lateValue)) {
    throw new InputError(`late_value: expected a share from 0 to 1, got ${shown(found.lateValue)}`);
  }
  for (const [name, share] of [["min_accuracy", found.minAccuracy], ["max_cpu_share", found.maxCpuShare]] as const) {
    if (share !== null && !isShare(share)) {
      throw new InputError(`${name}: expected a share above 0 and up to 1, got ${shown(share)}`);
    }
  }
  if (found.onMiss !== "best_effort" && found.onMiss !== "reject") {
    throw new InputError(`on_miss: expected best_effort or reject, got ${repr(found.onMiss)}`);
  }
  return found;
}

export interface Request {
  readonly tokens: number;
  /** Time left for the graph in ms; null without a deadline. */
  readonly slackMs: number | null;
  /** Moment of the decision in seconds, on a clock that only goes forward. */
  readonly now: number;
  /** First rung that heat, battery or the like allow. */
  readonly first?: number;
  readonly pinned?: string | null;
  /** Slack of the request at its arrival; null if it did not wait. */
  readonly deadlineMs?: number | null;
}

export interface Decision {
  readonly subnet: string;
  /** Median time of the graph on the unloaded device in ms. */
  readonly expectedMs: number;
  /** Bound in ms that the graph stays under with the target's probability. */
  readonly predictedMs: number;
  readonly reason: Reason;
  /** First rung of the ladder that caps and back-off allowed. */
  readonly level: number;
}

export class Controller {
  /** Names of the subnets that are worth switching between, the most accurate first. */
  readonly ladder: readonly string[];
  /** Accuracy of every subnet, by which it is chosen. */
  readonly accuracies: ByName;
  private readonly latency: LatencyModel;
  private readonly backoff = new Backoff();
  private readonly arrivals = new Arrivals();
  /** Rungs that the floor allows, the most accurate first, and the last of them. */
  private readonly rungs: readonly number[];
  private readonly last: number;
  private gapS: number | null = null;
  private decidedAt: number | null = null;

  /** `rows`: number of rows behind the accuracies, 0 to take them as they are. `cpus`: CPUs / threads of a call. */
  constructor(
    accuracies: ByName,
    table: LatencyTable,
    private readonly objective: Objective = DEFAULT_OBJECTIVE,
    rows = 0,
    private readonly cpus = 1,
  ) {
    const times = expected(table);
    this.accuracies = smoothed(accuracies, times, rows);
    this.ladder = ladderOf(this.accuracies, times);
    this.latency = new LatencyModel(table, this.ladder, objective.target ?? USUAL_SHARE);
    this.rungs = rungsAbove(accuracies, this.ladder, objective.minAccuracy);
    this.last = this.rungs.at(-1)!;
  }

  /** Slow-down: observed / expected latency; 1 is the machine as it was when it was timed. */
  get slowDown(): number {
    return this.latency.slowDown;
  }

  /** Decide the subnet of a request. */
  decide({ tokens, slackMs, now, first = 0, pinned = null, deadlineMs = null }: Request): Decision {
    const times = this.latency.predict(tokens, now);
    this.notePause(now);
    const from = Math.min(first, this.last);
    if (pinned !== null) return this.pinned(pinned, tokens, times.factor, from);
    const [rung, reason, level] =
      slackMs === null ? [...this.withoutDeadline(times, from), from] as const : this.withDeadline(times, from, slackMs, now);
    if (slackMs !== null) this.noteTurn(times, reason, slackMs, now, deadlineMs);
    const subnet = this.ladder[rung]!;
    return { subnet, expectedMs: times.medians[rung]!, predictedMs: boundMs(times, rung), reason, level };
  }

  /** Learn from the time of the graph, and from whether the deadline was met (null: there was none). */
  record(decision: Decision, runMs: number, met: boolean | null, now: number): void {
    const ratio = runMs / decision.expectedMs;
    if (!(Number.isFinite(ratio) && ratio > 0)) return;
    if (decision.reason === "fits" && met !== null) this.backoff.record(decision.expectedMs, met, now);
    this.latency.learn(decision.subnet, runMs, decision.expectedMs, decision.predictedMs, now);
  }

  private pinned(name: string, tokens: number, factor: number, level: number): Decision {
    if (!Object.hasOwn(this.accuracies, name)) {
      const known = Object.keys(this.accuracies).join(", ");
      throw new UnknownSubnetError(`unknown subnet ${repr(name)}; expected one of ${known}`);
    }
    const [expectedMs, predictedMs] = this.latency.timesOf(name, tokens, factor);
    return { subnet: name, expectedMs, predictedMs, reason: "pinned", level };
  }

  private withoutDeadline(times: Prediction, first: number): [number, Reason] {
    const { maxCpuShare, minAccuracy } = this.objective;
    if (maxCpuShare !== null) {
      const budgetMs = this.gapS === null ? Infinity : maxCpuShare * this.cpus * this.gapS * 1e3;
      return [this.allowed(first).find((rung) => times.medians[rung]! <= budgetMs) ?? this.last, "cpu_share"];
    }
    return minAccuracy !== null ? [this.last, "accuracy_floor"] : [first, "no_deadline"];
  }

  private withDeadline(times: Prediction, first: number, slackMs: number, now: number): [number, Reason, number] {
    let level = first;
    const limitMs = this.backoff.limitMs(now);
    while (level < this.last && times.medians[level]! >= limitMs) level += 1;
    const best = this.worthiest(times, first, slackMs, limitMs);
    if (best !== null && boundMs(times, best) <= slackMs) return [best, "fits", level];
    const [rung, reason] = this.fastest(times, first, slackMs);
    if (best === null || reason === "rejected") return [rung, reason, level];
    return [best, reason === "fits" ? "likely" : reason, level];
  }

  /** The rung of the highest expected value; null if none keeps the target, or none has a chance. */
  private worthiest(times: Prediction, first: number, slackMs: number, limitMs: number): number | null {
    const { medians, biases, factor, usual, outlook } = times;
    const { target, lateValue } = this.objective;
    const leftMs = slackMs / times.firstCall;
    const logLeft = leftMs > NONE_MS ? Math.log(leftMs) : -Infinity;
    const least = this.arrivals.madeLate(medians[this.last]! * biases[this.last]! * usual);
    const values = this.ladder.map((name) => this.accuracies[name]!);
    let [best, chosen, most] = [-Infinity, null as number | null, lateValue];
    for (const rung of this.allowed(first)) {
      const runMs = medians[rung]! * biases[rung]!;
      if ((target !== null && runMs * factor > slackMs) || (medians[rung]! >= limitMs && rung !== this.last)) continue;
      const chance = runMs <= slackMs / (SURE * factor) ? 1 : outlook.within(logLeft - Math.log(runMs));
      if (chance < HOPELESS && rung !== this.last && lateValue === 0) continue;
      const madeLate = this.arrivals.madeLate(runMs * usual) - least;
      const timely = chance * values[rung]! - madeLate * values[this.last]!;
      const value = values[rung]! * lateValue + (1 - lateValue) * timely;
      if (value > best) [best, chosen] = [value, rung];
      most = Math.max(most, chance);
      if (rung < this.last && best >= values[rung + 1]!) break;
    }
    return most >= HOPELESS ? chosen : null;
  }

  /** The rungs that caps and the floor allow, the most accurate first. */
  private allowed(first: number): readonly number[] {
    return this.rungs.filter((rung) => rung >= first);
  }

  private fastest(times: Prediction, first: number, slackMs: number): [number, Reason] {
    const time = (rung: number): number => times.medians[rung]! * times.biases[rung]!;
    const rung = this.allowed(first).reduce((one, other) => (time(other) < time(one) ? other : one));
    if (boundMs(times, rung) <= slackMs) return [rung, "fits"];
    return [rung, this.objective.onMiss === "reject" && times.silenceS < IDLE_S ? "rejected" : "best_effort"];
  }

  private notePause(now: number): void {
    if (this.decidedAt !== null) {
      const gap = Math.max(0, now - this.decidedAt);
      this.gapS = this.gapS === null ? gap : this.gapS + GAP_MEMORY * (gap - this.gapS);
    }
    this.decidedAt = now;
  }

  private noteTurn(times: Prediction, reason: Reason, slackMs: number, now: number, deadlineMs: number | null): void {
    const waitedMs = deadlineMs === null ? 0 : deadlineMs - slackMs;
    this.arrivals.came(now - waitedMs / 1e3, slackMs + waitedMs, times.medians[this.last]! * times.usual);
    if (reason !== "rejected") this.arrivals.begins(now);
  }
}
