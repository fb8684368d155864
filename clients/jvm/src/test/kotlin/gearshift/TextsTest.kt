/** Text vectors: tokens, outputs of every subnet and answers are those of the Python engine. */

package gearshift

import gearshift.dan.keys
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.DynamicTest.dynamicTest
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.TestFactory
import org.junit.jupiter.api.assertThrows
import kotlin.math.abs
import kotlin.math.max
import kotlin.math.sqrt

private const val FP32_TOLERANCE = 1e-3
private const val INT8_ERROR = 0.5
private const val INT8_AGREEMENT = 0.9

/** Number of refusals of the vectors that can be given in this language: texts that are no strings cannot. */
private const val REFUSALS = 7

class TextsTest {
    @TestFactory
    fun `vectors are those of Python`(): List<DynamicTest> = NAMES.flatMap { name ->
        val texts = fields(jsonOf("$name.vectors/texts.json"))
        val vectors = list(texts["texts"]).map(::fields)
        listOf(
            dynamicTest("$name: every text has the tokens of Python") { Bundle(DirectoryFiles(bundleOf(name))).use { checkTokens(it, texts, vectors) } },
            dynamicTest("$name: what Python refuses is refused in the same words") { Bundle(DirectoryFiles(bundleOf(name))).use { checkRefusals(it, texts) } },
        ) + listOf("fp32", "int8").filter { it in fields(vectors[0]["precisions"]) }.map { precision ->
            dynamicTest("$name: every subnet gives the numbers and answers of Python at $precision") {
                Bundle(DirectoryFiles(bundleOf(name))).use { checkNumbers(it, vectors, precision) }
            }
        }
    }

    private fun textOf(vector: Fields): Text =
        vector["words"]?.let { Text(texts(it)) } ?: texts(vector["text"]).let { Text(it[0], it.getOrNull(1)) }

    private fun shown(vector: Fields): String = textOf(vector).parts[0].take(60)

    private fun checkTokens(bundle: Bundle, texts: Fields, vectors: List<Fields>) {
        assertEquals(texts["digest"], bundle.manifest.digest)
        for (vector in vectors) {
            val found = bundle.encoder.encode(textOf(vector))
            assertArrayEquals(longs(vector["ids"]), found.encoding.ids, shown(vector))
            assertTrue(isAsStated(found, vector), shown(vector))
            assertEquals(vector["truncated"], found.truncated, shown(vector))
        }
    }

    private fun checkNumbers(bundle: Bundle, vectors: List<Fields>, precision: String) {
        val dan = bundle.dan()?.dan
        var same = 0
        var total = 0
        bundle.session(precision, 1).use { session ->
            for (vector in vectors) {
                val encoded = bundle.encoder.encode(textOf(vector))
                val encoding = encoded.encoding
                val wanted = fields(fields(vector["precisions"])[precision])
                assertEquals(wanted.keys.toList(), bundle.switchable(precision).map { it.name })
                for (entry in bundle.switchable(precision)) {
                    val where = "$precision ${entry.name} ${shown(vector)}"
                    val output = list(fields(wanted[entry.name])["output"]).map(::number)
                    val isDan = entry.executor == "dan"
                    val found = if (isDan) dan!!.run(encoded.parts) else session.run(columns(encoding), 1, encoding.ids.size, entry.choice)
                    assertEquals(output.size, found.size, where)
                    val errors = output.indices.map { abs(found[it] - output[it]) }
                    val answer = plain(readAnswer(bundle.manifest, found, encoded, entry.nullThreshold), textOf(vector).parts.last())
                    val expected = fields(wanted[entry.name])["answer"]
                    if (precision == "fp32") {
                        assertTrue(errors.max() <= FP32_TOLERANCE, where)
                        assertTrue(isSame(expected, answer, FP32_TOLERANCE), "$where: $expected, $answer")
                    } else {
                        assertTrue(errors.average() / spread(vectors, output, precision, entry.name) <= INT8_ERROR, where)
                        same += if (isSame(expected, answer, Double.POSITIVE_INFINITY)) 1 else 0
                        total += 1
                    }
                }
            }
        }
        assertTrue(same >= INT8_AGREEMENT * total, "$same of $total answers are the same")
    }

    /** Spread of the outputs of a subnet: of one text, or of all texts where an output is one number. */
    private fun spread(vectors: List<Fields>, output: List<Double>, precision: String, subnet: String): Double {
        val outputOf = { vector: Fields -> list(fields(fields(fields(vector["precisions"])[precision])[subnet])["output"]).map(::number) }
        val values = if (output.size > 1) output else vectors.flatMap(outputOf)
        return max(sqrt(values.map { (it - values.average()) * (it - values.average()) }.average()), FP32_TOLERANCE)
    }

    /** An answer in the form of the vectors, whose places are characters. `text`: the one that places are in. */
    private fun plain(answer: Answer, text: String): Fields = when (answer) {
        is Classification -> mapOf("label" to answer.label, "score" to answer.score, "scores" to answer.scores)
        is MultiLabelClassification -> mapOf("labels" to answer.labels, "scores" to answer.scores)
        is Regression -> mapOf("value" to answer.value)
        is Embedding -> mapOf("vector" to answer.vector.map(Float::toDouble))
        is TokenClassification -> mapOf("words" to answer.words.map { plain(it, text) }, "entities" to answer.entities.map { plain(it, text) })
        is QuestionAnswering -> mapOf("answer" to answer.answer, "score" to answer.score, "answerable" to answer.answerable) +
            places(answer.start, answer.end, text) + mapOf("null_score_diff" to answer.nullScoreDiff)
    }

    private fun plain(word: Word, text: String): Fields =
        mapOf("text" to word.text, "label" to word.label, "score" to word.score) + places(word.start, word.end, text)

    private fun places(start: Int, end: Int, text: String): Fields =
        mapOf("start" to start, "end" to end).mapValues { (_, place) -> text.codePointCount(0, place).toDouble() }

    private fun isSame(expected: Any?, found: Any?, tolerance: Double): Boolean = when {
        expected is Double && found is Double -> abs(expected - found) <= tolerance
        expected is List<*> && found is List<*> -> expected.size == found.size && expected.indices.all { isSame(expected[it], found[it], tolerance) }
        expected is Map<*, *> && found is Map<*, *> -> expected.keys == found.keys && expected.keys.all { isSame(expected[it], found[it], tolerance) }
        else -> expected == found
    }

    private fun checkRefusals(bundle: Bundle, texts: Fields) {
        var tried = 0
        for (refusal in list(texts["refused"]).map(::fields)) {
            val value = refusal["value"]
            val call: () -> Unit = when {
                refusal["kind"] == "text" && value is String -> { { bundle.encoder.encode(Text(value)) } }
                refusal["kind"] == "text" && value is List<*> && value.size == 2 && value.all { it is String } -> {
                    { bundle.encoder.encode(Text(text(value[0]), text(value[1]))) }
                }
                refusal["kind"] == "deadline_ms" && value is Double -> { { checkedDeadline(value) } }
                refusal["kind"] == "subnet" -> { { bundle.entry(text(value), bundle.precisions[0]) } }
                else -> continue
            }
            val error = assertThrows<GearshiftError> { call() }
            assertEquals(listOf(refusal["error"], refusal["message"]), listOf(error.name, error.message))
            tried += 1
        }
        val alone = if (bundle.manifest.task == Task.QUESTIONS) 1 else 0 // a question without its text
        assertEquals(REFUSALS + alone, tried)
    }

    @Test
    fun `random texts have the tokens of Python, at its places`() {
        val rows = list(jsonOf("random.json")).map(::fields)
        assertTrue(rows.size > 1000)
        Tokenizer(DirectoryFiles(bundleOf("token")).read("tokenizer.json", 1 shl 20), "tokenizer.json", 512).use { tokenizer ->
            for (row in rows) {
                val text = text(row["text"])
                val found = tokenizer.encode(listOf(text))
                assertTrue(isAsStated(Encoded(found, listOf(text), false, null), row), text)
            }
        }
    }

    @Test
    fun `random texts have the n-grams of Python`() {
        for (row in list(jsonOf("random.json")).map(::fields)) {
            val found = keys(text(row["text"]), 3)
            assertEquals(row["keys"], listOf(found.size.toDouble(), java.lang.Long.toHexString(found.sum())), text(row["text"]))
        }
    }

    @Test
    fun `comparing finds what differs`() {
        assertTrue(!isSame(mapOf("label" to "a"), mapOf("label" to "b"), 1.0))
        assertTrue(!isSame(mapOf("score" to 0.5), mapOf("score" to 0.502), FP32_TOLERANCE))
        assertTrue(isSame(listOf(1.5, null), listOf(1.5004, null), FP32_TOLERANCE))
    }
}
