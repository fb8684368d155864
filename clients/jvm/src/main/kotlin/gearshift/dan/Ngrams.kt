/** N-grams of a text as 64-bit keys, as `gearshift.runtime.dan.ngrams` makes them (docs/bundle.md, "The DAN"). */

package gearshift.dan

import gearshift.isBlank
import java.util.Locale

private const val LETTER_BASE = -0x61c8864680b583ebL // 9E3779B97F4A7C15
private const val WORD_BASE = -0x3d4d51c2d82b14b1L // C2B2AE3D27D4EB4F
private const val MIX = -0x2917014799a6026dL // D6E8FEB86659FD93

/** Bytes that are hashed at once: a word that is cut by this is two. */
private const val PIECE = 1 shl 13

private enum class Kind { INSIDE, ALONE, BLANK }

private val KINDS = Array(256) { byte ->
    val letter = byte.toChar() in '0'..'9' || byte.toChar() in 'a'..'z' || byte.toChar() in 'A'..'Z' || byte.toChar() == '_'
    if (byte >= 128 || letter) Kind.INSIDE else if (isBlank(byte)) Kind.BLANK else Kind.ALONE
}

/** Key of every n-gram of 1 to `longest` words, repeats kept: single words, then pairs, and so on. */
internal fun keys(text: String, longest: Int): LongArray {
    val single = wordKeys(text)
    val found = ArrayList(single)
    var last: List<Long> = single
    for (length in 2..longest.coerceAtMost(single.size)) {
        last = List(last.size - 1) { last[it] * WORD_BASE + single[it + length - 1] }
        found.addAll(last)
    }
    return LongArray(found.size) {
        val mixed = (found[it] xor (found[it] ushr 32)) * MIX
        mixed xor (mixed ushr 32)
    }
}

private fun wordKeys(text: String): List<Long> {
    val lower = lowered(text)
    val content = (if (lower.all { it.code < 128 }) lower else spaced(lower)).toByteArray()
    val found = ArrayList<Long>()
    var start = 0
    while (content.size - start >= PIECE) {
        var end = start + PIECE - 2
        while (end > start && kindOf(content[end]) != Kind.BLANK) end -= 1
        if (end == start) end = start + PIECE - 1
        hash(content, start, end, found)
        start = end
    }
    hash(content, start, content.size, found)
    return found
}

private const val SIGMA = 0x3a3

/** Marks within words, which stand between a letter and a sigma as if they were not there. */
private const val BETWEEN = "'.:^`\u00a8\u00ad\u00af\u00b4\u00b7\u00b8\u0387\u055f\u05f4\u2018\u2019\u2024\u2027\ufe13\ufe52\ufe55\uff07\uff0e\uff1a"

/** A text in lower case as Python has it: Java and Android each have another rule of the final sigma. */
private fun lowered(text: String): String {
    if (text.all { it.code < 128 }) return text.lowercase(Locale.ROOT)
    val codes = text.codePoints().toArray()
    val made = StringBuilder()
    for ((at, code) in codes.withIndex()) {
        if (code == SIGMA) made.append(if (isFinal(codes, at)) '\u03c2' else '\u03c3')
        else made.append(String(Character.toChars(code)).lowercase(Locale.ROOT))
    }
    return made.toString()
}

private fun isFinal(codes: IntArray, at: Int): Boolean {
    var before = at - 1
    while (before >= 0 && isIgnorable(codes[before])) before -= 1
    var behind = at + 1
    while (behind < codes.size && isIgnorable(codes[behind])) behind += 1
    return before >= 0 && isCased(codes[before]) && !(behind < codes.size && isCased(codes[behind]))
}

private fun isCased(code: Int): Boolean = Character.isLowerCase(code) || Character.isUpperCase(code) || Character.isTitleCase(code)

private fun isIgnorable(code: Int): Boolean = when (Character.getType(code).toByte()) {
    Character.NON_SPACING_MARK, Character.ENCLOSING_MARK, Character.FORMAT, Character.MODIFIER_LETTER, Character.MODIFIER_SYMBOL -> true
    else -> code < 0x10000 && code.toChar() in BETWEEN
}

private fun kindOf(byte: Byte): Kind = KINDS[byte.toInt() and 255]

/** Words of a text with blanks between them, so that it can be split like ASCII. */
private fun spaced(text: String): String {
    val made = StringBuilder()
    var open = false
    for (code in text.codePoints()) {
        if (isBlank(code)) {
            open = false
            continue
        }
        val letter = isLetter(code) && code !in 0x3040..0x30ff && code !in 0x3400..0x9fff
        if (made.isNotEmpty() && !(open && letter)) made.append(' ')
        made.appendCodePoint(code)
        open = letter
    }
    return made.toString()
}

/** Whether a character is one of words: a letter, a number or `_`. */
private fun isLetter(code: Int): Boolean = when (Character.getType(code).toByte()) {
    Character.DECIMAL_DIGIT_NUMBER, Character.LETTER_NUMBER, Character.OTHER_NUMBER -> true
    else -> Character.isLetter(code) || code == '_'.code
}

/** Sum of (byte + 1) x base^place of each word, mixed. */
private fun hash(content: ByteArray, start: Int, stop: Int, found: MutableList<Long>) {
    var sum = 0L
    var power = 1L
    var open = false
    val end = {
        if (open) found.add((sum xor (sum ushr 32)) * MIX)
        sum = 0
        power = 1
        open = false
    }
    for (at in start until stop) {
        val kind = kindOf(content[at])
        if (kind != Kind.INSIDE) end()
        if (kind == Kind.BLANK) continue
        sum += ((content[at].toInt() and 255) + 1) * power
        power *= LETTER_BASE
        open = true
        if (kind == Kind.ALONE) end()
    }
    end()
}
