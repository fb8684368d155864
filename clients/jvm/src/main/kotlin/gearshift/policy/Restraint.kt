/** Restraints on the choice, learnt from past requests: back-off after misses, and requests that a run makes late. */

package gearshift.policy

import kotlin.math.ln
import kotlin.math.max
import kotlin.math.min

private const val FIRST_HOLD_S = 0.5
private const val LONGEST_HOLD_S = 4.0
private const val MISSES_TOGETHER_S = 0.5
private const val MISSES_TOGETHER = 6

/** Back-off: work as long as the work that just failed twice is not tried again at once. */
internal class Backoff {
    private var limit = INFINITY
    private var topMs = 0.0
    private var holdS = FIRST_HOLD_S
    private var until = -INFINITY
    private var missedAt = -INFINITY
    private var sinceMiss = MISSES_TOGETHER

    /** Shortest expected time in ms that is held back; it doubles each time a hold ends. */
    fun limitMs(now: Double): Double {
        if (until - now > LONGEST_HOLD_S) until = now
        if (limit < INFINITY && now >= until) {
            limit *= 2
            if (limit > topMs) limit = INFINITY
            until = now + FIRST_HOLD_S
        }
        return limit
    }

    /** Take in whether work kept a deadline that it was expected to keep. */
    fun record(expectedMs: Double, met: Boolean, now: Double) {
        sinceMiss += 1
        if (met || expectedMs >= limit) return
        val onTrial = now < until
        val together = now - missedAt in 0.0..MISSES_TOGETHER_S && sinceMiss <= MISSES_TOGETHER
        missedAt = now
        sinceMiss = 0
        if (!(onTrial || together)) return
        if (!onTrial) {
            holdS = FIRST_HOLD_S
            topMs = 0.0
        }
        limit = expectedMs
        topMs = max(topMs, expectedMs)
        until = now + holdS
        holdS = min(2 * holdS, LONGEST_HOLD_S)
    }
}

private const val EVERY = 3
private const val FOLLOWED = 10
private const val MEMORY = 0.997
private val PER_LOG = 4 / ln(2.0)
private const val LEAST_MS = 0.05
private const val BINS = 80
private const val LARGEST_WEIGHT = 1e12

/** Estimator of the number of later requests that a run of a given time makes late. */
internal class Arrivals {
    private class Run(val beganS: Double, var servedMs: Double = 0.0)

    private val runs = ArrayDeque<Run>()
    private val limits = DoubleArray(BINS)
    private var count = 0.0
    private var weight = 1.0
    private var number = 0

    /** Number of limits below each bin, and the factor that makes it an average, as of the last followed run. */
    private val below = DoubleArray(BINS)
    private var scale = 0.0

    /** Record a request at its turn: its arrival, its deadline from then on, its time on the fastest subnet. */
    fun came(arrivalS: Double, deadlineMs: Double, fastestMs: Double) {
        for (run in runs) {
            run.servedMs += fastestMs
            val afterMs = (arrivalS - run.beganS) * 1e3
            if (afterMs > 0) limits[bin(afterMs + deadlineMs - run.servedMs)] += weight
        }
    }

    /** Record the start of a run, of which one in three is followed. */
    fun begins(now: Double) {
        number += 1
        if (number % EVERY != 0) return
        weight /= MEMORY
        if (weight > LARGEST_WEIGHT) {
            count /= weight
            for (place in limits.indices) limits[place] /= weight
            weight = 1.0
        }
        count += weight
        for (bin in 1 until BINS) below[bin] = below[bin - 1] + limits[bin - 1]
        scale = 1 / count
        runs.addLast(Run(now))
        if (runs.size > FOLLOWED) runs.removeFirst()
    }

    /** Average number of requests that a run of `runMs` makes late; never smaller for a longer run. */
    fun madeLate(runMs: Double): Double = scale * below[bin(runMs)]

    private fun bin(ms: Double): Int =
        if (ms <= LEAST_MS) 0 else min(BINS - 1.0, PER_LOG * ln(ms / LEAST_MS)).toInt()
}
