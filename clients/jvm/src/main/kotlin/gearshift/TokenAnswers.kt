/** Answers whose parts have places in the text: labelled words, and the part of a text that answers a question. */

package gearshift

import gearshift.words.NO_TAG
import gearshift.words.OUTSIDE
import gearshift.words.Scheme
import gearshift.words.SplitText
import kotlin.math.exp
import kotlin.math.ln

private const val LONGEST_ANSWER = 30
private val PREFIX = Regex("[BI]-.")

/** Labels of the tokens of one text, by number of the token. */
private class TokenLabels(private val labels: List<String>, private val output: FloatArray) {
    /** Word at a place, with the best label of its first token; outside if it has none. */
    fun word(text: String, place: Place, token: Int?): Word {
        val part = text.substring(place.start, place.end)
        if (token == null) return Word(part, place.start, place.end, OUTSIDE, 0.0)
        val row = output.copyOfRange(token * labels.size, (token + 1) * labels.size)
        val best = row.indices.maxBy { row[it] }
        return Word(part, place.start, place.end, labels[best], softmax(row)[best])
    }
}

internal fun tokenClassification(manifest: Manifest, output: FloatArray, encoded: Encoded): TokenClassification {
    val read = TokenLabels(manifest.labels, output)
    val scheme = schemeOf(manifest)
    val split = encoded.split
    if (split == null) {
        val text = encoded.parts[0]
        val words = tokenizerWords(encoded.encoding, text).map { (token, place) -> read.word(text, place, token) }
        return TokenClassification(words, entities(words, text, scheme))
    }
    val tokens = firstTokens(encoded.encoding, split.joinedPlaces)
    val known = tokens.indices.filter { tokens[it] != null }
    val whole = if (!encoded.encoding.cut) tokens.indices else if (known.isEmpty()) IntRange.EMPTY else known.first()..known.last()
    val pieces = split.places.mapIndexed { number, place -> if (number in whole) read.word(split.text, place, tokens[number]) else null }
    val words = split.counts?.let { givenWords(pieces, split, it, scheme, manifest.labels) } ?: pieces.filterNotNull()
    return TokenClassification(words, entities(pieces.filterNotNull(), split.text, scheme))
}

/** Scheme of the labels; of bundles that record none, whose labels may be of any, `B-` and `I-` keep their sense. */
private fun schemeOf(manifest: Manifest): Scheme =
    manifest.tagging?.scheme ?: Scheme(if (manifest.labels.any { PREFIX.matchesAt(it, 0) }) "IOB2" else "plain", "B-x")

/** Words of the caller, each with the label of the pieces that it was cut into. */
private fun givenWords(pieces: List<Word?>, split: SplitText, counts: List<Int>, scheme: Scheme, labels: List<String>): List<Word> {
    var first = 0
    return counts.mapNotNull { count ->
        val own = pieces.subList(first, first + count).filterNotNull()
        val (start, end) = split.places[first].start to split.places[first + count - 1].end
        first += count
        if (own.isEmpty()) return@mapNotNull null
        Word(split.text.substring(start, end), start, end, scheme.join(own.map { it.label }, labels), own[0].score)
    }
}

/** First token and place of each word of the first text, as the tokenizer cuts it. */
private fun tokenizerWords(encoding: Encoding, text: String): List<Pair<Int, Place>> {
    val found = LinkedHashMap<Int, MutableList<Int>>()
    for ((number, token) in encoding.tokens.withIndex()) {
        if (token != null && token.sequence == 0) found.getOrPut(token.word) { ArrayList() }.add(number)
    }
    return found.values.mapNotNull { tokens ->
        var start = encoding.tokens[tokens.first()]!!.place.start
        var end = encoding.tokens[tokens.last()]!!.place.end
        while (start < end && isBlank(text[start].code)) start += 1
        while (start < end && isBlank(text[end - 1].code)) end -= 1
        if (start < end) tokens.first() to Place(start, end) else null
    }
}

/** First token of each word of the joined text; null for one that was cut off, or that has no token of its own. */
private fun firstTokens(encoding: Encoding, places: List<Place>): List<Int?> {
    val taken = HashSet<Int>()
    return places.map { word ->
        val found = encoding.tokens.indexOfFirst { token ->
            token != null && token.sequence == 0 && token.place.start < word.end && token.place.end > word.start &&
                token.place.end > token.place.start
        }
        found.takeIf { it >= 0 && taken.add(it) }
    }
}

private fun entities(words: List<Word>, text: String, scheme: Scheme): List<Word> {
    val found = ArrayList<Word>()
    val run = ArrayList<Word>()
    var last = NO_TAG
    val end = {
        if (run.isNotEmpty()) {
            val (start, stop) = run.first().start to run.last().end
            found.add(Word(text.substring(start, stop), start, stop, last.kind, run.sumOf { it.score } / run.size))
            run.clear()
        }
    }
    for (word in words) {
        val tag = scheme.read(word.label)
        if (tag.isOutside || tag.begins(last)) end()
        if (!tag.isOutside) run.add(word)
        last = tag
    }
    end()
    return found
}

/** `threshold`: that of the subnet, above which there is no answer; null for a model that always answers. */
internal fun questionAnswering(output: FloatArray, encoded: Encoded, threshold: Double?): QuestionAnswering {
    val tokens = encoded.encoding.tokens
    val second = tokens.indices.filter { tokens[it]?.sequence == 1 }
    val offset = if (threshold == null) 0 else 1
    val among = List(offset) { 0 } + second // the beginning of the sequence stands for no answer
    if (among.isEmpty()) return QuestionAnswering("", 0, 0, 0.0, false, null)
    val (firsts, lasts) = List(2) { column -> logSoftmax(among.map { output[2 * it + column].toDouble() }) }
    val nothing = if (threshold == null) Double.NEGATIVE_INFINITY else firsts[0] + lasts[0]
    if (second.isEmpty()) return QuestionAnswering("", 0, 0, exp(nothing), false, null)
    var best = Double.NEGATIVE_INFINITY
    var span = Pair(0, 0)
    for (first in second.indices) {
        for (last in first until minOf(second.size, first + LONGEST_ANSWER)) {
            val total = firsts[first + offset] + lasts[last + offset]
            if (total > best) {
                best = total
                span = Pair(first, last)
            }
        }
    }
    val difference = if (threshold == null) null else nothing - best
    if (difference != null && difference > threshold!!) return QuestionAnswering("", 0, 0, exp(nothing), false, difference)
    val start = tokens[second[span.first]]!!.place.start
    val end = tokens[second[span.second]]!!.place.end
    return QuestionAnswering(encoded.parts.last().substring(start, end), start, end, exp(best), true, difference)
}

private fun logSoftmax(values: List<Double>): List<Double> {
    val highest = values.max()
    val log = ln(values.sumOf { exp(it - highest) })
    return values.map { it - log - highest }
}
