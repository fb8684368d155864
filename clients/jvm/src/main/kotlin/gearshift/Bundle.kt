/** A verified bundle: manifest, tokenizer and self-test, and its graphs, each read when it is opened. */

package gearshift

import gearshift.dan.Dan
import kotlin.math.abs
import kotlin.math.max
import kotlin.math.sqrt

private const val FP32_TOLERANCE = 1e-3
private const val INT8_ERROR = 0.1
private const val AGREEMENT = 0.9
private const val MOST_LATENCIES = 4 shl 20
private const val SHOWN = 60

/** A DAN, and words that it knows some n-grams of, to be timed with. */
internal class TestedDan(val dan: Dan, val words: List<String>)

/** Opens a bundle: every file by size and SHA-256 before it is used, and the tokenizer by the bundle's own texts. */
internal class Bundle(private val files: Files) : AutoCloseable {
    val manifest: Manifest = readManifest(files)
    val place: String get() = files.place
    private val tokenizer: Tokenizer
    val encoder: TextEncoder

    init {
        tokenizer = Tokenizer(read("tokenizer.json"), "$place/tokenizer.json", manifest.maxLength)
        encoder = TextEncoder(manifest, tokenizer)
        if ("selftest.json" in manifest.files) {
            try {
                checkTokens(fields(parsedJson(String(read("selftest.json"), Charsets.UTF_8))))
            } catch (error: FormError) {
                throw SchemaError("$place/selftest.json: not readable (${error.message}); export the bundle again")
            }
        }
    }

    /** Precisions of the bundle's graphs that CPUs have kernels for. */
    val precisions: List<String> get() = listOf("fp32", "int8").filter { entries(it).isNotEmpty() }

    /** Entry of the DAN; null if the bundle has none. */
    private val danEntry: PoolEntry? get() = manifest.pool.firstOrNull { it.executor == "dan" }

    /** All that an engine may switch between: the subnets of one precision, and the DAN if there is one. */
    fun switchable(precision: String): List<PoolEntry> = pool(precision) + listOfNotNull(danEntry)

    /** Open the DAN and run its self-test; null if the bundle has none. Raises IntegrityError, SchemaError or SelfTestError. */
    fun dan(): TestedDan? {
        val entry = danEntry ?: return null
        val dan = Dan(read(entry.file), "$place/${entry.file}")
        val ending = "${entry.precision}.${entry.name}"
        val arrays = try {
            readArrays(read("selftest.npz"), setOf("texts.$ending", "logits.$ending"))
        } catch (error: FormError) {
            throw SchemaError("$place/selftest.npz: not readable (${error.message}); export the bundle again")
        }
        val texts = arrays.getValue("texts.$ending")
        if (texts.shape.size != 2 || texts.texts.isEmpty()) {
            throw SchemaError("$place/selftest.npz: not readable (texts of another shape); export the bundle again")
        }
        val expected = arrays.getValue("logits.$ending").floats
        val found = texts.texts.chunked(texts.shape[1]).flatMap { dan.run(it).toList() }.toFloatArray()
        val where = "$place: self-test of ${entry.name}"
        if (found.size != expected.size) {
            throw SelfTestError("$where: expected ${expected.size} numbers, found ${found.size}; export the bundle again")
        }
        checkNumbers(expected, found, "fp32", where)
        return TestedDan(dan, texts.texts.joinToString(" ").split(Regex("\\s+")))
    }

    /** Subnets of the graph of one precision. */
    fun pool(precision: String): List<PoolEntry> = entries(precision).ifEmpty {
        throw SchemaError("$place: no $precision graph in this bundle; it has ${precisions.joinToString(", ")}")
    }

    /** A subnet by name; raises UnknownSubnetError, which lists the known names. */
    fun entry(name: String, precision: String): PoolEntry {
        val pool = switchable(precision)
        return pool.firstOrNull { it.name == name }
            ?: throw UnknownSubnetError("unknown subnet ${repr(name)}; this bundle has ${pool.joinToString(", ") { it.name }}")
    }

    /** Open the graph of a precision and run its self-test; raises IntegrityError, BundleError or SelfTestError. */
    fun session(precision: String, threads: Int): ElasticSession {
        val names = pool(precision).map { it.file }.toSet()
        val file = names.singleOrNull()
            ?: throw SchemaError("$place: expected one $precision graph, found ${names.joinToString(", ")}; export again")
        val graph = read(file)
        val weights = "${file.removeSuffix(".onnx")}.weights"
        val isApart = file.endsWith(".onnx") && weights in manifest.files
        if (isApart) read(weights)
        if (isApart && files.directory == null) {
            throw SchemaError("$place/$file: its weights lie beside it, and are found by path alone; make a folder with `gearshift embed`")
        }
        val session = ElasticSession(manifest, graph, if (isApart) "${files.directory}/$file" else null, threads, "$place/$file")
        try {
            selfTest(session, precision)
        } catch (error: GearshiftError) {
            session.close()
            throw error
        }
        return session
    }

    /** Text of `latencies.json`, where an app ships the folder of `gearshift embed`; null if there is none. */
    fun latencies(): String? {
        if (manifest.pool.none { it.file.endsWith(".ort") }) return null
        return try {
            String(files.read("latencies.json", MOST_LATENCIES), Charsets.UTF_8)
        } catch (error: IntegrityError) {
            null
        }
    }

    override fun close(): Unit = tokenizer.close()

    private fun entries(precision: String) = manifest.pool.filter { it.precision == precision && it.executor == "elastic" }

    private fun read(name: String): ByteArray = readChecked(files, name, manifest.files.getValue(name))

    /** Raise SelfTestError, which shows the text, unless the encoder makes the tokens of the bundle's own texts. */
    private fun checkTokens(raw: Fields) {
        if (raw["schema_version"] != 1.0) {
            throw SchemaError("$place/selftest.json: expected schema version 1, found ${repr(raw["schema_version"])}; export the bundle again")
        }
        for (vector in list(raw["tokens"]).map(::fields)) {
            val text = givenText(vector)
            val encoded = try {
                encoder.encode(text)
            } catch (error: InputError) {
                null
            }
            if (encoded != null && isAsStated(encoded, vector)) continue
            val shown = repr(if (text.parts.size > 1) text.parts else text.parts[0]).firstCharacters(SHOWN)
            throw SelfTestError(
                "$place: self-test of the tokenizer: expected other tokens for $shown; " +
                    "use the Python engine for this bundle, or export it again",
            )
        }
    }

    /** Raise SelfTestError, which states the figures, unless every subnet gives the numbers of the self-test. */
    private fun selfTest(session: ElasticSession, precision: String) {
        val pool = pool(precision)
        val arrays = try {
            readArrays(read("selftest.npz"), (manifest.inputs + pool.map { "logits.$precision.${it.name}" }).toSet())
        } catch (error: FormError) {
            throw SchemaError("$place/selftest.npz: not readable (${error.message}); export the bundle again")
        }
        val shape = arrays.getValue(manifest.inputs[0]).shape
        if (shape.size != 2 || manifest.inputs.any { arrays.getValue(it).run { integers.isEmpty() || this.shape != shape } }) {
            throw SchemaError("$place/selftest.npz: not readable (inputs of several shapes, or no tokens); export the bundle again")
        }
        val inputs = manifest.inputs.associateWith { arrays.getValue(it).integers }
        val (texts, tokens) = shape
        val all = if (manifest.task.perToken) texts * tokens else texts
        val mask = inputs["attention_mask"].takeIf { manifest.task.perToken }
        val rows = (0 until all).filter { mask == null || mask[it] == 1L }
        var same = 0
        var total = 0
        for (entry in pool) {
            val expected = arrays.getValue("logits.$precision.${entry.name}").floats
            val found = session.run(inputs, texts, tokens, entry.choice)
            val where = "$place: $precision self-test, subnet ${entry.name}"
            if (found.size != expected.size) {
                throw SelfTestError("$where: expected ${expected.size} numbers, found ${found.size}; export the bundle again")
            }
            val width = expected.size / all
            val counted = { numbers: FloatArray -> rows.map { numbers.copyOfRange(it * width, (it + 1) * width) } }
            val pairs = counted(expected).zip(counted(found))
            checkNumbers(flat(pairs.map { it.first }), flat(pairs.map { it.second }), precision, where)
            if (!manifest.task.labelled) continue
            same += pairs.count { (one, other) -> one.indices.maxBy { one[it] } == other.indices.maxBy { other[it] } }
            total += pairs.size
        }
        if (same < AGREEMENT * total) {
            throw SelfTestError(
                "$place: $precision self-test: expected the same label on 90% of $total rows, found $same; use another precision on this CPU",
            )
        }
    }
}

/** Text of an entry of `selftest.json`: one, two, or words. */
private fun givenText(vector: Fields): Text {
    vector["words"]?.let { return Text(texts(it)) }
    val parts = texts(vector["text"])
    return Text(parts[0], parts.getOrNull(1))
}

/** Whether a text has the ids, types and places of an entry of `selftest.json`, which counts places in characters. */
internal fun isAsStated(encoded: Encoded, vector: Fields): Boolean {
    val encoding = encoded.encoding
    val ids = longs(vector["ids"])
    val types = vector["types"]?.let(::longs) ?: LongArray(ids.size)
    if (!encoding.ids.contentEquals(ids) || !encoding.types.contentEquals(types)) return false
    val places = list(vector["places"] ?: return true).map(::longs)
    val found = encoding.tokens.map { token ->
        val part = encoded.parts[token?.sequence ?: 0]
        val place = token?.place ?: Place(0, 0)
        listOf(place.start, place.end).map { part.codePointCount(0, it).toLong() }
    }
    return found == places.map(LongArray::toList)
}

private fun flat(rows: List<FloatArray>): FloatArray = rows.flatMap(FloatArray::asList).toFloatArray()

private fun checkNumbers(expected: FloatArray, found: FloatArray, precision: String, where: String) {
    val refuse = { what: String, limit: Double, value: Double ->
        if (!(value <= limit)) {
            throw SelfTestError("$where: $what: expected at most ${repr(limit)}, found ${repr(value)}; use another precision on this CPU")
        }
    }
    val errors = expected.indices.map { abs(found[it].toDouble() - expected[it]) }
    if (precision == "fp32") return refuse("largest difference of a logit", FP32_TOLERANCE, errors.fold(0.0, ::max))
    val mean = expected.sumOf { it.toDouble() } / expected.size
    val spread = sqrt(expected.sumOf { (it - mean) * (it - mean) } / expected.size)
    refuse("mean difference / spread", INT8_ERROR, errors.average() / max(spread, FP32_TOLERANCE))
}

/** Inputs of a graph for one text. */
internal fun columns(encoding: Encoding): Map<String, LongArray> = mapOf(
    "input_ids" to encoding.ids,
    "attention_mask" to LongArray(encoding.ids.size) { 1 },
    "token_type_ids" to encoding.types,
)
