/** From a text to the tokens that a graph takes: checks, prompt, shortening (docs/bundle.md). */

package gearshift

/** One text, or a pair of texts that are read together. */
public class Text @JvmOverloads constructor(public val first: String, public val second: String? = null)

/** `parts`: texts as they were tokenized. */
internal class Encoded(val encoding: Encoding, val parts: List<String>, val truncated: Boolean)

private const val CHARACTERS_PER_TOKEN = 32

/** White space as Python's `str.isspace`. */
internal fun isBlank(code: Int): Boolean =
    code in 0x9..0xd || code in 0x1c..0x20 || code == 0x85 || code == 0xa0 || code == 0x1680 || code in 0x2000..0x200a ||
        code == 0x2028 || code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000

/** Whether a text has no half of a surrogate pair. */
internal fun isWellFormed(text: String): Boolean = text.codePoints().noneMatch { it in 0xd800..0xdfff }

internal class TextEncoder(private val manifest: Manifest, private val tokenizer: Tokenizer) {
    private val longest = manifest.maxLength * CHARACTERS_PER_TOKEN

    /** Tokens of a text; raises InputError for an empty one and for half a surrogate pair. */
    fun encode(text: Text): Encoded {
        val given = listOfNotNull(text.first, text.second)
        for (part in given) {
            if (part.codePoints().allMatch(::isBlank)) throw InputError("empty text; expected at least one word")
            if (!isWellFormed(part)) throw InputError("not valid Unicode; expected text without lone surrogates")
        }
        val parts = given.mapIndexed { number, part -> shortened(if (number == 0) manifest.prompt + part else part) }
        val encoding = tokenizer.encode(parts.map { it.first })
        return Encoded(encoding, parts.map { it.first }, encoding.cut || parts.any { it.second })
    }

    /** Cut a text to the characters that can fit the model, runs of white space counting as one; and whether it was. */
    private fun shortened(text: String): Pair<String, Boolean> {
        if (text.length <= longest || text.codePointCount(0, text.length) <= longest) return text to false
        val single = StringBuilder()
        var pending = false
        var count = 0
        for (code in text.codePoints()) {
            if (isBlank(code)) {
                pending = count > 0
                continue
            }
            if (pending && ++count <= longest) single.append(' ')
            pending = false
            if (++count <= longest) single.appendCodePoint(code)
        }
        return single.toString() to (count > longest)
    }
}

/** A deadline in ms, or null; raises InputError for anything but a positive number. */
internal fun checkedDeadline(deadlineMs: Double?): Double? {
    if (deadlineMs == null || (deadlineMs > 0 && deadlineMs < Double.POSITIVE_INFINITY)) return deadlineMs
    throw InputError("deadline_ms: expected a positive number of milliseconds or None, got ${repr(deadlineMs)}")
}
