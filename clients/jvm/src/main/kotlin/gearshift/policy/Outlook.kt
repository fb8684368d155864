/**
 * The outlook: the probability that a request takes at most so long, from a distribution that is learnt.
 *
 * The rule of `gearshift.runtime.policy.outlook`, number by number (docs/bundle.md, "Learning").
 */

package gearshift.policy

import kotlin.math.exp
import kotlin.math.max
import kotlin.math.min
import kotlin.math.sqrt

private const val SPREAD_MEMORY = 0.02
private const val FIRST_ONES = 20
private const val PRIOR_COUNT = 5
private const val LEAST_SQUARE = 0.5 * 0.5
private const val LARGEST_SQUARE = 6.0 * 6.0
private const val FIRST_CLIP = 6
private const val CLIP = 3
private const val MEAN_CLIPPED_SQUARE = 0.973
private const val OUTLIER_MEMORY = 0.005
private const val OUTLIER_PRIOR = 0.005
private const val EXCESS_MEMORY = 0.1
private const val EXCESS_PRIOR = 0.4

/**
 * Probability that the last request was the first of a step of the load.
 *
 * `log`: that of the slow-down then. `deviation`: of the log of a time after the step.
 */
internal class Step(val probability: Double, val log: Double, val deviation: Double)

/**
 * Distribution of the log of time / (median x bias) of the next request: usual ones, those after a step, outliers.
 *
 * `centre`, `deviation`: of the usual ones. `outliers`: share of slow outliers. `excess`: mean of the log by which these are
 * above the others.
 */
internal class Outlook(
    private val centre: Double,
    private val deviation: Double,
    private val step: Step,
    private val outliers: Double,
    private val excess: Double,
) {
    /** Probability that the log of time / (median x bias) is at most this. */
    fun within(logRatio: Double): Double {
        val off = (logRatio - centre) / deviation
        var chance = (1 - outliers) * normalShare(off)
        if (off > CLIP) chance += outliers * (1 - exp((CLIP - off) * deviation / excess))
        if (step.probability > 0) chance += step.probability * (normalShare((logRatio - step.log) / step.deviation) - chance)
        return chance
    }
}

/** Learner of how far requests really are from the filter's prediction: their spread, and slow outliers. */
internal class Calibration {
    /** Multiple of the filter's deviation that requests have. */
    val spread: Double get() = sqrt(square)
    var outliers = OUTLIER_PRIOR
        private set
    var excess = EXCESS_PRIOR
        private set
    private var square = 1.0
    private var count = 0

    fun learn(innovation: Double, deviation: Double) {
        count += 1
        val off = innovation / deviation
        val limit = if (count < FIRST_ONES) FIRST_CLIP * FIRST_CLIP.toDouble() else CLIP * CLIP * square
        val clipped = min(off * off, limit) / MEAN_CLIPPED_SQUARE
        square += max(SPREAD_MEMORY, 1.0 / (count + PRIOR_COUNT)) * (clipped - square)
        square = clip(square, LEAST_SQUARE, LARGEST_SQUARE)
        val over = innovation - CLIP * deviation * spread
        outliers += OUTLIER_MEMORY * ((if (over > 0) 1 else 0) - outliers)
        if (over > 0) excess += EXCESS_MEMORY * (over - excess)
    }
}
