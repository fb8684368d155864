/** The outlook: the probability that a request takes at most so long, from a distribution that is learnt.
 *
 * The rule of `gearshift.runtime.policy.outlook`, number by number (docs/bundle.md, "Learning").
 */

import { normalShare } from "./normal.js";

const SPREAD_MEMORY = 0.02;
const FIRST_ONES = 20;
const PRIOR_COUNT = 5;
const SPREAD_RANGE = [0.5, 6] as const;
const FIRST_CLIP = 6;
const CLIP = 3;
const MEAN_CLIPPED_SQUARE = 0.973;
const OUTLIER_MEMORY = 0.005;
const OUTLIER_PRIOR = 0.005;
const EXCESS_MEMORY = 0.1;
const EXCESS_PRIOR = 0.4;

/** Distribution of the log of time / (median x bias) of the next request: usual ones, those after a step, outliers. */
export class Outlook {
  constructor(
    private readonly centre: number,
    private readonly deviation: number,
    private readonly step: number,
    private readonly stepped: number,
    private readonly steppedDeviation: number,
    private readonly outliers: number,
    private readonly excess: number,
  ) {}

  /** Probability that the log of time / (median x bias) is at most this. */
  within(logRatio: number): number {
    const off = (logRatio - this.centre) / this.deviation;
    let chance = (1 - this.outliers) * normalShare(off);
    if (off > CLIP) chance += this.outliers * (1 - Math.exp(((CLIP - off) * this.deviation) / this.excess));
    if (this.step > 0) {
      chance += this.step * (normalShare((logRatio - this.stepped) / this.steppedDeviation) - chance);
    }
    return chance;
  }
}

/** Learner of how far requests really are from the filter's prediction: their spread, and slow outliers. */
export class Calibration {
  spread = 1;
  outliers = OUTLIER_PRIOR;
  excess = EXCESS_PRIOR;
  private square = 1;
  private count = 0;

  learn(innovation: number, deviation: number): void {
    this.count += 1;
    const limit = this.count < FIRST_ONES ? FIRST_CLIP ** 2 : CLIP ** 2 * this.square;
    const square = Math.min((innovation / deviation) ** 2, limit) / MEAN_CLIPPED_SQUARE;
    this.square += Math.max(SPREAD_MEMORY, 1 / (this.count + PRIOR_COUNT)) * (square - this.square);
    this.square = Math.max(SPREAD_RANGE[0] ** 2, Math.min(SPREAD_RANGE[1] ** 2, this.square));
    this.spread = Math.sqrt(this.square);
    const over = innovation - CLIP * deviation * this.spread;
    this.outliers += OUTLIER_MEMORY * (Number(over > 0) - this.outliers);
    if (over > 0) this.excess += EXCESS_MEMORY * (over - this.excess);
  }
}
