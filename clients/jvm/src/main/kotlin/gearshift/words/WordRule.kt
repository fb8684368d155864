/** The rule by which a text is cut into the words that a model labels (docs/bundle.md, "Words and tags"). */

package gearshift.words

import gearshift.InputError
import gearshift.Place
import gearshift.firstCharacters
import gearshift.repr

private const val BLANK = "\\x09-\\x0d\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000"
private const val IDEOGRAPHS =
    "\\u3005-\\u3007\\u3041-\\u3096\\u309d-\\u30fa\\u30fc-\\u30ff\\u31f0-\\u31ff" +
        "\\u3400-\\u4dbf\\u4e00-\\u9fff\\uf900-\\ufaff\\x{20000}-\\x{3ffff}"
private const val WIDE_MARKS = "\\u3001-\\u3003\\u3008-\\u3011\\u3014-\\u301f\\uff01\\uff08\\uff09\\uff0c\\uff1a\\uff1b\\uff1f"
private val CHUNK = Regex("[^$BLANK]+")
private val CLUSTER = Regex(
    "[\\x{1f1e6}-\\x{1f1ff}]{2}|.(?:[\\ufe0e\\ufe0f\\u20e3\\x{1f3fb}-\\x{1f3ff}\\x{e0020}-\\x{e007f}]|\\u200d[^$BLANK])*",
    RegexOption.DOT_MATCHES_ALL,
)
private val IDEOGRAPH_RUN = Regex("[$IDEOGRAPHS]+")
private val APART = Regex("[$IDEOGRAPHS][\\ufe00-\\ufe0f\\x{e0100}-\\x{e01ef}]*|[$WIDE_MARKS]|[^$IDEOGRAPHS$WIDE_MARKS]+")
private val INITIALS = Regex("(?:[\\p{L}\\p{Nl}\\p{No}]\\.){2,}")
private val PLAIN = Regex("[A-Za-z0-9]+")

/** Digits as Python's `str.isdigit`. */
private val DIGITS = Regex(
    "[\\p{Nd}\\u00b2\\u00b3\\u00b9\\u2070\\u2074-\\u2079\\u2080-\\u2089\\u2460-\\u2468\\u2474-\\u247c\\u2488-\\u2490\\u24ea" +
        "\\u24f5-\\u24fd\\u24ff\\u2776-\\u277e\\u2780-\\u2788\\u278a-\\u2792]+",
)
private const val SIGNS = ".,+-\u2212"

/** Names of the categories of marks, by the number that Java gives them. */
private val CATEGORIES = mapOf(
    Character.CONNECTOR_PUNCTUATION to "Pc", Character.DASH_PUNCTUATION to "Pd", Character.START_PUNCTUATION to "Ps",
    Character.END_PUNCTUATION to "Pe", Character.INITIAL_QUOTE_PUNCTUATION to "Pi", Character.FINAL_QUOTE_PUNCTUATION to "Pf",
    Character.OTHER_PUNCTUATION to "Po", Character.MATH_SYMBOL to "Sm", Character.CURRENCY_SYMBOL to "Sc",
    Character.MODIFIER_SYMBOL to "Sk", Character.OTHER_SYMBOL to "So",
)
private const val SHOWN = 20

/** `before`, `after`: whether a mark, or a category of marks, is cut off that end; `longestIdeographs`: 0 if they are cut apart. */
internal class WordRule(
    private val before: Map<String, Boolean>,
    private val after: Map<String, Boolean>,
    private val endings: List<String>,
    private val kept: Set<String>,
    private val initials: Boolean,
    private val longestIdeographs: Int,
) {
    /** Cut a text into words until they have `longest` characters; raises InputError for text without blanks. */
    fun split(text: String, longest: Int): SplitText {
        val places = ArrayList<Place>()
        var characters = 0
        for (place in places(text, longest + 1)) {
            val word = text.substring(place.start, place.end)
            val count = word.codePointCount(0, word.length)
            if (characters + count > longest) {
                val end = place.start + word.firstCharacters(maxOf(0, longest - characters)).length
                if (end > place.start) places.add(Place(place.start, end))
                return SplitText(text, places, null, true)
            }
            check(word)
            places.add(place)
            characters += count + 1
        }
        return SplitText(text, places, null, false)
    }

    /** Places of the words of a text; of what has no blank for more than `longest` characters the beginning alone is cut. */
    fun places(text: String, longest: Int = Int.MAX_VALUE): Sequence<Place> = CHUNK.findAll(text).flatMap { chunk ->
        var start = chunk.range.first
        cut(chunk.value.firstCharacters(longest)).map { word -> Place(start, start + word.length).also { start += word.length } }
    }

    private fun check(word: String) {
        if (longestIdeographs == 0) return
        val run = IDEOGRAPH_RUN.findAll(word).map { it.value }.firstOrNull { it.codePointCount(0, it.length) > longestIdeographs } ?: return
        throw InputError(
            "${repr(run.firstCharacters(SHOWN))} has no blanks between its words; expected text like the training rows, whose " +
                "words have at most $longestIdeographs characters; pass Words([...])",
        )
    }

    private fun cut(chunk: String): List<String> {
        if (chunk in kept || PLAIN.matches(chunk)) return listOf(chunk)
        if (longestIdeographs > 0 || !IDEOGRAPH_RUN.containsMatchIn(chunk)) return withoutMarks(chunk)
        return APART.findAll(chunk).flatMap { withoutMarks(it.value) }.toList()
    }

    /** Cut marks and endings off both ends of a word, one by one, until nothing is left to cut off. */
    private fun withoutMarks(part: String): List<String> {
        var found = clusters(part)
        val begun = ArrayList<String>()
        val behind = ArrayList<String>()
        while (found.isNotEmpty()) {
            val rest = found.joinToString("")
            val first = run(found)
            if (first == found.size || isWhole(rest)) break
            val ending = endings.firstOrNull(rest::endsWith)
            if (cutsBefore(found[0], first, found[first])) {
                begun.add(found.take(first).joinToString(""))
                found = found.drop(first)
            } else if (ending != null) {
                behind.add(ending)
                found = clusters(rest.dropLast(ending.length))
            } else if (cuts(after, found.last())) {
                val last = run(found.asReversed())
                behind.add(found.takeLast(last).joinToString(""))
                found = found.dropLast(last)
            } else {
                break
            }
        }
        return begun + listOf(found.joinToString("")).filter(String::isNotEmpty) + behind.asReversed()
    }

    private fun isWhole(rest: String): Boolean = rest in kept || rest in endings || (initials && INITIALS.matches(rest))

    private fun cutsBefore(mark: String, count: Int, following: String): Boolean {
        if (count == 1 && mark in SIGNS && DIGITS.matches(following)) return false
        return cuts(before, mark) || (count > 1 && cuts(after, mark))
    }
}

private fun clusters(text: String): List<String> = CLUSTER.findAll(text).map { it.value }.toList()

/** Number of equal clusters that a list begins with. */
private fun run(found: List<String>): Int = found.takeWhile { it == found[0] }.size

private fun cuts(table: Map<String, Boolean>, mark: String): Boolean {
    val code = mark.codePointAt(0)
    val category = CATEGORIES[Character.getType(code).toByte()] ?: return false
    return table[String(Character.toChars(code))] ?: table[category] ?: false
}
