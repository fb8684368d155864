/** The normal distribution: its quantile by Wichura 1988, algorithm AS 241 (PPND16), and the share below a number. */

package gearshift.policy

import kotlin.math.PI
import kotlin.math.abs
import kotlin.math.exp
import kotlin.math.ln
import kotlin.math.sqrt

private class Ratio(private val over: DoubleArray, private val under: DoubleArray) {
    fun at(value: Double): Double = polynomial(over, value) / polynomial(under, value)

    private fun polynomial(coefficients: DoubleArray, value: Double) = coefficients.fold(0.0) { sum, one -> sum * value + one }
}

private val CENTRAL = Ratio(
    doubleArrayOf(
        2.50908092873012267e3, 3.3430575583588128105e4, 6.7265770927008700853e4, 4.5921953931549871457e4,
        1.3731693765509461125e4, 1.9715909503065514427e3, 1.3314166789178437745e2, 3.387132872796366608,
    ),
    doubleArrayOf(
        5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4, 2.1213794301586595867e4,
        5.3941960214247511077e3, 6.8718700749205790830e2, 4.2313330701600911252e1, 1.0,
    ),
)
private val MIDDLE = Ratio(
    doubleArrayOf(
        7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1, 1.27045825245236838258,
        3.64784832476320460504, 5.76949722146069140550, 4.63033784615654529590, 1.42343711074968357734,
    ),
    doubleArrayOf(
        1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2, 1.48103976427480074590e-1,
        6.89767334985100004550e-1, 1.67638483018380384940, 2.05319162663775882187, 1.0,
    ),
)
private val FAR = Ratio(
    doubleArrayOf(
        2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3, 2.65321895265761230930e-2,
        2.96560571828504891230e-1, 1.78482653991729133580, 5.46378491116411436990, 6.65790464350110377720,
    ),
    doubleArrayOf(
        2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5, 7.86869131145613259100e-4,
        1.48753612908506148525e-2, 1.36929880922735805310e-1, 5.99832206555887937690e-1, 1.0,
    ),
)

/** Number that a share of a normal distribution of mean 0 and deviation 1 lies below. */
internal fun normalQuantile(share: Double): Double {
    val q = share - 0.5
    if (abs(q) <= 0.425) return q * CENTRAL.at(0.180625 - q * q)
    val r = sqrt(-ln(if (q <= 0) share else 1 - share))
    val value = if (r <= 5) MIDDLE.at(r - 1.6) else FAR.at(r - 5)
    return if (q < 0) -value else value
}

private const val SERIES_END = 3
private const val LEAST_TERM = 1e-17
private const val LEVELS = 60
private const val NO_TAIL = 40

/**
 * Share of a normal distribution of mean 0 and deviation 1 that lies below a number.
 *
 * By the series of Marsaglia 2004, "Evaluating the normal distribution", and Laplace's continued fraction for the tails.
 */
internal fun normalShare(value: Double): Double {
    val far = abs(value)
    if (far < SERIES_END) {
        val half = series(far) * density(far)
        return if (value < 0) 0.5 - half else 0.5 + half
    }
    var fraction = 0.0
    for (level in LEVELS downTo 1) fraction = level / (far + fraction)
    val tail = if (far > NO_TAIL) 0.0 else density(far) / (far + fraction)
    return if (value < 0) tail else 1 - tail
}

private fun series(far: Double): Double {
    var sum = far
    var term = far
    var odd = 3
    while (term > LEAST_TERM * sum) {
        term *= far * far / odd
        sum += term
        odd += 2
    }
    return sum
}

private fun density(value: Double): Double = exp(-value * value / 2) / sqrt(2 * PI)
