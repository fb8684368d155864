/** From a text to the tokens that a graph takes: checks, prompt, shortening (docs/bundle.md). */

package gearshift

import gearshift.words.SplitText
import gearshift.words.splitWords

/** One text, a pair of texts that are read together, or, for token classification, the words of a text. */
public class Text private constructor(internal val parts: List<String>, internal val words: List<String>?) {
    @JvmOverloads
    public constructor(first: String, second: String? = null) : this(listOfNotNull(first, second), null)

    public constructor(words: List<String>) : this(listOf(words.joinToString(" ")), words)
}

/**
 * `parts`: texts as they were tokenized, cut, and words with single blanks between them; `split`: words of the first text,
 * null where the tokenizer alone cuts it.
 */
internal class Encoded(val encoding: Encoding, val parts: List<String>, val truncated: Boolean, val split: SplitText?)

private class Part(val text: String, val cut: Boolean)

private const val CHARACTERS_PER_TOKEN = 32

/** White space as Python's `str.isspace`. */
internal fun isBlank(code: Int): Boolean =
    code in 0x9..0xd || code in 0x1c..0x20 || code == 0x85 || code == 0xa0 || code == 0x1680 || code in 0x2000..0x200a ||
        code == 0x2028 || code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000

/** Whether a text has no half of a surrogate pair. */
internal fun isWellFormed(text: String): Boolean = text.codePoints().noneMatch { it in 0xd800..0xdfff }

/** The first characters (code points) of a text, at most `count`. */
internal fun String.firstCharacters(count: Int): String =
    if (length <= count) this else substring(0, offsetByCodePoints(0, minOf(count, codePointCount(0, length))))

internal class TextEncoder(private val manifest: Manifest, private val tokenizer: Tokenizer) {
    private val longest = manifest.maxLength * CHARACTERS_PER_TOKEN

    /** Tokens of a text; raises InputError for an empty one, for half a surrogate pair, and for words where there are none. */
    fun encode(text: Text): Encoded {
        if (text.words != null && manifest.task != Task.TOKENS) {
            throw InputError("expected a text, got Words, which are for token classification; pass a text")
        }
        if (manifest.task == Task.QUESTIONS && text.parts.size == 1 && !text.parts[0].codePoints().allMatch(::isBlank)) {
            throw InputError("expected a pair, a question and the text with its answer, got one text")
        }
        val split = split(text)
        for (part in text.parts) {
            if (part.codePoints().allMatch(::isBlank)) throw InputError("empty text; expected at least one word")
            if (!isWellFormed(part)) throw InputError("not valid Unicode; expected text without lone surrogates")
        }
        val parts = text.parts.mapIndexed { number, part ->
            if (number == 0 && split != null) Part(split.joined, split.cut) else shortened(if (number == 0) manifest.prompt + part else part)
        }
        val texts = parts.map { it.text }
        val encoding = tokenizer.encode(texts)
        return Encoded(encoding, texts, encoding.cut || parts.any { it.cut }, split)
    }

    /** Words of the first text, cut by the bundle's rule or given; null where the tokenizer alone cuts it. */
    private fun split(text: Text): SplitText? {
        val rule = manifest.tagging?.rule
        return if (text.words != null) splitWords(text.words, rule, longest) else rule?.split(text.parts[0], longest)
    }

    /** Cut a text to the characters that can fit the model: where answers have places there, else with white space made single. */
    private fun shortened(text: String): Part {
        if (text.length <= longest || text.codePointCount(0, text.length) <= longest) return Part(text, false)
        if (manifest.task.perToken) return Part(text.firstCharacters(longest), true)
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
        return Part(single.toString(), count > longest)
    }
}

/** A deadline in ms, or null; raises InputError for anything but a positive number. */
internal fun checkedDeadline(deadlineMs: Double?): Double? {
    if (deadlineMs == null || (deadlineMs > 0 && deadlineMs < Double.POSITIVE_INFINITY)) return deadlineMs
    throw InputError("deadline_ms: expected a positive number of milliseconds or None, got ${repr(deadlineMs)}")
}
