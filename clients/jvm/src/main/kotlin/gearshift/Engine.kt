/** The engine: answers each text with the most accurate subnet that keeps its deadline. */

package gearshift

import gearshift.policy.Controller
import gearshift.policy.Objective
import gearshift.policy.Request
import gearshift.policy.checked
import java.io.File
import java.util.concurrent.atomic.AtomicInteger
import java.util.concurrent.locks.ReentrantLock
import java.util.concurrent.locks.ReentrantReadWriteLock
import kotlin.concurrent.read
import kotlin.concurrent.withLock
import kotlin.concurrent.write

/** Time in ms kept out of the slack for what follows the graph. */
private const val FINISH_MS = 0.2
private const val MOST_THREADS = 1024

/**
 * Options of `Engine.load`.
 *
 * `precision`: `fp32` or `int8`; by default the faster one that passes its self-test here. `table`: latency table in place
 * of a kept or timed one. `tables`: file that keeps tables, in the form of `latencies.json`; null to time at every load.
 * `device`: name under which a table is kept.
 */
public class LoadOptions @JvmOverloads constructor(
    public val precision: String? = null,
    public val threads: Int = 1,
    public val objective: Objective = Objective(),
    public val table: LatencyTable? = null,
    public val tables: File? = null,
    public val device: String? = null,
)

/** An answer, and what ran for it. Times are in ms; `latencyMs` is from the call of `run` to the answer. */
public class Answered(
    public val answer: Answer,
    public val subnet: String,
    public val reason: String,
    public val latencyMs: Double,
    public val predictedMs: Double,
    public val deadlineMs: Double?,
    public val deadlineMet: Boolean?,
    public val tokens: Int,
    public val truncated: Boolean,
)

/** An opened bundle. Requests of several threads are answered one after another, in the order of their coming. */
public class Engine private constructor(private val bundle: Bundle, private val opened: Opened, options: LoadOptions) : AutoCloseable {
    private class Opened(val precision: String, val session: ElasticSession, val dan: TestedDan?, val table: LatencyTable)

    /** Held by every request, so that nothing is freed that one still uses. */
    private val open = ReentrantReadWriteLock()
    private val turn = ReentrantLock(true)
    private val waiting = AtomicInteger()
    private val controller: Controller
    private var pinned: String? = null
    private var closed = false

    /** First rung of the ladder that requests may take, such as a warm device allows; 0 for all. */
    @Volatile
    public var firstRung: Int = 0

    init {
        val accuracies = bundle.switchable(opened.precision).associate { it.name to (it.devAccuracy ?: it.accuracy) }
        val cpus = Runtime.getRuntime().availableProcessors().toDouble() / options.threads
        controller = Controller(accuracies, opened.table, options.objective, bundle.manifest.rows, cpus)
    }

    public val precision: String get() = opened.precision

    /** Latencies of every subnet on this device. */
    public val table: LatencyTable get() = opened.table

    /** Names of the subnets that the engine switches between on this device, the most accurate first. */
    public val ladder: List<String> get() = controller.ladder

    /** Observed / expected latency now; 1 is the machine as it was when it was timed. */
    public val slowDown: Double get() = turn.withLock { controller.slowDown }

    /** Answer every request with this subnet; null goes back to deciding. Raises UnknownSubnetError. */
    public fun pin(name: String?) {
        if (name != null) bundle.entry(name, precision)
        turn.withLock { pinned = name }
    }

    /** Answer a text; as `run(Text)`. */
    @JvmOverloads
    @Throws(InterruptedException::class)
    public fun run(text: String, deadlineMs: Double? = null): Answered = run(Text(text), deadlineMs)

    /**
     * Answer a text, a pair, or words.
     *
     * A thread that is interrupted takes its request back while it waits for another one: InterruptedException. Raises
     * InputError, DeadlineTooShortError if such are refused, EngineClosedError after `close`.
     */
    @JvmOverloads
    @Throws(InterruptedException::class)
    public fun run(text: Text, deadlineMs: Double? = null): Answered {
        val arrived = nowMs()
        return open.read {
            if (closed) throw EngineClosedError("the engine is closed; load it again")
            checkedDeadline(deadlineMs)
            val encoded = bundle.encoder.encode(text)
            val waits = waiting.getAndIncrement() > 0
            try {
                turn.lockInterruptibly()
                try {
                    answer(encoded, arrived, deadlineMs, waits)
                } finally {
                    turn.unlock()
                }
            } finally {
                waiting.decrementAndGet()
            }
        }
    }

    /** Wait for the requests that are in, and free weights and tokenizer. */
    override fun close(): Unit = open.write {
        if (closed) return
        closed = true
        opened.session.close()
        bundle.close()
    }

    private fun answer(encoded: Encoded, arrived: Double, deadlineMs: Double?, waited: Boolean): Answered {
        val began = nowMs()
        val tokens = encoded.encoding.ids.size
        val slackMs = deadlineMs?.let { it - (began - arrived) - FINISH_MS }
        val decision = controller.decide(
            Request(tokens, slackMs, began / 1e3, firstRung.coerceAtLeast(0), pinned, if (waited) deadlineMs else null),
        )
        if (decision.reason == "rejected") {
            throw DeadlineTooShortError(
                "refused: ${"%.1f".format(java.util.Locale.ROOT, slackMs)} ms are left of its deadline, and the fastest subnet may take " +
                    "${"%.1f".format(java.util.Locale.ROOT, decision.predictedMs)} ms now; give it more time, or load with on_miss='best_effort'",
            )
        }
        val entry = bundle.entry(decision.subnet, precision)
        val output = if (entry.executor == "dan") {
            opened.dan!!.dan.run(encoded.parts)
        } else {
            opened.session.run(columns(encoded.encoding), 1, tokens, entry.choice)
        }
        val ended = nowMs()
        val answer = readAnswer(bundle.manifest, output, encoded, entry.nullThreshold)
        val latencyMs = nowMs() - arrived
        val met = deadlineMs?.let { latencyMs <= it }
        controller.record(decision, ended - began, met, nowMs() / 1e3)
        return Answered(answer, decision.subnet, decision.reason, latencyMs, decision.predictedMs, deadlineMs, met, tokens, encoded.truncated)
    }

    public companion object {
        /** Load the bundle in a directory. */
        @JvmStatic
        @JvmOverloads
        public fun load(directory: File, options: LoadOptions = LoadOptions()): Engine = load(DirectoryFiles(directory), options)

        /** Load a bundle; raises a BundleError, or InputError for an option that cannot be used. */
        @JvmStatic
        @JvmOverloads
        public fun load(files: Files, options: LoadOptions = LoadOptions()): Engine {
            if (options.threads !in 1..MOST_THREADS) {
                throw InputError("threads: expected a whole number from 1 to $MOST_THREADS, got ${options.threads}")
            }
            options.objective.checked()
            val bundle = Bundle(files)
            var opened: Opened? = null
            try {
                checkVersion(bundle.manifest.minimumOnnxruntime)
                options.precision?.let(bundle::pool)
                opened = fastest(bundle, options)
                return Engine(bundle, opened, options)
            } catch (error: GearshiftError) {
                opened?.session?.close()
                bundle.close()
                throw error
            }
        }

        /**
         * Open the graphs one after another, and keep the one whose subnets take the least time here.
         *
         * A precision whose self-test fails is left out if another one passes.
         */
        private fun fastest(bundle: Bundle, options: LoadOptions): Opened {
            val dan = bundle.dan()
            var best: Opened? = null
            var failure = SelfTestError("${bundle.place}: no graph for CPUs in this bundle; export it with fp32 or int8")
            for (precision in options.precision?.let(::listOf) ?: bundle.precisions) {
                try {
                    val session = bundle.session(precision, options.threads)
                    val one = Opened(precision, session, dan, tableOf(bundle, session, dan, precision, options))
                    val isSlower = best != null && total(best.table) <= total(one.table)
                    (if (isSlower) one else best)?.session?.close()
                    if (!isSlower) best = one
                } catch (error: SelfTestError) {
                    failure = error
                }
            }
            return best ?: throw failure
        }

        private fun total(table: LatencyTable): Double = table.medianMs.values.sumOf { it.sum() }
    }
}
