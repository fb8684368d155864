/** Latency table of a bundle on a device: interpolation between its lengths, and the form in which tables are kept. */

package gearshift

import com.google.gson.Gson

/** `lengths`: in tokens, ascending; `medianMs`: subnet -> median latency of a call for one text, one value per length. */
public class LatencyTable(public val lengths: List<Int>, public val medianMs: Map<String, List<Double>>) {
    /** Median time in ms of a subnet for one text, on the unloaded device; never less than that of the shortest length. */
    internal fun timeAt(name: String, tokens: Int): Double {
        val times = medianMs.getValue(name)
        val count = lengths.size
        if (tokens <= lengths[0]) return times[0]
        if (count == 1) return maxOf(times[0] * tokens / lengths[0], times[0])
        val found = lengths.indexOfFirst { it >= tokens }
        val right = if (found < 0) count - 1 else found
        val slope = (times[right] - times[right - 1]) / (lengths[right] - lengths[right - 1])
        val time = if (tokens > lengths[count - 1]) {
            times[count - 1] + maxOf(slope, 0.0) * (tokens - lengths[count - 1])
        } else {
            times[right - 1] + slope * (tokens - lengths[right - 1])
        }
        return maxOf(time, times[0])
    }

    /** The table of some subnets; raises ProfileError unless it has them, ascending lengths and positive times. */
    internal fun checked(names: List<String>): LatencyTable {
        val ascending = lengths.isNotEmpty() && lengths[0] >= 1 && lengths.zipWithNext().all { (one, other) -> one < other }
        val whole = ascending && names.all { name ->
            val times = medianMs[name]
            times != null && times.size == lengths.size && times.all { it > 0 && it < Double.POSITIVE_INFINITY }
        }
        if (!whole) throw ProfileError("latency table: expected positive milliseconds of every subnet; time it again")
        return LatencyTable(lengths, names.associateWith { medianMs.getValue(it) })
    }
}

/** Lengths in tokens to time: 8, 32, 128 and so on, and the longest that the bundle accepts. */
internal fun defaultLengths(longest: Int): List<Int> = generateSequence(8) { it * 4 }.takeWhile { it * 2 <= longest }.toList() + longest

/** What a table was measured with. */
internal data class TableKey(val manifest: String, val precision: String, val threads: Int, val device: String?)

/** A table as an entry of `latencies.json`. */
internal class KeptTable(val key: TableKey, val table: LatencyTable)

/** Tables of the text of a `latencies.json`; none of one in another form. */
internal fun keptTables(content: String): List<KeptTable> = try {
    val raw = fields(parsedJson(content))
    if (raw["schema_version"] == 1.0) list(raw["tables"]).map { kept(fields(it)) } else emptyList()
} catch (error: FormError) {
    emptyList()
}

private fun kept(raw: Fields): KeptTable {
    val key = TableKey(text(raw["manifest"]), text(raw["precision"]), number(raw["threads"]).toInt(), raw["device"]?.let(::text))
    val times = fields(raw["median_ms"]).mapValues { (_, medians) -> list(medians).map(::number) }
    return KeptTable(key, LatencyTable(list(raw["lengths"]).map { number(it).toInt() }, times))
}

/** First usable table for a key; tables without a device are of any. */
internal fun tableFor(tables: List<KeptTable>, key: TableKey, names: List<String>): LatencyTable? {
    for (one in tables) {
        if (one.key != key && one.key != key.copy(device = null)) continue
        try {
            return one.table.checked(names)
        } catch (error: ProfileError) {
            continue
        }
    }
    return null
}

/** Text of a `latencies.json`. */
internal fun written(tables: List<KeptTable>): String {
    val plain = tables.map { one ->
        linkedMapOf(
            "manifest" to one.key.manifest, "precision" to one.key.precision, "threads" to one.key.threads,
            "device" to one.key.device, "lengths" to one.table.lengths, "median_ms" to one.table.medianMs,
        )
    }
    return Gson().toJson(linkedMapOf("schema_version" to 1, "tables" to plain))
}
