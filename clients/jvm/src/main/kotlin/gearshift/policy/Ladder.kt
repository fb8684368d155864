/** The ladder: the subnets of a pool that are worth switching between on this device, its Pareto front. */

package gearshift.policy

import gearshift.InputError
import gearshift.LatencyTable
import gearshift.repr
import kotlin.math.max
import kotlin.math.min
import kotlin.math.sqrt

internal typealias ByName = Map<String, Double>

/** Time that subnets are compared by: the sum of the medians over the lengths, in ms. */
internal fun expectedTimes(table: LatencyTable): ByName = table.medianMs.mapValues { (_, times) -> times.fold(0.0, Double::plus) }

/** Names of the Pareto front of accuracy and time, the most accurate (and slowest) first. */
internal fun ladderOf(accuracies: ByName, times: ByName): List<String> {
    val names = accuracies.keys.sortedWith(compareByDescending<String> { accuracies.getValue(it) }.thenBy { times.getValue(it) })
    val front = ArrayList<String>()
    for (name in names) if (front.isEmpty() || times.getValue(name) < times.getValue(front.last())) front.add(name)
    return front
}

/** Accuracies made to rise with time where rows are too few to tell; with 0 rows, not known, nothing changes. */
internal fun smoothed(accuracies: ByName, times: ByName, rows: Int): ByName {
    if (rows == 0) return accuracies
    val names = accuracies.keys.sortedWith(compareBy<String> { times.getValue(it) }.thenByDescending { accuracies.getValue(it) })
    val left = ArrayList<String>()
    val asFast = LinkedHashMap<String, String>()
    var best = -INFINITY
    for (name in names) {
        val last = left.lastOrNull()
        val accuracy = accuracies.getValue(name)
        if (last != null && times.getValue(name) == times.getValue(last)) {
            asFast[name] = last
        } else if (last == null || best - accuracy <= noise(best, rows)) {
            left.add(name)
            best = max(best, accuracy)
        }
    }
    val risen = left.zip(isotonic(left.map { accuracies.getValue(it) })).toMap()
    val below = asFast.mapValues { (name, better) -> min(accuracies.getValue(name), risen.getValue(better)) }
    return accuracies + risen + below
}

/** Difference of two accuracies on the same rows that luck alone hardly makes: two standard errors. */
private fun noise(accuracy: Double, rows: Int): Double {
    val share = (clip(accuracy, 0.0, 1.0) * rows + 2) / (rows + 4)
    return 2 * sqrt(share * (1 - share) / (rows + 4))
}

/** The rising sequence that is nearest to the values: pool adjacent violators. */
private fun isotonic(values: List<Double>): List<Double> {
    val blocks = ArrayList<Pair<Double, Int>>()
    for (value in values) {
        var mean = value
        var count = 1
        while (blocks.isNotEmpty() && blocks.last().first >= mean - 1e-12) {
            val (before, size) = blocks.removeAt(blocks.size - 1)
            mean = (before * size + mean * count) / (size + count)
            count += size
        }
        blocks.add(mean to count)
    }
    return blocks.flatMap { (mean, count) -> List(count) { mean } }
}

/** The rungs whose accuracy is at least `least`, as the bundle states it; raises InputError if there is none. */
internal fun rungsAbove(stated: ByName, ladder: List<String>, least: Double?): List<Int> {
    val enough = ladder.indices.filter { least == null || stated.getValue(ladder[it]) >= least }
    if (enough.isNotEmpty()) return enough
    val best = ladder.maxBy { stated.getValue(it) }
    throw InputError(
        "min_accuracy: expected at most ${repr(stated.getValue(best))}, that of $best, the best on this device's ladder, got ${repr(least)}",
    )
}
