/** From the output of a graph to a typed answer (docs/bundle.md, "Answers"). */

package gearshift

import kotlin.math.exp

/** Answer to a text, of the bundle's task. */
public sealed interface Answer

/** `score`: probability of `label`, from 0 to 1; `scores`: of every label. */
public data class Classification(val label: String, val score: Double, val scores: Map<String, Double>) : Answer

/** `labels`: those of a probability of at least 1/2, the most probable first. */
public data class MultiLabelClassification(val labels: List<String>, val scores: Map<String, Double>) : Answer

public data class Regression(val value: Double) : Answer

public class Embedding(public val vector: FloatArray) : Answer

/** A word or an entity of a text: `start` and `end` are units of UTF-16 in the text that was given. */
public data class Word(val text: String, val start: Int, val end: Int, val label: String, val score: Double)

/** `words`: every word with its label; `entities`: words that belong together, without those outside of all. */
public data class TokenClassification(val words: List<Word>, val entities: List<Word>) : Answer

/**
 * `answer`: a part of the second text, from `start` to `end` in units of UTF-16, empty if there is none; `nullScoreDiff`:
 * score of no answer less that of the best one, null for a model that always answers.
 */
public data class QuestionAnswering(
    val answer: String,
    val start: Int,
    val end: Int,
    val score: Double,
    val answerable: Boolean,
    val nullScoreDiff: Double?,
) : Answer

/** Read the answer of a bundle's task from the graph's numbers for one text; raises BundleError for another number. */
internal fun readAnswer(manifest: Manifest, output: FloatArray, encoded: Encoded, nullThreshold: Double?): Answer {
    val labels = manifest.labels
    val columns = if (manifest.task == Task.QUESTIONS) 2 else labels.size.coerceAtLeast(1)
    val wanted = columns * if (manifest.task.perToken) encoded.encoding.ids.size else 1
    if (manifest.task != Task.EMBEDDING && output.size != wanted) {
        throw BundleError("expected $wanted numbers of the graph, found ${output.size}; export the bundle again")
    }
    return when (manifest.task) {
        Task.CLASSIFICATION -> {
            val shares = softmax(output)
            val best = output.indices.maxBy { output[it] }
            Classification(labels[best], shares[best], labels.zip(shares).toMap())
        }
        Task.MULTI_LABEL -> {
            val scores = output.map { sigmoid(it.toDouble()) }
            val order = output.indices.filter { scores[it] >= 0.5 }.sortedByDescending { scores[it] }
            MultiLabelClassification(order.map { labels[it] }, labels.zip(scores).toMap())
        }
        Task.REGRESSION -> Regression(output[0].toDouble())
        Task.TOKENS -> tokenClassification(manifest, output, encoded)
        Task.QUESTIONS -> questionAnswering(output, encoded, nullThreshold)
        Task.EMBEDDING -> Embedding(output)
    }
}

internal fun softmax(logits: FloatArray): List<Double> {
    val highest = logits.max().toDouble()
    val exponents = logits.map { exp(it - highest) }
    val total = exponents.sum()
    return exponents.map { it / total }
}

private fun sigmoid(logit: Double): Double = if (logit >= 0) 1 / (1 + exp(-logit)) else exp(logit) / (1 + exp(logit))
