/** Reader of the arrays of `selftest.npz`: a zip archive of .npy files. */

package gearshift

import java.io.ByteArrayInputStream
import java.io.ByteArrayOutputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.zip.ZipInputStream

internal class NumberArray(val shape: List<Int>, val floats: FloatArray, val integers: LongArray, val texts: List<String>)

/** Most unpacked bytes of an array: those of a self-test are some megabytes. */
private const val MOST_BYTES = 1 shl 28

private val HEADER = Regex("'descr': '(<f4|<i8|<U\\d+)', 'fortran_order': False, 'shape': \\(([\\d, ]*)\\)")

/** The arrays of these names; raises FormError if one is missing, or no float32, int64 or text. */
internal fun readArrays(content: ByteArray, names: Set<String>): Map<String, NumberArray> {
    val found = HashMap<String, NumberArray>()
    try {
        ZipInputStream(ByteArrayInputStream(content)).use { archive ->
            for (entry in generateSequence { archive.nextEntry }) {
                val name = entry.name.removeSuffix(".npy")
                if (name in names) found[name] = arrayOf(unpacked(archive))
            }
        }
    } catch (error: java.io.IOException) {
        throw FormError("not a whole .npz file: ${error.message}")
    }
    names.firstOrNull { it !in found }?.let { throw FormError("no array $it") }
    return found
}

private fun unpacked(archive: ZipInputStream): ByteArray {
    val content = ByteArrayOutputStream()
    val part = ByteArray(1 shl 16)
    while (true) {
        val count = archive.read(part)
        if (count < 0) return content.toByteArray()
        if (content.size() + count > MOST_BYTES) throw FormError("an array of more than $MOST_BYTES bytes")
        content.write(part, 0, count)
    }
}

private fun arrayOf(content: ByteArray): NumberArray {
    if (content.size < 12) throw FormError("not a whole array")
    val bytes = ByteBuffer.wrap(content).order(ByteOrder.LITTLE_ENDIAN)
    val old = content[6] == 1.toByte()
    val start = if (old) 10 + bytes.getShort(8).toUShort().toInt() else 12 + bytes.getInt(8)
    if (start !in 0..content.size) throw FormError("not a whole array")
    val header = HEADER.find(String(content, 0, start, Charsets.ISO_8859_1)) ?: throw FormError("an array of another type")
    val shape = header.groupValues[2].split(",").map(String::trim).filter(String::isNotEmpty).map(::sizeOf)
    val count = shape.fold(1) { product, size -> sized(product.toLong() * size) }
    val type = header.groupValues[1]
    val isFloat = type == "<f4"
    val width = if (type.startsWith("<U")) sized(sizeOf(type.drop(2)) * 4L) else if (isFloat) 4 else 8
    if (width == 0 || content.size - start != sized(count.toLong() * width)) throw FormError("an array of another size")
    bytes.position(start)
    if (type.startsWith("<U")) return NumberArray(shape, FloatArray(0), LongArray(0), List(count) { textOf(bytes, width / 4) })
    val floats = FloatArray(if (isFloat) count else 0)
    val integers = LongArray(if (isFloat) 0 else count)
    if (isFloat) bytes.asFloatBuffer().get(floats) else bytes.asLongBuffer().get(integers)
    return NumberArray(shape, floats, integers, emptyList())
}

private fun sizeOf(digits: String): Int = sized(digits.toLongOrNull() ?: Long.MAX_VALUE)

private fun sized(count: Long): Int = if (count <= MOST_BYTES) count.toInt() else throw FormError("an array of another size")

/** The next text of some UTF-32, filled up with zeros; raises FormError for what is no character. */
private fun textOf(bytes: ByteBuffer, width: Int): String {
    val made = StringBuilder()
    repeat(width) {
        val code = bytes.int
        if (!Character.isValidCodePoint(code)) throw FormError("a text of no characters")
        if (code != 0) made.appendCodePoint(code)
    }
    return made.toString()
}
