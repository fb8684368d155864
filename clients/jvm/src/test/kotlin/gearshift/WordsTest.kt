/** Words and their tags: cut, given, joined and read as by the Python engine. */

package gearshift

import gearshift.words.NO_TAG
import gearshift.words.Scheme
import gearshift.words.SplitText
import gearshift.words.Tag
import gearshift.words.WordRule
import gearshift.words.splitWords
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows

class WordsTest {
    private val marks = mapOf("Po" to true, "So" to true)

    private fun rule(longestIdeographs: Int = 0) =
        WordRule(mapOf("Ps" to true, "." to true), marks + ("Pe" to true), listOf("n't"), setOf("km)"), true, longestIdeographs)

    private fun SplitText.words() = places.map { text.substring(it.start, it.end) }

    private fun wordsOf(text: String, longest: Int = 1000) = rule().split(text, longest).words()

    @Test
    fun `marks and endings are cut off the ends of a word, and what is kept stays`() {
        assertEquals(listOf("is", "n't", "(", "3.5", "km)", "U.S.", ".5", "."), wordsOf("isn't (3.5 km) U.S. .5 ."))
        assertEquals(listOf("...", "so", "..."), wordsOf("...so..."))
        assertEquals(listOf("\u6f22", "\u5b57", "\u3002", "a"), wordsOf("\u6f22\u5b57\u3002a"))
        assertEquals(listOf("ok", "\ud83d\udc4d\ud83c\udffd\ud83d\udc4d\ud83c\udffd"), wordsOf("ok\ud83d\udc4d\ud83c\udffd\ud83d\udc4d\ud83c\udffd"))
    }

    @Test
    fun `a text is cut at its characters, not at half of one`() {
        val split = rule().split("ab \ud835\udc00\ud835\udc01\ud835\udc02", 5)
        assertEquals(listOf("ab", "\ud835\udc00\ud835\udc01") to true, split.words() to split.cut)
        assertEquals("ab \ud835\udc00\ud835\udc01", split.joined)
        assertEquals(listOf(Place(0, 2), Place(3, 7)), split.joinedPlaces)
    }

    @Test
    fun `text without blanks is refused where training rows had them`() =
        refused("InputError", "^'\u6f22\u5b57\u6f22' has no blanks between its words; .*at most 2 characters; pass Words") {
            rule(2).split("a \u6f22\u5b57\u6f22", 100)
        }

    @Test
    fun `words of a caller keep their number, whatever they are cut into`() {
        val split = splitWords(listOf("isn't", "(x", "is"), rule(), 100)
        assertEquals(listOf(2, 2, 1) to "is n't ( x is", split.counts to split.joined)
        val short = splitWords(listOf("one", "two"), null, 4)
        assertEquals(Triple("one", listOf(1), true), Triple(short.joined, short.counts, short.cut))
        refused("InputError", "^Words: empty list; expected at least one word$") { splitWords(emptyList(), null, 4) }
        refused("InputError", "^word 1: empty; expected a word, leave it out together with its label$") { splitWords(listOf("a", " "), null, 4) }
    }

    @Test
    fun `words are for token classification`() = Bundle(DirectoryFiles(bundleOf("tiny"))).use { bundle ->
        refused("InputError", "^expected a text, got Words, which are for token classification; pass a text$") { bundle.encoder.encode(Text(listOf("a"))) }
    }

    @Test
    fun `a label is read by its scheme`() {
        val read = { name: String, form: String, label: String -> Scheme(name, form).read(label) }
        assertEquals(Tag('B', "person"), read("IOB2", "B-x", "B-person"))
        assertEquals(Tag('E', "person"), read("BILOU", "B-x", "L-person"))
        assertEquals(Tag('S', "person"), read("BILOU", "B-x", "U-person"))
        assertEquals(Tag('I', "person"), read("BMES", "x_B", "person_M"))
        assertEquals(Tag('S', "person"), read("BMEWO", "x-B", "person-W"))
        assertEquals(Tag('S', "_"), read("IOBES", "B", "S"))
        assertEquals(Tag('I', "B-person"), read("IO", "B-x", "B-person"))
        assertEquals(Tag('I', "B-person"), read("plain", "B-x", "B-person"))
        assertEquals(NO_TAG, read("IOB2", "B-x", "O"))
        assertThrows<IllegalArgumentException> { Scheme("IOB3", "B-x") }
        assertThrows<IllegalArgumentException> { Scheme("IOB2", "b-x") }
    }

    @Test
    fun `a tag begins an entity behind another kind, an end, or nothing`() {
        val begun = listOf("Ia Ib", "Ia Ba", "Ea Ia", "Sa Ia", "O Ia", "Ia Sa")
        val tag = { text: String -> Tag(text[0], text.drop(1)) }
        val begins = { pair: String -> pair.split(" ").let { (last, one) -> tag(one).begins(tag(last)) } }
        assertTrue(begun.all(begins))
        assertTrue(listOf("Ia Ia", "Ba Ia", "Ia Ea", "Ia O").none(begins))
    }

    @Test
    fun `the tag of a word follows from those of its pieces`() {
        val known = listOf("O", "B-x", "I-x", "E-x", "S-x", "B-y")
        val joined = { labels: String -> Scheme("IOBES", "B-x").join(labels.split(" "), known) }
        assertEquals(listOf("B-x", "S-x", "E-x", "I-x", "B-x", "O", "B-z"), listOf("B-x I-x", "B-x E-x", "I-x E-x", "I-x I-x", "B-x B-y", "O O", "B-z E-z").map(joined))
    }
}
