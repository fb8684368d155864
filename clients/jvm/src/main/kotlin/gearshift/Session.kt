/** One session of ONNX Runtime over one elastic graph: the subnet is an input of each call. */

package gearshift

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtException
import ai.onnxruntime.OrtSession
import ai.onnxruntime.OrtSession.SessionOptions
import ai.onnxruntime.OrtSession.SessionOptions.OptLevel
import java.nio.LongBuffer

private val LEVELS = mapOf(
    "disable" to OptLevel.NO_OPT, "basic" to OptLevel.BASIC_OPT, "extended" to OptLevel.EXTENDED_OPT, "all" to OptLevel.ALL_OPT,
)
private const val SPINNING = "session.intra_op.allow_spinning"

/** Raise SchemaError if this version of ONNX Runtime is older than the bundle needs. */
internal fun checkVersion(minimum: String) {
    val found = OrtEnvironment.getEnvironment().version
    val numbers = { text: String -> text.split(".").map { part -> part.takeWhile(Char::isDigit).toIntOrNull() ?: 0 } }
    val given = numbers(found)
    for ((place, wanted) in numbers(minimum).withIndex()) {
        val own = given.getOrElse(place) { 0 }
        if (own > wanted) return
        if (own < wanted) throw SchemaError("this bundle needs onnxruntime $minimum or newer, found $found; install a newer one")
    }
}

/** Opens a graph: from its path where its weights lie beside it, else from `graph`; raises BundleError if it cannot. */
internal class ElasticSession(
    private val manifest: Manifest,
    graph: ByteArray,
    path: String?,
    threads: Int,
    private val place: String,
) : AutoCloseable {
    private val environment = OrtEnvironment.getEnvironment()
    private val session: OrtSession

    init {
        session = try {
            SessionOptions().use { options ->
                val entries = manifest.sessionOptions
                options.setOptimizationLevel(LEVELS.getValue(entries["graph_optimization_level"] ?: "disable"))
                options.setIntraOpNumThreads(threads)
                options.setInterOpNumThreads(1)
                options.setExecutionMode(SessionOptions.ExecutionMode.SEQUENTIAL)
                options.setSessionLogLevel(ai.onnxruntime.OrtLoggingLevel.ORT_LOGGING_LEVEL_ERROR)
                options.addConfigEntry(SPINNING, entries[SPINNING] ?: "0")
                if (path != null) environment.createSession(path, options) else environment.createSession(graph, options)
            }
        } catch (error: OrtException) {
            throw BundleError("$place: onnxruntime ${environment.version} cannot load it (${oneLine(error)})")
        }
    }

    /** Run the subnet of a choice on columns of (texts, tokens) numbers; returns the graph's numbers. */
    fun run(columns: Map<String, LongArray>, texts: Int, tokens: Int, choice: LongArray): FloatArray {
        val shape = longArrayOf(texts.toLong(), tokens.toLong())
        val feeds = LinkedHashMap<String, OnnxTensor>()
        try {
            for (name in manifest.inputs) feeds[name] = OnnxTensor.createTensor(environment, LongBuffer.wrap(columns.getValue(name)), shape)
            feeds["choice"] = OnnxTensor.createTensor(environment, LongBuffer.wrap(choice), longArrayOf(choice.size.toLong()))
            session.run(feeds, setOf(manifest.task.output)).use { result ->
                val numbers = (result[0] as OnnxTensor).floatBuffer
                return FloatArray(numbers.remaining()).also { numbers.get(it) }
            }
        } catch (error: OrtException) {
            throw BundleError("$place: onnxruntime could not run it (${oneLine(error)})")
        } finally {
            feeds.values.forEach(OnnxTensor::close)
        }
    }

    /** Free the weights. */
    override fun close(): Unit = session.close()
}

private fun oneLine(error: Exception): String = (error.message ?: "$error").split(Regex("\\s+")).joinToString(" ").trim()
