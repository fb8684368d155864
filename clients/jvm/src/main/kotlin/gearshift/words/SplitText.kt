/** Words of a text, and words that a caller gives, as a model labels them. */

package gearshift.words

import gearshift.InputError
import gearshift.Place
import gearshift.firstCharacters
import gearshift.isBlank

/** `places`: of each word in `text`; `counts`: words that each of the caller's was cut into, null for a text; `cut`: whether some was left out. */
internal class SplitText(val text: String, val places: List<Place>, val counts: List<Int>?, val cut: Boolean) {
    /** Text that the model reads: the words with single blanks between them. */
    val joined: String get() = places.joinToString(" ") { text.substring(it.start, it.end) }

    /** Place of each word in the joined text. */
    val joinedPlaces: List<Place>
        get() {
            var start = 0
            return places.map { Place(start, start + it.end - it.start).also { made -> start = made.end + 1 } }
        }
}

/** Cut the words of a caller as those of training rows were cut, until they have `longest` characters; raises InputError. */
internal fun splitWords(words: List<String>, rule: WordRule?, longest: Int): SplitText {
    checkWords(words)
    val places = ArrayList<Place>()
    val counts = ArrayList<Int>()
    val read = ArrayList<String>()
    var start = 0
    var characters = 0
    var cut = false
    for (word in words) {
        val own = if (rule == null) word else word.trimEnd { isBlank(it.code) }
        cut = characters + own.codePointCount(0, own.length) > longest
        if (cut && places.isNotEmpty()) break
        val begin = if (cut) word.indexOfFirst { !isBlank(it.code) } else 0
        val kept = if (cut) word.take(begin) + word.drop(begin).firstCharacters(longest) else word
        read.add(kept)
        val found = if (rule == null) listOf(Place(begin, kept.length)) else rule.places(kept).toList()
        found.mapTo(places) { Place(start + it.start, start + it.end) }
        counts.add(found.size)
        start += word.length + 1
        characters += word.codePointCount(0, word.length) + 1
    }
    return SplitText(read.joinToString(" "), places, counts, cut)
}

private fun checkWords(words: List<String>) {
    if (words.isEmpty()) throw InputError("Words: empty list; expected at least one word")
    for ((number, word) in words.withIndex()) {
        if (word.all { isBlank(it.code) }) throw InputError("word $number: empty; expected a word, leave it out together with its label")
    }
}
