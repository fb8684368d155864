/** JSON as plain values: maps, lists, texts, numbers as Double, booleans and null. */

package gearshift

import com.google.gson.Strictness
import com.google.gson.stream.JsonReader
import com.google.gson.stream.JsonToken
import java.io.StringReader

internal typealias Fields = Map<String, Any?>

/** A value that is not of the form that is wanted. */
internal class FormError(message: String) : Exception(message)

/** Parse one JSON value; raises FormError for anything else. */
internal fun parsedJson(content: String): Any? {
    val reader = JsonReader(StringReader(content))
    reader.strictness = Strictness.STRICT
    try {
        val value = value(reader)
        if (reader.peek() != JsonToken.END_DOCUMENT) throw FormError("more than one value")
        return value
    } catch (error: java.io.IOException) {
        throw FormError(error.message ?: "not JSON")
    } catch (error: IllegalStateException) {
        throw FormError(error.message ?: "not JSON")
    } catch (error: NumberFormatException) {
        throw FormError(error.message ?: "not a number")
    }
}

private fun value(reader: JsonReader): Any? = when (reader.peek()) {
    JsonToken.BEGIN_OBJECT -> {
        val made = LinkedHashMap<String, Any?>()
        reader.beginObject()
        while (reader.hasNext()) made[reader.nextName()] = value(reader)
        reader.endObject()
        made
    }
    JsonToken.BEGIN_ARRAY -> {
        val made = ArrayList<Any?>()
        reader.beginArray()
        while (reader.hasNext()) made.add(value(reader))
        reader.endArray()
        made
    }
    JsonToken.STRING -> reader.nextString()
    JsonToken.NUMBER -> reader.nextDouble()
    JsonToken.BOOLEAN -> reader.nextBoolean()
    JsonToken.NULL -> reader.nextNull().let { null }
    else -> throw FormError("not JSON")
}

@Suppress("UNCHECKED_CAST")
internal fun fields(value: Any?): Fields = value as? Fields ?: throw FormError("expected an object")

internal fun list(value: Any?): List<Any?> = value as? List<Any?> ?: throw FormError("expected a list")

internal fun text(value: Any?): String = value as? String ?: throw FormError("expected a text")

internal fun texts(value: Any?): List<String> = list(value).map(::text)

internal fun number(value: Any?): Double = value as? Double ?: throw FormError("expected a number")

internal fun truth(value: Any?): Boolean = value as? Boolean ?: throw FormError("expected true or false")

internal fun isCount(value: Any?): Boolean = value is Double && value >= 0 && value <= Int.MAX_VALUE && value == Math.rint(value)

internal fun longs(value: Any?): LongArray = list(value).map { number(it).toLong() }.toLongArray()
