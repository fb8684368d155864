/** The manifest: its digest, its form, and what must hold between its fields (docs/bundle.md). */

package gearshift

import gearshift.words.Scheme
import gearshift.words.WordRule

internal enum class Task(val title: String, val output: String, val labelled: Boolean, val perToken: Boolean) {
    CLASSIFICATION("classification", "logits", true, false),
    MULTI_LABEL("multi-label-classification", "logits", true, false),
    REGRESSION("regression", "logits", false, false),
    TOKENS("token-classification", "logits", true, true),
    QUESTIONS("question-answering", "logits", false, true),
    EMBEDDING("embedding", "embedding", false, false),
}

/** Rule of the words that are labelled, and scheme of their labels. */
internal class Tagging(val rule: WordRule, val scheme: Scheme)

internal class PoolEntry(
    val name: String,
    val executor: String,
    val file: String,
    val precision: String,
    val choice: LongArray,
    val accuracy: Double,
    val devAccuracy: Double?,
    val nullThreshold: Double?,
)

internal class FileFacts(val bytes: Int, val sha256: String)

internal class Manifest(
    /** SHA-256 of its file, which identifies the contents. */
    val hash: String,
    val digest: String,
    val task: Task,
    val labels: List<String>,
    val maxLength: Int,
    val inputs: List<String>,
    val vocabulary: Int,
    val pool: List<PoolEntry>,
    val sessionOptions: Map<String, String>,
    val minimumOnnxruntime: String,
    val files: Map<String, FileFacts>,
    val prompt: String,
    val tagging: Tagging?,
    /** Number of rows behind the accuracies; 0 to take them as they are. */
    val rows: Int,
)

private const val MOST_BYTES = 4 shl 20
private const val VERSION = 2
private val BEGINNING = Regex("^\\{\n \"schema_version\": \\d{1,9},\n \"digest\": \"([0-9a-f]{64})\",\n")
private val REQUIRED = listOf(
    "name", "task", "metric", "labels", "max_length", "pad_id", "inputs", "space", "pool", "macs_tokens",
    "session_options", "minimum_onnxruntime", "accuracy_rows", "licence", "made_by", "files",
)
private val OTHERS =
    listOf("schema_version", "digest", "losses", "wide_layers", "tagging", "vectors", "chosen_by", "dev_rows", "heads")
private val METRICS = listOf("accuracy", "micro_f1", "spearman", "entity_f1", "answer_f1", "cosine")
private val INPUTS = listOf("input_ids", "attention_mask", "token_type_ids")
private val OPTIONS = mapOf(
    "graph_optimization_level" to listOf("disable", "basic", "extended", "all"),
    "session.intra_op.allow_spinning" to listOf("0", "1"),
)

/** Read and check the manifest of a bundle; raises IntegrityError or SchemaError. */
internal fun readManifest(files: Files): Manifest {
    val content = files.read("manifest.json", MOST_BYTES)
    val where = "${files.place}/manifest.json"
    checkDigest(content, where)
    val raw = try {
        parsedJson(String(content, Charsets.UTF_8))
    } catch (error: FormError) {
        throw IntegrityError("$where: expected JSON (${error.message}); copy the bundle again")
    }
    val version = (raw as? Map<*, *>)?.get("schema_version")
    if (version != VERSION.toDouble()) {
        val advice = if (version is Double && version > VERSION) "install a newer gearshift" else "export the bundle again"
        throw SchemaError("$where: expected schema version $VERSION, found ${repr(version)}; $advice")
    }
    val made = try {
        ManifestReader(fields(raw), files.place).read(sha256(content))
    } catch (error: FormError) {
        throw SchemaError("$where: not of schema version $VERSION (${error.message}); export the bundle again")
    }
    checkReferences(made, files.place)
    return made
}

/** Raise IntegrityError unless the digest is the SHA-256 of the bytes with zeros in place of its digits. */
private fun checkDigest(content: ByteArray, where: String) {
    val beginning = BEGINNING.find(String(content.copyOf(200.coerceAtMost(content.size)), Charsets.ISO_8859_1))
        ?: throw IntegrityError("$where: expected a manifest with its digest, found none; copy the bundle again")
    val stated = beginning.groups[1]!!
    val zeroed = content.copyOf()
    zeroed.fill('0'.code.toByte(), stated.range.first, stated.range.last + 1)
    val found = sha256(zeroed)
    if (found != stated.value) {
        throw IntegrityError("$where: expected digest ${stated.value}, found $found; copy the bundle again")
    }
}

private class ManifestReader(private val raw: Fields, private val place: String) {
    fun read(hash: String): Manifest {
        for (name in REQUIRED) if (name !in raw) throw FormError("no field ${repr(name)}")
        for (name in raw.keys) if (name !in REQUIRED && name !in OTHERS) throw FormError("an unknown field ${repr(name)}")
        val title = text(raw["task"])
        known("a task", title, Task.entries.map { it.title })
        val task = Task.entries.first { it.title == title }
        known("a metric", text(raw["metric"]), METRICS)
        val labels = texts(raw["labels"])
        if (labels.toSet().size < labels.size) throw FormError("labels: expected different texts")
        val inputs = texts(raw["inputs"])
        if (inputs.isEmpty() || !INPUTS.containsAll(inputs)) throw FormError("inputs: not usable: ${repr(inputs)}")
        count("pad_id")
        val space = fields(raw["space"])
        val made = Manifest(
            hash,
            text(raw["digest"]),
            task,
            labels,
            count("max_length"),
            inputs,
            count("vocabulary", fields(space["shape"])),
            list(raw["pool"]).map { entry(fields(it), space) },
            options(),
            text(raw["minimum_onnxruntime"]),
            fields(raw["files"]).mapValues { (_, one) -> fields(one).let { FileFacts(count("bytes", it), text(it["sha256"])) } },
            raw["vectors"]?.let { text(fields(it)["prompt"]) } ?: "",
            raw["tagging"]?.let { tagging(fields(it)) },
            if (raw["chosen_by"] == null || raw["dev_rows"] == null) 0 else count("dev_rows"),
        )
        if (labels.isNotEmpty() != task.labelled) {
            throw SchemaError("$place: expected ${if (task.labelled) "labels" else "no labels"} of $title; export the bundle again")
        }
        return made
    }

    private fun count(name: String, owner: Fields = raw): Int {
        if (!isCount(owner[name])) throw FormError("$name: not usable: ${repr(owner[name])}")
        return number(owner[name]).toInt()
    }

    private fun known(what: String, value: String, all: Collection<String>) {
        if (value in all) return
        throw SchemaError("$place: expected $what out of ${all.joinToString(", ")}, found ${repr(value)}; install a newer gearshift")
    }

    private fun options(): Map<String, String> = fields(raw["session_options"]).mapValues { (name, value) ->
        known("session options", name, OPTIONS.keys)
        text(value).also { known(name, it, OPTIONS.getValue(name)) }
    }

    private fun tagging(one: Fields): Tagging {
        val words = fields(one["words"])
        val table = { name: String -> fields(words[name]).mapValues { (_, cut) -> truth(cut) } }
        val rule = WordRule(
            table("before"), table("after"), texts(words["endings"]), texts(words["kept"]).toSet(), truth(words["initials"]),
            count("longest_ideographs", words),
        )
        val scheme = fields(one["scheme"])
        return try {
            Tagging(rule, Scheme(text(scheme["name"]), text(scheme["form"])))
        } catch (error: IllegalArgumentException) {
            throw FormError("tagging: ${error.message}")
        }
    }

    private fun entry(one: Fields, space: Fields): PoolEntry {
        val name = text(one["name"])
        if (!list(one["choice"]).all(::isCount)) throw FormError("pool: expected subnets with name, file, executor, precision and choice")
        val share = { value: Any? ->
            if (value !is Double || value !in 0.0..1.0) throw FormError("accuracy of $name: not usable: ${repr(value)}")
            value
        }
        val made = PoolEntry(
            name, text(one["executor"]), text(one["file"]), text(one["precision"]), longs(one["choice"]),
            share(one["accuracy"]), one["dev_accuracy"]?.let(share), one["null_threshold"]?.let(::number),
        )
        known("an executor of $name", made.executor, listOf("elastic", "dan"))
        known("a precision of $name", made.precision, listOf("fp32", "int8", "fp16"))
        if (made.executor == "elastic") checkChoice(made, one["subnet"], space)
        return made
    }

    /** Raise SchemaError unless the options that a choice selects make the entry's subnet. */
    private fun checkChoice(entry: PoolEntry, subnet: Any?, space: Fields) {
        val stages = list(space["stages"]).map { list(fields(it)["options"]) }
        val within = entry.choice.size == stages.size && entry.choice.indices.all { entry.choice[it] < stages[it].size }
        val chosen = if (within) entry.choice.indices.map { stages[it][entry.choice[it].toInt()] } else emptyList()
        val mixed = space["kind"] == "mixed"
        val made: Any? = if (mixed) mapOf("blocks" to chosen) else chosen.flatMap { if (it is List<*>) it else listOf(it) }
        if (within && made == subnet) return
        throw SchemaError("$place: choice ${entry.choice.toList()} of ${entry.name} makes another subnet; export again")
    }
}

private fun checkReferences(manifest: Manifest, place: String) {
    if (manifest.pool.isEmpty()) throw SchemaError("$place: the pool is empty; export the bundle again")
    for (name in manifest.files.keys) {
        val odd = name.any { it == '/' || it == '\\' || it.code < 32 } || !isWellFormed(name)
        if (odd || name in listOf("", ".", "..")) {
            throw IntegrityError("$place: the manifest names ${repr(name)}; expected a plain file name inside the bundle")
        }
    }
    for (name in listOf("tokenizer.json", "selftest.npz") + manifest.pool.map { it.file }) {
        if (name !in manifest.files) throw SchemaError("$place: the manifest does not list ${repr(name)}; export the bundle again")
    }
    val seen = HashSet<String>()
    for (entry in manifest.pool) {
        if (!seen.add("${entry.precision} ${entry.name}")) {
            throw SchemaError("$place: the pool lists ${entry.name} at ${entry.precision} twice; export the bundle again")
        }
    }
}
