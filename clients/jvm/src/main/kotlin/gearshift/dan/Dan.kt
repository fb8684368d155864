/** A DAN: mean of n-gram embeddings, one hidden layer, logits (docs/bundle.md, "The DAN"). */

package gearshift.dan

import gearshift.Fields
import gearshift.FormError
import gearshift.IntegrityError
import gearshift.fields
import gearshift.list
import gearshift.number
import gearshift.parsedJson
import gearshift.text
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.abs
import kotlin.math.max

private const val SPREAD = -0x61c8864680b583ebL // 9E3779B97F4A7C15
private const val MIX = -0x2917014799a6026dL // D6E8FEB86659FD93
private const val MOST_HEADER = 1 shl 20

/** Opens a safetensors file; raises IntegrityError for one that is no whole DAN. */
internal class Dan(content: ByteArray, where: String) {
    private val longest: Int
    private val paired: Boolean
    private val width: Int
    private val displacements: ShortArray
    private val prints: IntArray
    private val rows: FloatArray
    private val scales: FloatArray
    private val hiddenWeight: FloatArray?
    private val hiddenBias: FloatArray
    private val outputWeight: FloatArray
    private val outputBias: FloatArray

    init {
        try {
            val file = Tensors(content)
            val facts = file.facts
            if (facts["format"] != "gearshift-dan" || facts["version"] != 2.0) {
                throw FormError("expected gearshift-dan 2, found ${facts["format"]} ${facts["version"]}")
            }
            longest = number(facts["longest"]).toInt()
            paired = facts["paired"] == true
            displacements = file.bytes("displacements", "U16").asShortBuffer().let { ShortArray(it.remaining()).also(it::get) }
            prints = file.bytes("prints", "U32").asIntBuffer().let { IntArray(it.remaining()).also(it::get) }
            scales = file.floats("scales")
            rows = if (file.isBytes("rows")) file.bytes("rows", "I8").let { all -> FloatArray(all.remaining()) { all.get().toFloat() } } else file.floats("rows")
            hiddenWeight = if (file.has("hidden_weight")) file.floats("hidden_weight") else null
            hiddenBias = file.floats("hidden_bias")
            outputWeight = file.floats("output_weight")
            outputBias = file.floats("output_bias")
            width = if (prints.isEmpty()) 0 else rows.size / prints.size
            checkShapes()
        } catch (error: FormError) {
            throw IntegrityError("$where: not a whole DAN (${error.message}); copy it again")
        }
    }

    /** Logits of one text. `parts`: the text, or both of a pair. */
    fun run(parts: List<String>): FloatArray {
        val inputs = if (!paired) {
            mean(parts.joinToString(" "))
        } else {
            val first = mean(parts[0])
            val second = mean(parts.getOrElse(1) { "" })
            first + second + DoubleArray(width) { first[it] * second[it] } + DoubleArray(width) { abs(first[it] - second[it]) }
        }
        val hidden = layer(hiddenWeight, inputs, hiddenBias).let { all -> DoubleArray(all.size) { max(0.0, all[it]) } }
        return layer(outputWeight, hidden, outputBias).let { all -> FloatArray(all.size) { all[it].toFloat() } }
    }

    private fun layer(weight: FloatArray?, inputs: DoubleArray, bias: FloatArray) = DoubleArray(bias.size) { row ->
        if (weight == null) bias[row] + inputs[row] else bias[row] + inputs.indices.sumOf { inputs[it] * weight[row * inputs.size + it] }
    }

    /** Mean embedding of the n-grams of a text that the table has. */
    private fun mean(text: String): DoubleArray {
        val sums = DoubleArray(width)
        var known = 0
        for (key in keys(text, longest)) {
            val displacement = displacements[scaled(key, displacements.size)].toLong() and 0xffff
            val row = scaled(((displacement * SPREAD) xor key) * MIX, prints.size)
            if (prints[row] != key.toInt()) continue
            known += 1
            for (place in 0 until width) sums[place] += scales[row].toDouble() * rows[row * width + place]
        }
        if (known > 0) for (place in sums.indices) sums[place] /= known.toDouble()
        return sums
    }

    /** A uniform 64-bit number scaled to 0 ... count - 1. */
    private fun scaled(value: Long, count: Int): Int = ((value ushr 32) * count ushr 32).toInt()

    private fun checkShapes() {
        val hidden = hiddenBias.size
        val inputs = if (paired) 4 * width else width
        val first = if (hiddenWeight == null) !paired && hidden == width else hiddenWeight.size == hidden * inputs
        val table = width > 0 && rows.size == prints.size * width && scales.size == prints.size && displacements.isNotEmpty()
        if (!first || !table || outputWeight.size != outputBias.size * hidden || longest !in 1..4) {
            throw FormError("arrays whose shapes do not fit each other")
        }
    }
}

/** Arrays of a safetensors file; raises FormError for one that is cut off. */
private class Tensors(private val content: ByteArray) {
    private val start: Int
    private val header: Fields
    val facts: Fields

    init {
        val length = if (content.size < 8) -1 else ByteBuffer.wrap(content).order(ByteOrder.LITTLE_ENDIAN).long
        if (length !in 0..MOST_HEADER.coerceAtMost(content.size - 8)) throw FormError("a header that is cut off")
        start = 8 + length.toInt()
        header = fields(parsedJson(String(content, 8, length.toInt(), Charsets.UTF_8)))
        facts = fields(parsedJson(text(fields(header["__metadata__"])["description"])))
    }

    fun has(name: String): Boolean = name in header

    fun isBytes(name: String): Boolean = fields(header[name])["dtype"] == "I8"

    fun bytes(name: String, type: String): ByteBuffer {
        val entry = fields(header[name])
        if (entry["dtype"] != type) throw FormError("$name of type ${entry["dtype"]}")
        val (first, end) = list(entry["data_offsets"]).map { number(it).toInt() }
        if (first !in 0..end || end > content.size - start) throw FormError("$name is cut off")
        return ByteBuffer.wrap(content, start + first, end - first).slice().order(ByteOrder.LITTLE_ENDIAN)
    }

    fun floats(name: String): FloatArray = bytes(name, "F32").asFloatBuffer().let { all -> FloatArray(all.remaining()).also { all.get(it) } }
}
