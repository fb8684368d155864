/** Bundles and vectors that `python -m tests.clients.prepare` made. */

package gearshift

import java.io.File
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.assertThrows

internal val MADE = File(System.getProperty("made"))

/** Bundles that there must be: one of each task, and the committed one, plain and as an app ships it. */
internal val NAMES = listOf(
    "tiny", "multi-label", "regression", "token", "words", "question", "unanswerable", "embedding",
    "embedded", "dan", "dan-pairs", "twelve",
)

internal fun bundleOf(name: String): File = File(MADE, "$name.gearshift")

internal fun jsonOf(name: String): Any? {
    val file = File(MADE, name)
    assertTrue(file.exists(), "$file: missing; run python -m tests.clients.prepare")
    return parsedJson(file.readText())
}

/** Require an error of this name, whose message a pattern finds something in. */
internal fun refused(name: String, pattern: String, call: () -> Unit) {
    val error = assertThrows<GearshiftError> { call() }
    assertEquals(name, error.name, error.message)
    assertTrue(Regex(pattern).containsMatchIn(error.message!!), "other words: ${error.message}")
}
