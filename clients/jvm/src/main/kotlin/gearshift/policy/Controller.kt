/**
 * The controller: decides the subnet of each request and learns from its outcome; no timers, clocks or files.
 *
 * The rules of `gearshift.runtime.policy`, for one request after another (docs/bundle.md, "The decision").
 */

package gearshift.policy

import gearshift.InputError
import gearshift.LatencyTable
import gearshift.UnknownSubnetError
import gearshift.repr
import kotlin.math.max
import kotlin.math.min

private const val GAP_MEMORY = 0.1

/** Share of the requests that a predicted bound covers where no target was asked for. */
private const val USUAL_SHARE = 0.99

/** Largest probability of being in time at which a request counts as late on every rung. */
private const val HOPELESS = 1e-3

/**
 * What an engine is to keep, in the fields of Python's `Objective`.
 *
 * `target`: share of the deadlines to keep at least; null for as many as give the most right answers in time. `lateValue`:
 * worth of a late answer, from 0 (nothing) to 1 (as much as one in time). `maxCpuShare`, without a deadline: share of the
 * CPUs that requests may take on average. `onMiss`, where no subnet keeps a deadline: `best_effort`, or `reject`.
 */
public class Objective @JvmOverloads constructor(
    public val target: Double? = null,
    public val lateValue: Double = 0.0,
    public val minAccuracy: Double? = null,
    public val maxCpuShare: Double? = null,
    public val onMiss: String = "best_effort",
)

/** Raise InputError for a field that is out of its range. */
internal fun Objective.checked(): Objective {
    if (target != null && !(target >= 0.5 && target < 1)) {
        throw InputError("target: expected a share of deadlines from 0.5 to below 1, got ${repr(target)}")
    }
    if (!(lateValue >= 0 && lateValue <= 1)) {
        throw InputError("late_value: expected a share from 0 to 1, got ${repr(lateValue)}")
    }
    for ((name, share) in listOf("min_accuracy" to minAccuracy, "max_cpu_share" to maxCpuShare)) {
        if (share != null && !(share > 0 && share <= 1)) {
            throw InputError("$name: expected a share above 0 and up to 1, got ${repr(share)}")
        }
    }
    if (onMiss != "best_effort" && onMiss != "reject") {
        throw InputError("on_miss: expected best_effort or reject, got ${repr(onMiss)}")
    }
    return this
}

/**
 * A request to be decided.
 *
 * `slackMs`: time left for the graph, null without a deadline. `now`: in seconds, on a clock that only goes forward.
 * `first`: first rung that heat, battery or the like allow. `deadlineMs`: slack at its arrival, null if it did not wait.
 */
internal class Request(
    val tokens: Int,
    val slackMs: Double?,
    val now: Double,
    val first: Int = 0,
    val pinned: String? = null,
    val deadlineMs: Double? = null,
)

/**
 * A decision.
 *
 * `expectedMs`: median time of the graph on the unloaded device. `predictedMs`: bound that the graph stays under with the
 * target's probability. `level`: first rung of the ladder that caps and back-off allowed.
 */
internal class Decision(val subnet: String, val expectedMs: Double, val predictedMs: Double, val reason: String, val level: Int)

/** `rows`: number of rows behind the accuracies, 0 to take them as they are. `cpus`: CPUs / threads of a call. */
internal class Controller(accuracies: ByName, table: LatencyTable, private val objective: Objective, rows: Int, private val cpus: Double) {
    private val accuracies = smoothed(accuracies, expectedTimes(table), rows)

    /** Names of the subnets that are worth switching between, the most accurate first. */
    val ladder: List<String> = ladderOf(this.accuracies, expectedTimes(table))
    private val latency = LatencyModel(table, ladder, objective.target ?: USUAL_SHARE)
    private val backoff = Backoff()
    private val arrivals = Arrivals()
    private val rungs = rungsAbove(accuracies, ladder, objective.minAccuracy)
    private val last = rungs.last()
    private var gapS: Double? = null
    private var decidedAt: Double? = null

    val slowDown: Double get() = latency.slowDown

    /** Decide the subnet of a request. */
    fun decide(request: Request): Decision {
        val times = latency.predict(request.tokens, request.now)
        notePause(request.now)
        val from = min(request.first, last)
        if (request.pinned != null) return pinned(request.pinned, request.tokens, times.factor, from)
        val slackMs = request.slackMs
        val choice = if (slackMs == null) withoutDeadline(times, from) else withDeadline(times, from, slackMs, request.now)
        if (slackMs != null) noteTurn(times, choice.reason, slackMs, request.now, request.deadlineMs)
        return Decision(ladder[choice.rung], times.medians[choice.rung], times.boundMs(choice.rung), choice.reason, choice.level)
    }

    /** Learn from the time of the graph, and from whether the deadline was met (null: there was none). */
    fun record(decision: Decision, runMs: Double, met: Boolean?, now: Double) {
        val ratio = runMs / decision.expectedMs
        if (!(ratio > 0 && ratio < INFINITY)) return
        if (decision.reason == "fits" && met != null) backoff.record(decision.expectedMs, met, now)
        latency.learn(decision.subnet, runMs, decision.expectedMs, decision.predictedMs, now)
    }

    private class Choice(val rung: Int, val reason: String, val level: Int)

    private fun pinned(name: String, tokens: Int, factor: Double, level: Int): Decision {
        if (name !in accuracies) {
            throw UnknownSubnetError("unknown subnet ${repr(name)}; expected one of ${accuracies.keys.joinToString(", ")}")
        }
        val (expectedMs, predictedMs) = latency.timesOf(name, tokens, factor)
        return Decision(name, expectedMs, predictedMs, "pinned", level)
    }

    private fun withoutDeadline(times: Prediction, first: Int): Choice {
        if (objective.maxCpuShare != null) {
            val budgetMs = gapS?.let { objective.maxCpuShare * cpus * it * 1e3 } ?: INFINITY
            return Choice(allowed(first).firstOrNull { times.medians[it] <= budgetMs } ?: last, "cpu_share", first)
        }
        return if (objective.minAccuracy != null) Choice(last, "accuracy_floor", first) else Choice(first, "no_deadline", first)
    }

    private fun withDeadline(times: Prediction, first: Int, slackMs: Double, now: Double): Choice {
        val limitMs = backoff.limitMs(now)
        var level = first
        while (level < last && times.medians[level] >= limitMs) level += 1
        val best = worthiest(times, first, slackMs, limitMs)
        if (best != null && times.boundMs(best) <= slackMs) return Choice(best, "fits", level)
        val (rung, reason) = fastest(times, first, slackMs)
        if (best == null || reason == "rejected") return Choice(rung, reason, level)
        return Choice(best, if (reason == "fits") "likely" else reason, level)
    }

    /** The rung of the highest expected value; null if none keeps the target, or none has a chance. */
    private fun worthiest(times: Prediction, first: Int, slackMs: Double, limitMs: Double): Int? {
        val lateValue = objective.lateValue
        val least = arrivals.madeLate(times.runMs(last) * times.usual)
        val floor = accuracies.getValue(ladder[last])
        var best = -INFINITY
        var chosen: Int? = null
        var most = lateValue
        for (rung in allowed(first)) {
            val isOver = objective.target != null && times.boundMs(rung) > slackMs
            if (isOver || (times.medians[rung] >= limitMs && rung != last)) continue
            val chance = times.chance(rung, slackMs)
            if (chance < HOPELESS && rung != last && lateValue == 0.0) continue
            val accuracy = accuracies.getValue(ladder[rung])
            val madeLate = arrivals.madeLate(times.runMs(rung) * times.usual) - least
            val value = accuracy * lateValue + (1 - lateValue) * (chance * accuracy - madeLate * floor)
            if (value > best) {
                best = value
                chosen = rung
            }
            most = max(most, chance)
            if (rung < last && best >= accuracies.getValue(ladder[rung + 1])) break
        }
        return if (most >= HOPELESS) chosen else null
    }

    private fun fastest(times: Prediction, first: Int, slackMs: Double): Pair<Int, String> {
        val rung = allowed(first).minBy(times::runMs)
        val reason = when {
            times.boundMs(rung) <= slackMs -> "fits"
            objective.onMiss == "reject" && times.silenceS < IDLE_S -> "rejected"
            else -> "best_effort"
        }
        return rung to reason
    }

    /** The rungs that caps and the floor allow, the most accurate first. */
    private fun allowed(first: Int): List<Int> = rungs.filter { it >= first }

    private fun notePause(now: Double) {
        decidedAt?.let { before ->
            val gap = max(0.0, now - before)
            gapS = gapS?.let { it + GAP_MEMORY * (gap - it) } ?: gap
        }
        decidedAt = now
    }

    private fun noteTurn(times: Prediction, reason: String, slackMs: Double, now: Double, deadlineMs: Double?) {
        val waitedMs = deadlineMs?.let { it - slackMs } ?: 0.0
        arrivals.came(now - waitedMs / 1e3, slackMs + waitedMs, times.medians[last] * times.usual)
        if (reason != "rejected") arrivals.begins(now)
    }
}
