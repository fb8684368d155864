/** Tokenizer of a bundle: the `tokenizers` package itself, in the binding of DJL. */

package gearshift

import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer
import java.io.ByteArrayInputStream

/** Start and end of a part of a text, in units of UTF-16, as `substring` takes them. */
internal data class Place(val start: Int, val end: Int)

/** Token of a text: `sequence` is the number of the text, 0 or 1, `word` that of the word as the tokenizer cuts it. */
internal class Token(val place: Place, val sequence: Int, val word: Int)

/** `tokens`: those of the texts, in order; null for special ones. Made only where answers have places. */
internal class Encoding(val ids: LongArray, val types: LongArray, val cut: Boolean, tokens: () -> List<Token?> = { emptyList() }) {
    val tokens: List<Token?> by lazy(LazyThreadSafetyMode.NONE, tokens)
}

/** `content`: tokenizer.json; `where`: its place, for messages. Raises SchemaError for one that cannot be read. */
internal class Tokenizer(content: ByteArray, where: String, maxLength: Int) : AutoCloseable {
    private val tokenizer: HuggingFaceTokenizer

    init {
        // DJL reports its use to its makers where it runs in their cloud, unless this is set.
        if (System.getProperty("OPT_OUT_TRACKING") == null) System.setProperty("OPT_OUT_TRACKING", "true")
        val json = try {
            fields(parsedJson(String(content, Charsets.UTF_8)))
        } catch (error: FormError) {
            throw IntegrityError("$where: expected JSON (${error.message}); copy the bundle again")
        }
        if ((json["truncation"] as? Map<*, *>)?.get("direction") == "Left") {
            throw SchemaError("$where: found a tokenizer that cuts the beginning, which this client does not; use the Python engine for this bundle")
        }
        val options = mapOf(
            "addSpecialTokens" to "true", "padding" to "false", "truncation" to "longest_first",
            "maxLength" to "$maxLength", "modelMaxLength" to "$maxLength",
        )
        tokenizer = try {
            HuggingFaceTokenizer.newInstance(ByteArrayInputStream(content), options)
        } catch (error: Exception) {
            throw SchemaError("$where: not a tokenizer that can be read (${error.message}); export the bundle again")
        }
    }

    /** Tokens of one or two texts, cut to the longest that the model reads. */
    fun encode(parts: List<String>): Encoding {
        val found = if (parts.size == 1) tokenizer.encode(parts[0]) else tokenizer.encode(parts[0], parts[1])
        return Encoding(found.ids, found.typeIds, found.exceedMaxLength()) {
            val units = parts.map(::unitsOf)
            found.ids.indices.map { token ->
                val span = found.charTokenSpans[token] ?: return@map null
                val sequence = found.sequenceIds[token].toInt()
                val place = Place(units[sequence][span.start], units[sequence][span.end])
                Token(place, sequence, found.wordIds[token].toInt())
            }
        }
    }

    /** Place in units of UTF-16 of each character of a text, and of its end. */
    private fun unitsOf(text: String): IntArray {
        val places = IntArray(text.codePointCount(0, text.length) + 1)
        for (character in 1 until places.size) places[character] = text.offsetByCodePoints(places[character - 1], 1)
        return places
    }

    override fun close(): Unit = tokenizer.close()
}
