/** Schemes of tags: how the labels of words say where entities begin and end. */

package gearshift.words

private val LETTERS = mapOf(
    "IO" to " I  ", "IOB2" to "BI  ", "IOE2" to " IE ", "IOBES" to "BIES", "BILOU" to "BILU", "BMES" to "BMES", "BMEWO" to "BMEW",
    "IOB1" to "BI  ", "IOE1" to " IE ", "plain" to "    ",
)
/** Where a form has its parts: numbers of the groups of letter and kind; 0 for a kind that it has not. */
private class Form(pattern: String, val letter: Int, val kind: Int) {
    val pattern = Regex(pattern)
}

private val FORMS = mapOf(
    "B-x" to Form("([A-Z])-(.+)", 1, 2), "B_x" to Form("([A-Z])_(.+)", 1, 2),
    "x-B" to Form("(.+)-([A-Z])", 2, 1), "x_B" to Form("(.+)_([A-Z])", 2, 1), "B" to Form("([A-Z])", 1, 0),
)
internal const val OUTSIDE = "O"
private const val ONLY_KIND = "_"
private const val PLACES = "BIES"

/** `place`: one of `B`, `I`, `E`, `S` and `O`; `kind`: that of the entity. */
internal data class Tag(val place: Char, val kind: String) {
    val isOutside: Boolean get() = place == 'O'

    /** Whether this tag behind another begins an entity. */
    fun begins(last: Tag): Boolean = !isOutside && (place in "BS" || last.place in "OES" || last.kind != kind)
}

internal val NO_TAG = Tag('O', "")

/** Raises IllegalArgumentException for a name or a form that there is not. */
internal class Scheme(private val name: String, private val form: String) {
    private val letters = requireNotNull(LETTERS[name]) { "no scheme of tags: $name" }
    private val parts = requireNotNull(FORMS[form]) { "no form of tags: $form" }

    fun read(label: String): Tag {
        if (label == OUTSIDE) return NO_TAG
        val found = if (name == "plain") null else parts.pattern.matchEntire(label)?.groupValues
        val place = found?.let { letters.indexOf(it[parts.letter]) } ?: -1
        return if (place < 0) Tag('I', label) else Tag(PLACES[place], if (parts.kind == 0) ONLY_KIND else found!![parts.kind])
    }

    /** Label of a word from those of the pieces that it was cut into; the first one's if there is none for it. */
    fun join(labels: List<String>, known: List<String>): String {
        val read = labels.map(::read)
        if (labels.size == 1 || read.distinctBy { it.kind }.size > 1) return labels[0]
        val begins = read.first().place in "BS"
        val ends = read.last().place in "ES"
        val place = if (begins) (if (ends) 'S' else 'B') else if (ends) 'E' else read.first().place
        return written(Tag(place, read.first().kind)).takeIf { it in known } ?: labels[0]
    }

    private fun written(tag: Tag): String {
        if (tag.isOutside) return OUTSIDE
        if (name == "plain") return tag.kind
        val nearest = mapOf('B' to "BI", 'I' to "IB", 'E' to "EI", 'S' to "SBEI").getValue(tag.place)
        val letter = nearest.map { letters[PLACES.indexOf(it)] }.first { it != ' ' }
        return if (form == "B") "$letter" else form.replace("B", "$letter").replace("x", tag.kind)
    }
}
