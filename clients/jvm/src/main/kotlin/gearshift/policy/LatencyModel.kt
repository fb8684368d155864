/**
 * The latency model: predicts the time of each rung of the ladder now, and learns from each answer.
 *
 *     bound of a rung = median of the latency table x bias of the rung x factor
 */

package gearshift.policy

import gearshift.LatencyTable
import kotlin.math.exp
import kotlin.math.ln
import kotlin.math.max

private const val MARGIN = 0.8
private const val TOLERANCE = 1.1
private const val BIAS_MEMORY = 0.1
private const val BIAS_SHRINK = 0.01
private const val LARGEST_RESIDUAL = 0.3
private const val LARGEST_BIAS = 0.5
private const val FIRST_CALL = 0.1
private const val FIRST_CALL_MEMORY = 0.2
private const val FIRST_REQUESTS = 8
private const val DWELL_S = 0.2
private const val STILL = 1.03
private const val PERIOD_S = 2

/** Multiple of its bound within which a run is in time for certain. */
private const val SURE = 2

/** Slack in ms up to which nothing is in time. */
private const val NONE_MS = 1e-6

/**
 * Predicted times of all rungs of a ladder for one request; rung 0 is the most accurate.
 *
 * `medians`: ms of each rung on the unloaded device; `biases`: observed / expected time of each rung, apart from the
 * slow-down that all have in common; `factor`: on the medians, the slow-down with its tail; `usual`: that without a tail;
 * `silenceS`: seconds since the last answer, infinite before the first; `outlook`: distribution of the log of time /
 * (median x bias), first calls apart; `firstCall`: factor on all times after a pause.
 */
internal class Prediction(
    val medians: DoubleArray,
    val biases: DoubleArray,
    val factor: Double,
    val usual: Double,
    val silenceS: Double,
    val outlook: Outlook,
    val firstCall: Double,
) {
    /** Usual time in ms of a rung, apart from the slow-down that all have in common. */
    fun runMs(rung: Int): Double = medians[rung] * biases[rung]

    /** Time in ms that a rung stays under with the target's probability. */
    fun boundMs(rung: Int): Double = runMs(rung) * factor

    /** Probability that a rung takes at most `slackMs`. */
    fun chance(rung: Int, slackMs: Double): Double {
        if (runMs(rung) <= slackMs / (SURE * factor)) return 1.0
        val leftMs = slackMs / firstCall
        return if (leftMs > NONE_MS) outlook.within(ln(leftMs) - ln(runMs(rung))) else 0.0
    }
}

internal class LatencyModel(private val table: LatencyTable, private val ladder: List<String>, target: Double) {
    private val slow = SlowDown(target)
    private val hysteresis = Hysteresis()
    private val biases = Biases(ladder.size)

    val slowDown: Double get() = slow.value

    fun predict(tokens: Int, now: Double): Prediction {
        val silenceS = silence(now)
        val firstCall = biases.idleFactor(silenceS)
        val tail = slow.tailFactor(now) * firstCall
        val factor = max(hysteresis.smooth(tail, now), slow.suspected * firstCall)
        val medians = DoubleArray(ladder.size) { table.timeAt(ladder[it], tokens) }
        return Prediction(medians, biases.factors, factor, slow.value, silenceS, slow.outlook(now), firstCall)
    }

    /** Median and bound in ms of any subnet of the table, on the ladder or not. */
    fun timesOf(name: String, tokens: Int, factor: Double): Pair<Double, Double> {
        val median = table.timeAt(name, tokens)
        return median to median * factor * biasOf(ladder.indexOf(name))
    }

    fun learn(name: String, runMs: Double, expectedMs: Double, predictedMs: Double, now: Double) {
        val rung = ladder.indexOf(name)
        val silenceS = silence(now - runMs / 1e3)
        val known = biases.idleFactor(silenceS) * biasOf(rung)
        val ratio = runMs / expectedMs
        val innovation = ln(ratio / known / slow.value)
        slow.update(ratio / known, now, runMs > predictedMs)
        if (rung >= 0) biases.learn(rung, innovation, silenceS)
    }

    private fun biasOf(rung: Int): Double = if (rung < 0) 1.0 else biases.factors[rung]

    private fun silence(now: Double): Double = slow.updatedAt?.let { now - it } ?: INFINITY
}

/** Factors on the expected time of each rung, apart from the slow-down that all have in common. */
private class Biases(rungs: Int) {
    val factors = DoubleArray(rungs) { 1.0 }
    private val logs = DoubleArray(rungs)
    private var last: Int? = null
    private var firstCall = FIRST_CALL

    fun idleFactor(gapS: Double): Double = if (gapS >= IDLE_S) exp(firstCall) else 1.0

    fun learn(rung: Int, innovation: Double, gapS: Double) {
        val residual = clip(innovation, -LARGEST_RESIDUAL, LARGEST_RESIDUAL)
        if (gapS >= IDLE_S) {
            firstCall = clip(firstCall + FIRST_CALL_MEMORY * residual, 0.0, LARGEST_BIAS)
        } else {
            val switched = last != null && last != rung
            val log = (1 - BIAS_SHRINK) * logs[rung] + (if (switched) BIAS_MEMORY * residual else 0.0)
            logs[rung] = clip(log, -LARGEST_BIAS, LARGEST_BIAS)
        }
        last = rung
        factors[rung] = exp(logs[rung])
    }
}

/** A tail factor without flicker: up at once, down after a dwell, in between to the mean of a period. */
private class Hysteresis {
    private var factor = 0.0
    private var sum = 0.0
    private var count = 0
    private var seen = 0
    private var at = -INFINITY
    private var highAt = -INFINITY
    private var periodAt = -INFINITY

    fun smooth(tail: Double, now: Double): Double {
        if (now < at) {
            highAt = now
            periodAt = now
        }
        seen = if (now - at >= IDLE_S) 0 else seen + 1
        at = now
        sum += tail
        count += 1
        var low = tail < factor * MARGIN
        if (seen < FIRST_REQUESTS || tail > factor * TOLERANCE) {
            move(tail, now)
        } else if (low && now - highAt >= DWELL_S) {
            move(tail, now)
            low = false
        } else if (!low && now - periodAt >= PERIOD_S) {
            val mean = sum / count
            move(if (max(mean / factor, factor / mean) > STILL) mean else factor, now)
        }
        if (!low) highAt = now
        return factor
    }

    private fun move(to: Double, now: Double) {
        factor = to
        periodAt = now
        sum = 0.0
        count = 0
    }
}
