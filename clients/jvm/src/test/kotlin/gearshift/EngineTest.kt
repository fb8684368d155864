/** The engine: loading, choosing, deadlines, kept tables, and one typed error for whatever is wrong. */

package gearshift

import gearshift.policy.Objective
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNotEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.DynamicTest.dynamicTest
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.TestFactory
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.api.io.TempDir
import java.io.File
import kotlin.concurrent.thread

/** What the tokenizers package says of a model that it does not know, in place of a list of those that a port knows. */
private val OTHER_WORDS = mapOf("a tokenizer of another kind" to "not a tokenizer that can be read")

class EngineTest {
    private val tiny = bundleOf("tiny")

    private fun load(precision: String = "fp32", objective: Objective = Objective(), files: File = tiny): Engine =
        Engine.load(files, LoadOptions(precision, objective = objective, table = TABLE))

    private fun labelOf(answered: Answered): String = (answered.answer as Classification).label

    @Test
    fun `an answer says what ran, and why`() = load().use { engine ->
        val answered = engine.run("turn the lights off", 1e4)
        assertEquals(listOf("lights_off", "fits", engine.ladder[0], true, 6), listOf(labelOf(answered), answered.reason, answered.subnet, answered.deadlineMet, answered.tokens))
        assertEquals("no_deadline", engine.run("turn the lights off").reason)
        assertEquals("best_effort", engine.run("turn the lights off", 1e-3).reason)
        assertTrue(engine.slowDown > 0)
    }

    @Test
    fun `a pinned subnet answers, another is refused and changes nothing`() = load("int8").use { engine ->
        engine.pin("w025-d050")
        refused("UnknownSubnetError", "^unknown subnet 'w1'; this bundle has w100-d100, ") { engine.pin("w1") }
        val answered = engine.run("play some music", 1e4)
        assertEquals(listOf("w025-d050", "pinned"), listOf(answered.subnet, answered.reason))
        engine.pin(null)
        assertEquals("fits", engine.run("play some music", 1e4).reason)
    }

    @Test
    fun `a warm device takes later rungs alone`() = load().use { engine ->
        engine.firstRung = 1000
        assertEquals(engine.ladder.last(), engine.run("play some music", 1e4).subnet)
    }

    @Test
    fun `threads share an engine`() = load().use { engine ->
        val alone = labelOf(engine.run("stop the timer"))
        val found = java.util.concurrent.ConcurrentLinkedQueue<String>()
        List(4) { thread { repeat(5) { found.add(labelOf(engine.run("stop the timer", 1e4))) } } }.forEach(Thread::join)
        assertEquals(List(20) { alone }, found.toList())
    }

    @Test
    fun `an interrupted thread takes its request back`() = load().use { engine ->
        Thread.currentThread().interrupt()
        assertThrows<InterruptedException> { engine.run("stop the timer") }
        assertEquals("lights_off", labelOf(engine.run("turn the lights off")))
    }

    @Test
    fun `labelled words and an answer have places in the text that was given`() {
        Engine.load(bundleOf("words"), LoadOptions("fp32")).use { engine ->
            val given = listOf("Karl-Anna", "isn't", "here")
            val words = (engine.run(Text(given), 1e4).answer as TokenClassification).words
            assertEquals(given, words.map { it.text })
            assertEquals(given, words.map { given.joinToString(" ").substring(it.start, it.end) })
        }
        Engine.load(bundleOf("question"), LoadOptions("fp32")).use { engine ->
            val answer = engine.run(Text("where is it?", "\ud83d\ude00 It is in the kitchen.")).answer as QuestionAnswering
            assertEquals(answer.answer, "\ud83d\ude00 It is in the kitchen.".substring(answer.start, answer.end))
            assertTrue(answer.answerable && answer.answer.isNotEmpty())
        }
    }

    @Test
    fun `closing waits for the requests that are in, and later ones are refused`() {
        val engine = load()
        val odd = java.util.concurrent.ConcurrentLinkedQueue<Throwable>()
        val threads = List(4) {
            thread {
                try {
                    while (true) engine.run("stop the timer")
                } catch (error: EngineClosedError) {
                    return@thread
                } catch (error: Throwable) {
                    odd.add(error)
                }
            }
        }
        engine.run("one")
        engine.close()
        threads.forEach(Thread::join)
        assertEquals(emptyList<Throwable>(), odd.toList())
    }

    @Test
    fun `bad input is refused, and the next request is answered`() {
        val engine = load()
        for (text in listOf(Text(""), Text(" \n"), Text("a", ""), Text("\ud800"), Text("a\udc00b"))) refused("InputError", "") { engine.run(text) }
        for (deadlineMs in listOf(0.0, -1.0, Double.NaN, Double.POSITIVE_INFINITY)) {
            refused("InputError", "^deadline_ms: expected a positive number of milliseconds or None, got ") { engine.run("a", deadlineMs) }
        }
        assertEquals("lights_off", labelOf(engine.run("turn the lights off")))
        engine.close()
        engine.close()
        refused("EngineClosedError", "^the engine is closed; load it again$") { engine.run("a") }
    }

    @Test
    fun `a deadline that nothing keeps is refused where that was asked for`() = load(objective = Objective(onMiss = "reject")).use { engine ->
        engine.run("one")
        refused("DeadlineTooShortError", "^refused: ") { engine.run("two", 0.001) }
    }

    @Test
    fun `options that cannot be used are refused`() {
        val change = { options: LoadOptions -> Engine.load(tiny, options).close() }
        refused("InputError", "^threads: expected a whole number from 1 to 1024, got 0$") { change(LoadOptions(threads = 0)) }
        refused("InputError", "^target: expected a share of deadlines from 0.5 to below 1, got 1$") { change(LoadOptions(objective = Objective(1.0))) }
        refused("InputError", "^late_value: expected a share from 0 to 1, got -1$") { change(LoadOptions(objective = Objective(lateValue = -1.0))) }
        refused("InputError", "^on_miss: expected best_effort or reject, got 'x'$") { change(LoadOptions(objective = Objective(onMiss = "x"))) }
        refused("InputError", "^min_accuracy: expected at most 0\\.676, that of \\S+, the best on this device's ladder, got 1$") {
            load(objective = Objective(minAccuracy = 1.0))
        }
        refused("SchemaError", "no fp16 graph in this bundle; it has fp32, int8$") { change(LoadOptions("fp16")) }
        refused("ProfileError", "expected positive milliseconds of every subnet") {
            change(LoadOptions("fp32", table = LatencyTable(listOf(8), emptyMap())))
        }
    }

    @Test
    fun `tables are timed once, kept, and timed again where they are of another form`(@TempDir scratch: File) {
        val tables = File(scratch, "latencies.json")
        val load = { precision: String -> Engine.load(tiny, LoadOptions(precision, tables = tables)).use { it.table } }
        val first = load("fp32")
        assertEquals(first.medianMs, load("fp32").medianMs)
        load("int8")
        Engine.load(bundleOf("regression"), LoadOptions("fp32", tables = tables)).close()
        assertEquals(first.medianMs, load("fp32").medianMs, "tables of other precisions and bundles stay")
        tables.writeText("{\"schema_version\": 1, \"tables\": [{\"manifest\": 1}]}")
        assertEquals(listOf(8, 32), load("fp32").lengths)
        Engine.load(tiny, LoadOptions("fp32", tables = File(scratch, "none/x"))).close()
    }

    /** An app's assets have no paths: all is read from memory, the table that it ships as well. */
    private class Assets(private val folder: File, private val latencies: String?) : Files {
        override val place: String = "assets"

        override fun read(name: String, atMost: Int): ByteArray {
            if (name == "latencies.json" && latencies != null) return latencies.toByteArray()
            val file = File(folder, name)
            if (!file.exists()) throw IntegrityError("$place/$name: missing; copy the bundle again")
            return file.readBytes()
        }
    }

    @Test
    fun `a table that an app ships is used if it is of this manifest and whole`() {
        val folder = bundleOf("embedded")
        val key = TableKey(sha256(File(folder, "manifest.json").readBytes()), "int8", 1, null)
        val table = LatencyTable(listOf(8, 32), TABLE.medianMs.mapValues { listOf(40.0, 80.0) })
        val used = { kept: List<KeptTable> ->
            Engine.load(Assets(folder, written(kept)), LoadOptions("int8")).use { it.table.medianMs.values.first()[0] == 40.0 }
        }
        val others = listOf(
            KeptTable(key.copy(manifest = "0"), table), KeptTable(key.copy(threads = 2), table),
            KeptTable(key.copy(device = "another"), table), KeptTable(key, LatencyTable(listOf(8, 32), emptyMap())),
        )
        assertTrue(used(others + KeptTable(key, table)))
        assertTrue(!used(others))
    }

    @Test
    fun `assets with weights beside the graph are refused, and told the way`() {
        refused("SchemaError", "found by path alone; make a folder with `gearshift embed`$") { Engine.load(Assets(tiny, null), LoadOptions("fp32")) }
    }

    @Test
    fun `an embedding has the width of the model`() = Engine.load(bundleOf("embedding"), LoadOptions("fp32")).use { engine ->
        val one = (engine.run("turn it off").answer as Embedding).vector
        assertArrayEquals(one, (engine.run("turn it off").answer as Embedding).vector)
        assertNotEquals(one.toList(), (engine.run("where is it?").answer as Embedding).vector.toList())
    }

    @Test
    fun `a DAN is a rung, is timed, and answers where it is pinned`() = Engine.load(bundleOf("dan"), LoadOptions("fp32")).use { engine ->
        assertTrue(engine.table.medianMs.getValue("dan").all { it > 0 })
        engine.pin("dan")
        val answered = engine.run("turn the lights off", 1e4)
        assertEquals(listOf("dan", "pinned"), listOf(answered.subnet, answered.reason))
    }

    @TestFactory
    fun `what is wrong with a bundle is one typed error`(): List<DynamicTest> = list(jsonOf("refused.json")).map(::fields).map { one ->
        val what = text(one["what"])
        dynamicTest(what) {
            refused(text(one["error"]), OTHER_WORDS[what] ?: text(one["pattern"])) { load(files = File(MADE, text(one["folder"]))) }
        }
    }

    @Test
    fun `a folder that is not there is refused`() =
        refused("BundleError", "expected a bundle directory, found no such directory; make one with") { Engine.load(File("none")) }

    @Test
    fun `without a precision the faster one answers`() =
        Engine.load(tiny).use { engine -> assertTrue(engine.precision in listOf("fp32", "int8")) }

    companion object {
        private val TABLE: LatencyTable by lazy { Engine.load(bundleOf("tiny"), LoadOptions("fp32")).use { it.table } }
    }
}
