/** The slow-down: observed / expected latency now, filtered in the log domain, with a tail that is learnt.
 *
 * The rule of `gearshift.runtime.policy.slow_down`, number by number (docs/bundle.md, "Learning").
 */

import { normalQuantile } from "./normal.js";
import { Calibration, Outlook } from "./outlook.js";

const PRIOR_DEVIATION = 0.25;
const DRIFT_PER_SECOND = 0.02;
const DRIFT_PER_UPDATE = 0.001;
const AGILITY_RANGE = [0.01, 10] as const;
const AGILITY_STEP = 0.05;
const CLIPPED_SQUARE = 3;
const MEAN_CLIPPED_SQUARE = 0.858;
const EXCESS_WEIGHT = 0.3;
const LARGEST_VARIANCE = 1;
const NOISE_RANGE = [0.02, 0.5] as const;
const FIRST_NOISE = 0.02;
const NOISE_MEMORY = 0.05;
const NOISE_PRIOR_COUNT = 3;
const CALM = 0.2;
const OUTLIER_DEVIATIONS = 3;
const OUTLIERS_OF_A_STEP = 3;
const ALARMS_FADE_S = 120;
const LEAST_TRUST = 0.3;
const TRUST_IN_TWO = 0.8;
const STATE_RANGE = [Math.log(0.05), Math.log(200)] as const;
const ADAPTATION = 0.3;
const TAIL_RANGE = [0.5, 6] as const;

/** Shortest pause in seconds after which the machine may have changed. */
export const IDLE_S = 1;

export function clip(value: number, [low, high]: readonly [number, number]): number {
  return Math.max(low, Math.min(high, value));
}

export class SlowDown {
  /** Moment of the last update in seconds; null before the first. */
  updatedAt: number | null = null;
  private state = 0;
  private variance = PRIOR_DEVIATION ** 2;
  private lastObserved: number | null = null;
  private noise = FIRST_NOISE;
  private differences = 0;
  private readonly calibration = new Calibration();
  /** Probability that the last request was the first of a step of the load, and the log of the slow-down then. */
  private step: readonly [number, number] = [0, 0];
  private tail: number;
  private agility = 1;
  private lastInnovation = 0;
  private suspectedLog = -Infinity;
  private outliers = 0;
  private readonly alarms = new Alarms();

  constructor(private readonly target: number) {
    this.tail = normalQuantile(target);
  }

  /** Estimated slow-down: 1 is the unloaded device, 2 is half as fast. */
  get value(): number {
    return Math.exp(this.state);
  }

  /** Factor that covers a step of the load at the last request if that was slow enough to be one; else 0. */
  get suspected(): number {
    return Math.exp(this.suspectedLog);
  }

  /** Factor on a median that gives the time which a share `target` of the requests stays under. */
  tailFactor(now: number): number {
    return Math.exp(this.state + this.tail * Math.sqrt(this.varianceAt(now) + this.noise));
  }

  /** Distribution of the log of observed / expected latency for a request at `now`. */
  outlook(now: number): Outlook {
    const { spread, outliers, excess } = this.calibration;
    const deviation = spread * Math.sqrt(this.varianceAt(now) + this.noise);
    return new Outlook(this.state, deviation, ...this.step, spread * Math.sqrt(this.noise), outliers, excess);
  }

  /** Learn from one observed / expected latency; `late`: whether it was beyond the tail predicted for it. */
  update(ratio: number, now: number, late: boolean): void {
    if (!(Number.isFinite(ratio) && ratio > 0)) return;
    const observed = Math.log(ratio);
    const pace = clip(this.agility, [CALM, 1]);
    this.tail = clip(this.tail + ADAPTATION * pace * (Number(late) - (1 - this.target)), TAIL_RANGE);
    let variance = this.varianceAt(now);
    const deviation = Math.sqrt(variance + this.noise);
    let innovation = observed - this.state;
    const limit = OUTLIER_DEVIATIONS * deviation;
    this.calibration.learn(innovation, deviation);
    this.countOutlier(innovation, limit);
    this.suspectedLog = -Infinity;
    this.step = [0, 0];
    this.alarms.note(this.outliers, now);
    if (Math.abs(this.outliers) >= OUTLIERS_OF_A_STEP) {
      variance = LARGEST_VARIANCE;
      this.outliers = 0;
      this.lastInnovation = 0;
    } else {
      if (this.outliers > 1 || (this.outliers === 1 && this.alarms.trust >= LEAST_TRUST)) {
        this.suspectedLog = Math.min(observed, STATE_RANGE[1]) + this.tail * Math.sqrt(this.noise);
      }
      if (this.outliers > 0) {
        const trust = this.alarms.trust;
        this.step = [this.outliers === 1 ? trust : Math.max(TRUST_IN_TWO, trust), Math.min(observed, STATE_RANGE[1])];
      }
      innovation = clip(innovation, [-limit, limit]);
      this.learnNoise(observed);
      this.learnAgility(innovation, deviation);
    }
    const gain = variance / (variance + this.noise);
    this.state = clip(this.state + gain * innovation, STATE_RANGE);
    this.variance = (1 - gain) * variance;
    this.updatedAt = now;
  }

  private varianceAt(now: number): number {
    const gap = this.updatedAt === null ? 0 : Math.max(0, now - this.updatedAt);
    const usual = DRIFT_PER_UPDATE + DRIFT_PER_SECOND * Math.min(gap, IDLE_S);
    const grown = this.agility * usual + DRIFT_PER_SECOND * Math.max(0, gap - IDLE_S);
    return Math.min(this.variance + grown, LARGEST_VARIANCE);
  }

  private countOutlier(innovation: number, limit: number): void {
    if (Math.abs(innovation) <= limit) this.outliers = 0;
    else if (innovation > 0) this.outliers = Math.max(this.outliers, 0) + 1;
    else this.outliers = Math.min(this.outliers, 0) - 1;
  }

  private learnNoise(observed: number): void {
    if (this.lastObserved !== null) {
      const square = (observed - this.lastObserved) ** 2 / 2;
      this.differences += 1;
      const pace = NOISE_MEMORY * clip(this.agility, [CALM, 1]);
      const memory = Math.max(pace, 1 / (this.differences + NOISE_PRIOR_COUNT));
      this.noise += memory * (Math.min(square, OUTLIER_DEVIATIONS ** 2 * this.noise) - this.noise);
      this.noise = clip(this.noise, [NOISE_RANGE[0] ** 2, NOISE_RANGE[1] ** 2]);
    }
    this.lastObserved = observed;
  }

  private learnAgility(innovation: number, deviation: number): void {
    const correlation = (innovation * this.lastInnovation) / deviation ** 2;
    const excess = Math.min(innovation ** 2 / deviation ** 2, CLIPPED_SQUARE) / MEAN_CLIPPED_SQUARE - 1;
    const step = AGILITY_STEP * clip(correlation + EXCESS_WEIGHT * excess, [-1, 1]);
    this.agility = clip(this.agility * Math.exp(step), AGILITY_RANGE);
    this.lastInnovation = innovation;
  }
}

/** Record of recent slow outliers: how many began a step of the load, and how many were one slow request. */
class Alarms {
  private lone = 0;
  private followed = 0;
  private open = false;
  private at = 0;

  get trust(): number {
    return (this.followed + 1) / (this.lone + this.followed + 3);
  }

  note(outliers: number, now: number): void {
    const fading = Math.exp(-Math.max(0, now - this.at) / ALARMS_FADE_S);
    this.at = now;
    this.lone *= fading;
    this.followed *= fading;
    if (this.open) {
      if (outliers > 1) this.followed += 1;
      else this.lone += 1;
    }
    this.open = outliers === 1;
  }
}
