/** Errors, one type for each kind, in the words of the Python engine: what was expected, what came, what to do. */

package gearshift

/** Base of all errors that this client raises on purpose. */
public open class GearshiftError(message: String) : RuntimeException(safe(message)) {
    /** Name of the kind, that of the class. */
    public val name: String get() = javaClass.simpleName
}

/** An argument of the caller that cannot be used. */
public open class InputError(message: String) : GearshiftError(message)

/** A subnet that the bundle does not have. */
public class UnknownSubnetError(message: String) : InputError(message)

/** A bundle that cannot be read. */
public open class BundleError(message: String) : GearshiftError(message)

/** A file of a bundle that is missing, truncated or altered. */
public class IntegrityError(message: String) : BundleError(message)

/** A bundle written in a form that this version does not read. */
public class SchemaError(message: String) : BundleError(message)

/** A bundle whose tokens or numbers differ here from those that it states. */
public class SelfTestError(message: String) : BundleError(message)

/** A latency table that cannot be used. */
public class ProfileError(message: String) : GearshiftError(message)

/** A deadline that no subnet keeps, with an engine that refuses such requests. */
public class DeadlineTooShortError(message: String) : GearshiftError(message)

/** A request to an engine after `close`. */
public class EngineClosedError(message: String) : GearshiftError(message)

private val OBEYED = Regex("[\\x00-\\x08\\x0a-\\x1f\\x7f-\\x9f\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069]")

/** Text in which the characters that a terminal obeys are written as Python escapes them. */
private fun safe(text: String): String = OBEYED.replace(text) { escaped(it.value[0]) }

private fun escaped(character: Char): String = when (character) {
    '\n' -> "\\n"
    '\r' -> "\\r"
    '\t' -> "\\t"
    else -> if (character.code < 256) "\\x%02x".format(character.code) else "\\u%04x".format(character.code)
}

/** A value as Python writes it: `'text'`, `True`, `None`, `[1, 2]`. */
internal fun repr(value: Any?): String = when (value) {
    null -> "None"
    is Boolean -> if (value) "True" else "False"
    is String -> quoted(value)
    is Double -> number(value)
    is List<*> -> value.joinToString(", ", "[", "]", transform = ::repr)
    is Map<*, *> -> value.entries.joinToString(", ", "{", "}") { (name, one) -> "${repr(name)}: ${repr(one)}" }
    else -> value.toString()
}

private const val LARGEST_WHOLE = 1e15

private fun number(value: Double): String = when {
    value.isNaN() -> "nan"
    value.isInfinite() -> if (value < 0) "-inf" else "inf"
    value == Math.rint(value) && Math.abs(value) < LARGEST_WHOLE -> value.toLong().toString()
    else -> value.toString()
}

private fun quoted(text: String): String {
    val mark = if ('\'' in text && '"' !in text) '"' else '\''
    val inside = text.replace("\\", "\\\\").replace("$mark", "\\$mark")
    return mark + Regex("[\\x00-\\x1f\\x7f-\\xa0\\xad]").replace(inside) { escaped(it.value[0]) } + mark
}
