/**
 * The slow-down: observed / expected latency now, filtered in the log domain, with a tail that is learnt.
 *
 * The rule of `gearshift.runtime.policy.slow_down`, number by number (docs/bundle.md, "Learning").
 */

package gearshift.policy

import kotlin.math.abs
import kotlin.math.exp
import kotlin.math.ln
import kotlin.math.max
import kotlin.math.min
import kotlin.math.sqrt

/** Shortest pause in seconds after which the machine may have changed. */
internal const val IDLE_S = 1.0
internal const val INFINITY = Double.POSITIVE_INFINITY

private const val DRIFT_PER_SECOND = 0.02
private const val DRIFT_PER_UPDATE = 0.001
private const val AGILITY_STEP = 0.05
private const val CLIPPED_SQUARE = 3.0
private const val MEAN_CLIPPED_SQUARE = 0.858
private const val EXCESS_WEIGHT = 0.3
private const val FIRST_NOISE = 0.02
private const val NOISE_MEMORY = 0.05
private const val NOISE_PRIOR_COUNT = 3
private const val CALM = 0.2
private const val OUTLIER_DEVIATIONS = 3
private const val OUTLIERS_OF_A_STEP = 3
private const val ALARMS_FADE_S = 120
private const val LEAST_TRUST = 0.3
private const val TRUST_IN_TWO = 0.8
private const val ADAPTATION = 0.3
private val HIGHEST = ln(200.0)
private val LOWEST = ln(0.05)

internal fun clip(value: Double, low: Double, high: Double): Double = max(low, min(high, value))

internal class SlowDown(private val target: Double) {
    /** Moment of the last update in seconds; null before the first. */
    var updatedAt: Double? = null
        private set
    private var state = 0.0
    private var variance = 0.25 * 0.25
    private var lastObserved: Double? = null
    private var noise = FIRST_NOISE
    private var differences = 0
    private val calibration = Calibration()
    private var tail = normalQuantile(target)
    private var agility = 1.0
    private var lastInnovation = 0.0
    private var suspectedLog = -INFINITY
    private var outliers = 0
    private val alarms = Alarms()

    /** Probability that the last request was the first of a step of the load, and the log of the slow-down then. */
    private var stepProbability = 0.0
    private var steppedLog = 0.0

    /** Estimated slow-down: 1 is the unloaded device, 2 is half as fast. */
    val value: Double get() = exp(state)

    /** Factor that covers a step of the load at the last request if that was slow enough to be one; else 0. */
    val suspected: Double get() = exp(suspectedLog)

    /** Factor on a median that gives the time which a share `target` of the requests stays under. */
    fun tailFactor(now: Double): Double = exp(state + tail * sqrt(varianceAt(now) + noise))

    /** Distribution of the log of observed / expected latency for a request at `now`. */
    fun outlook(now: Double): Outlook {
        val spread = calibration.spread
        val step = Step(stepProbability, steppedLog, spread * sqrt(noise))
        return Outlook(state, spread * sqrt(varianceAt(now) + noise), step, calibration.outliers, calibration.excess)
    }

    /** Learn from one observed / expected latency; `late`: whether it was beyond the tail predicted for it. */
    fun update(ratio: Double, now: Double, late: Boolean) {
        if (!(ratio > 0 && ratio < INFINITY)) return
        val observed = ln(ratio)
        tail = clip(tail + ADAPTATION * pace * ((if (late) 1 else 0) - (1 - target)), 0.5, 6.0)
        var grown = varianceAt(now)
        val deviation = sqrt(grown + noise)
        var innovation = observed - state
        val limit = OUTLIER_DEVIATIONS * deviation
        calibration.learn(innovation, deviation)
        countOutlier(innovation, limit)
        suspectedLog = -INFINITY
        stepProbability = 0.0
        alarms.note(outliers, now)
        if (abs(outliers) >= OUTLIERS_OF_A_STEP) {
            grown = 1.0
            outliers = 0
            lastInnovation = 0.0
        } else {
            if (outliers > 1 || (outliers == 1 && alarms.trust >= LEAST_TRUST)) {
                suspectedLog = min(observed, HIGHEST) + tail * sqrt(noise)
            }
            if (outliers > 0) {
                stepProbability = if (outliers == 1) alarms.trust else max(TRUST_IN_TWO, alarms.trust)
                steppedLog = min(observed, HIGHEST)
            }
            innovation = clip(innovation, -limit, limit)
            learnNoise(observed)
            learnAgility(innovation, deviation)
        }
        val gain = grown / (grown + noise)
        state = clip(state + gain * innovation, LOWEST, HIGHEST)
        variance = (1 - gain) * grown
        updatedAt = now
    }

    private val pace: Double get() = clip(agility, CALM, 1.0)

    private fun varianceAt(now: Double): Double {
        val gap = updatedAt?.let { max(0.0, now - it) } ?: 0.0
        val usual = DRIFT_PER_UPDATE + DRIFT_PER_SECOND * min(gap, IDLE_S)
        return min(variance + (agility * usual + DRIFT_PER_SECOND * max(0.0, gap - IDLE_S)), 1.0)
    }

    private fun countOutlier(innovation: Double, limit: Double) {
        outliers = when {
            abs(innovation) <= limit -> 0
            innovation > 0 -> max(outliers, 0) + 1
            else -> min(outliers, 0) - 1
        }
    }

    private fun learnNoise(observed: Double) {
        lastObserved?.let { last ->
            val square = (observed - last) * (observed - last) / 2
            differences += 1
            val memory = max(NOISE_MEMORY * pace, 1.0 / (differences + NOISE_PRIOR_COUNT))
            noise += memory * (min(square, OUTLIER_DEVIATIONS * OUTLIER_DEVIATIONS * noise) - noise)
            noise = clip(noise, 0.02 * 0.02, 0.5 * 0.5)
        }
        lastObserved = observed
    }

    private fun learnAgility(innovation: Double, deviation: Double) {
        val square = deviation * deviation
        val correlation = innovation * lastInnovation / square
        val excess = min(innovation * innovation / square, CLIPPED_SQUARE) / MEAN_CLIPPED_SQUARE - 1
        agility = clip(agility * exp(AGILITY_STEP * clip(correlation + EXCESS_WEIGHT * excess, -1.0, 1.0)), 0.01, 10.0)
        lastInnovation = innovation
    }
}

/** Record of recent slow outliers: how many began a step of the load, and how many were one slow request. */
private class Alarms {
    private var lone = 0.0
    private var followed = 0.0
    private var open = false
    private var at = 0.0

    val trust: Double get() = (followed + 1) / (lone + followed + 3)

    fun note(outliers: Int, now: Double) {
        val fading = exp(-max(0.0, now - at) / ALARMS_FADE_S)
        at = now
        lone *= fading
        followed *= fading
        if (open) {
            if (outliers > 1) followed += 1 else lone += 1
        }
        open = outliers == 1
    }
}
