/** Latency table of a bundle on this device: shipped with it, kept by an earlier start, or timed now and kept. */

package gearshift

import java.io.File
import java.io.IOException
import kotlin.random.Random

private const val RUNS = 5
private const val FEWEST_RUNS = 3
private const val BUDGET_MS = 2000
private const val LEAST_MS = 1e-3

/** Most tables of a file, of whatever bundles; the oldest are dropped first. */
private const val KEPT = 32

/** Moment in ms on a clock that only goes forward. */
internal fun nowMs(): Double = System.nanoTime() / 1e6

/** The table that `options` name or the bundle ships, one kept under the same key, or one that is timed now and kept. */
internal fun tableOf(bundle: Bundle, session: ElasticSession, dan: TestedDan?, precision: String, options: LoadOptions): LatencyTable {
    val pool = bundle.switchable(precision)
    val names = pool.map { it.name }
    options.table?.let { return it.checked(names) }
    val key = TableKey(bundle.manifest.hash, precision, options.threads, options.device ?: deviceName())
    bundle.latencies()?.let { shipped -> tableFor(keptTables(shipped), key, names)?.let { return it } }
    val before = options.tables?.let { keptTables(contentOf(it)) }.orEmpty()
    tableFor(before, key, names)?.let { return it }
    val made = timed(session, dan, bundle.manifest, pool)
    if (options.tables != null) keep(options.tables, before.filter { it.key != key }.takeLast(KEPT - 1) + KeptTable(key, made))
    return made
}

private fun deviceName(): String =
    listOf("os.name", "os.arch").joinToString(" ") { System.getProperty(it) ?: "" } + " ${Runtime.getRuntime().availableProcessors()}"

private fun contentOf(file: File): String = try {
    file.readText()
} catch (error: IOException) {
    ""
}

/** Keep tables in a file; what cannot be written is timed again at the next start. */
private fun keep(file: File, tables: List<KeptTable>) {
    val fresh = File("${file.path}.new")
    try {
        fresh.writeText(written(tables))
        if (!fresh.renameTo(file)) fresh.delete()
    } catch (error: IOException) {
        fresh.delete()
    }
}

/** Time every subnet at every length, in rounds of a new random order. */
internal fun timed(session: ElasticSession, dan: TestedDan?, manifest: Manifest, pool: List<PoolEntry>): LatencyTable {
    class Call(val length: Int, val entry: PoolEntry, val times: MutableList<Double> = ArrayList())
    val lengths = defaultLengths(manifest.maxLength)
    val calls = lengths.flatMap { length -> pool.map { Call(length, it) } }
    val inputs = lengths.associateWith { length ->
        columns(Encoding(LongArray(length) { Random.nextLong(manifest.vocabulary.toLong().coerceAtLeast(1)) }, LongArray(length), false))
    }
    val run = { call: Call ->
        val text = dan?.let { List(call.length) { place -> it.words[place % it.words.size] }.joinToString(" ") }
        val began = nowMs()
        if (call.entry.executor == "dan") dan!!.dan.run(listOf(text!!)) else session.run(inputs.getValue(call.length), 1, call.length, call.entry.choice)
        nowMs() - began
    }
    calls.forEach { run(it) }
    val began = nowMs()
    for (round in 0 until RUNS) {
        if (round >= FEWEST_RUNS && nowMs() - began >= BUDGET_MS) break
        for (call in calls.shuffled()) call.times.add(run(call))
    }
    return LatencyTable(lengths, pool.associate { entry -> entry.name to calls.filter { it.entry === entry }.map { median(it.times) } })
}

private fun median(values: List<Double>): Double {
    val ordered = values.sorted()
    val middle = ordered.size / 2
    val found = if (ordered.size % 2 == 1) ordered[middle] else (ordered[middle - 1] + ordered[middle]) / 2
    return maxOf(found, LEAST_MS)
}
