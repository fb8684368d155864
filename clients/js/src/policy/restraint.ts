/** Restraints on the choice, learnt from past requests: back-off after misses, and requests that a run makes late. */

const FIRST_HOLD_S = 0.5;
const LONGEST_HOLD_S = 4;
const MISSES_TOGETHER_S = 0.5;
const MISSES_TOGETHER = 6;

/** Back-off: work as long as the work that just failed twice is not tried again at once. */
export class Backoff {
  private limit = Infinity;
  private topMs = 0;
  private holdS = FIRST_HOLD_S;
  private until = -Infinity;
  private missedAt = -Infinity;
  private sinceMiss = MISSES_TOGETHER;

  /** Shortest expected time in ms that is held back; it doubles each time a hold ends. */
  limitMs(now: number): number {
    if (this.until - now > LONGEST_HOLD_S) this.until = now;
    if (this.limit < Infinity && now >= this.until) {
      this.limit *= 2;
      if (this.limit > this.topMs) this.limit = Infinity;
      this.until = now + FIRST_HOLD_S;
    }
    return this.limit;
  }

  /** Take in whether work kept a deadline that it was expected to keep. */
  record(expectedMs: number, met: boolean, now: number): void {
    this.sinceMiss += 1;
    if (met || expectedMs >= this.limit) return;
    const onTrial = now < this.until;
    const gap = now - this.missedAt;
    const together = gap >= 0 && gap <= MISSES_TOGETHER_S && this.sinceMiss <= MISSES_TOGETHER;
    this.missedAt = now;
    this.sinceMiss = 0;
    if (!(onTrial || together)) return;
    if (!onTrial) {
      this.holdS = FIRST_HOLD_S;
      this.topMs = 0;
    }
    this.limit = expectedMs;
    this.topMs = Math.max(this.topMs, expectedMs);
    this.until = now + this.holdS;
    this.holdS = Math.min(2 * this.holdS, LONGEST_HOLD_S);
  }
}

const EVERY = 3;
const FOLLOWED = 10;
const MEMORY = 0.997;
const PER_LOG = 4 / Math.log(2);
const LEAST_MS = 0.05;
const STEPS = 80;
const LARGEST_WEIGHT = 1e12;

/** Estimator of the number of later requests that a run of a given time makes late. */
export class Arrivals {
  private runs: { beganS: number; servedMs: number }[] = [];
  private limits = new Array<number>(STEPS).fill(0);
  private count = 0;
  private weight = 1;
  private number = 0;
  /** Number of limits below each bin, and the factor that makes it an average, as of the last followed run. */
  private below = new Array<number>(STEPS + 1).fill(0);
  private scale = 0;

  /** Record a request at its turn: its arrival, its deadline from then on, its time on the fastest subnet. */
  came(arrivalS: number, deadlineMs: number, fastestMs: number): void {
    for (const run of this.runs) {
      run.servedMs += fastestMs;
      const afterMs = (arrivalS - run.beganS) * 1e3;
      if (afterMs > 0) this.limits[step(afterMs + deadlineMs - run.servedMs)]! += this.weight;
    }
  }

  /** Record the start of a run, of which one in three is followed. */
  begins(now: number): void {
    this.number += 1;
    if (this.number % EVERY !== 0) return;
    this.weight /= MEMORY;
    if (this.weight > LARGEST_WEIGHT) {
      this.count /= this.weight;
      this.limits = this.limits.map((one) => one / this.weight);
      this.weight = 1;
    }
    this.count += this.weight;
    let sum = 0;
    this.below = [0, ...this.limits.map((one) => (sum += one))];
    this.scale = 1 / this.count;
    this.runs.push({ beganS: now, servedMs: 0 });
    if (this.runs.length > FOLLOWED) this.runs.shift();
  }

  /** Average number of requests that a run of `runMs` makes late; never smaller for a longer run. */
  madeLate(runMs: number): number {
    return this.scale * this.below[step(runMs)]!;
  }
}

function step(ms: number): number {
  return ms <= LEAST_MS ? 0 : Math.trunc(Math.min(STEPS - 1, PER_LOG * Math.log(ms / LEAST_MS)));
}
