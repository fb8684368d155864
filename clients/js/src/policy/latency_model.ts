/** The latency model: predicts the time of each rung of the ladder now, and learns from each answer.
 *
 *     bound of a rung = median of the latency table x bias of the rung x factor
 */

import { timeAt, type LatencyTable } from "../latency_table.js";
import type { Outlook } from "./outlook.js";
import { clip, IDLE_S, SlowDown } from "./slow_down.js";

const MARGIN = 0.8;
const TOLERANCE = 1.1;
const BIAS_MEMORY = 0.1;
const BIAS_SHRINK = 0.01;
const LARGEST_RESIDUAL = 0.3;
const LARGEST_BIAS = 0.5;
const FIRST_CALL = 0.1;
const FIRST_CALL_MEMORY = 0.2;
const FIRST_REQUESTS = 8;
const DWELL_S = 0.2;
const STILL = 1.03;
const PERIOD_S = 2;

/** Predicted times of all rungs of a ladder for one request; rung 0 is the most accurate. */
export interface Prediction {
  /** Median ms of each rung on the unloaded device. */
  readonly medians: readonly number[];
  /** Observed / expected time of each rung, apart from the slow-down that all have in common. */
  readonly biases: readonly number[];
  /** Factor on the medians: the slow-down with its tail. */
  readonly factor: number;
  /** Estimated slow-down, without a tail. */
  readonly usual: number;
  /** Seconds since the last answer; infinite before the first. */
  readonly silenceS: number;
  /** Distribution of the log of time / (median x bias), first calls apart. */
  readonly outlook: Outlook;
  /** Factor on all times after a pause. */
  readonly firstCall: number;
}

/** Time in ms that a rung stays under with the target's probability. */
export function boundMs(times: Prediction, rung: number): number {
  return times.medians[rung]! * times.biases[rung]! * times.factor;
}

export class LatencyModel {
  private readonly slow: SlowDown;
  private readonly hysteresis = new Hysteresis();
  private readonly biases: Biases;

  constructor(
    private readonly table: LatencyTable,
    private readonly ladder: readonly string[],
    target: number,
  ) {
    this.slow = new SlowDown(target);
    this.biases = new Biases(ladder.length);
  }

  get slowDown(): number {
    return this.slow.value;
  }

  predict(tokens: number, now: number): Prediction {
    const silenceS = this.silence(now);
    const firstCall = this.biases.idleFactor(silenceS);
    const tail = this.slow.tailFactor(now) * firstCall;
    const factor = Math.max(this.hysteresis.smooth(tail, now), this.slow.suspected * firstCall);
    const medians = this.ladder.map((name) => timeAt(this.table, name, tokens));
    const outlook = this.slow.outlook(now);
    return { medians, biases: this.biases.factors, factor, usual: this.slow.value, silenceS, outlook, firstCall };
  }

  /** Median and bound in ms of any subnet of the table, on the ladder or not. */
  timesOf(name: string, tokens: number, factor: number): [number, number] {
    const median = timeAt(this.table, name, tokens);
    const rung = this.ladder.indexOf(name);
    return [median, median * factor * (rung < 0 ? 1 : this.biases.factors[rung]!)];
  }

  learn(name: string, runMs: number, expectedMs: number, predictedMs: number, now: number): void {
    const rung = this.ladder.indexOf(name);
    const silenceS = this.silence(now - runMs / 1e3);
    const known = this.biases.idleFactor(silenceS) * (rung < 0 ? 1 : this.biases.factors[rung]!);
    const ratio = runMs / expectedMs;
    const innovation = Math.log(ratio / known / this.slow.value);
    this.slow.update(ratio / known, now, runMs > predictedMs);
    if (rung >= 0) this.biases.learn(rung, innovation, silenceS);
  }

  private silence(now: number): number {
    return this.slow.updatedAt === null ? Infinity : now - this.slow.updatedAt;
  }
}

/** Factors on the expected time of each rung, apart from the slow-down that all have in common. */
class Biases {
  readonly factors: number[];
  private readonly logs: number[];
  private last: number | null = null;
  private firstCall = FIRST_CALL;

  constructor(rungs: number) {
    this.logs = new Array<number>(rungs).fill(0);
    this.factors = new Array<number>(rungs).fill(1);
  }

  idleFactor(gapS: number): number {
    return gapS >= IDLE_S ? Math.exp(this.firstCall) : 1;
  }

  learn(rung: number, innovation: number, gapS: number): void {
    const residual = clip(innovation, [-LARGEST_RESIDUAL, LARGEST_RESIDUAL]);
    if (gapS >= IDLE_S) {
      this.firstCall = clip(this.firstCall + FIRST_CALL_MEMORY * residual, [0, LARGEST_BIAS]);
    } else {
      const switched = this.last !== null && this.last !== rung;
      const log = (1 - BIAS_SHRINK) * this.logs[rung]! + (switched ? BIAS_MEMORY * residual : 0);
      this.logs[rung] = clip(log, [-LARGEST_BIAS, LARGEST_BIAS]);
    }
    this.last = rung;
    this.factors[rung] = Math.exp(this.logs[rung]!);
  }
}

/** A tail factor without flicker: up at once, down after a dwell, in between to the mean of a period. */
class Hysteresis {
  private factor = 0;
  private sum = 0;
  private count = 0;
  private seen = 0;
  private at = -Infinity;
  private highAt = -Infinity;
  private periodAt = -Infinity;

  smooth(factor: number, now: number): number {
    if (now < this.at) this.highAt = this.periodAt = now;
    this.seen = now - this.at >= IDLE_S ? 0 : this.seen + 1;
    this.at = now;
    this.sum += factor;
    this.count += 1;
    let low = factor < this.factor * MARGIN;
    if (this.seen < FIRST_REQUESTS || factor > this.factor * TOLERANCE) {
      this.move(factor, now);
    } else if (low && now - this.highAt >= DWELL_S) {
      this.move(factor, now);
      low = false;
    } else if (!low && now - this.periodAt >= PERIOD_S) {
      const mean = this.sum / this.count;
      this.move(Math.max(mean / this.factor, this.factor / mean) > STILL ? mean : this.factor, now);
    }
    if (!low) this.highAt = now;
    return this.factor;
  }

  private move(factor: number, now: number): void {
    this.factor = factor;
    this.periodAt = now;
    this.sum = 0;
    this.count = 0;
  }
}
