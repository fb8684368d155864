/** Decision vectors: this client's controller decides as the engine of Python does, number by number. */

package gearshift

import gearshift.policy.Controller
import gearshift.policy.Objective
import gearshift.policy.Request
import gearshift.policy.normalQuantile
import gearshift.policy.normalShare
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.TestFactory
import kotlin.math.abs

private const val TOLERANCE = 1e-9

class DecisionsTest {
    private val decisions = fields(jsonOf("tiny.vectors/decisions.json"))
    private val scenarios = list(decisions["scenarios"]).map(::fields)

    @TestFactory
    fun `decisions are those of Python`(): List<DynamicTest> =
        scenarios.map { scenario -> DynamicTest.dynamicTest(text(scenario["name"])) { check(scenario) } }

    private fun check(scenario: Fields) {
        val raw = fields(scenario["table"] ?: decisions["table"])
        val table = LatencyTable(
            list(raw["lengths"]).map { number(it).toInt() },
            fields(raw["median_ms"]).mapValues { (_, times) -> list(times).map(::number) },
        )
        val wanted = fields(scenario["objective"])
        val objective = Objective(
            wanted["target"] as Double?, number(wanted["late_value"]), wanted["min_accuracy"] as Double?,
            wanted["max_cpu_share"] as Double?, text(wanted["on_miss"]),
        )
        val accuracies = fields(scenario["accuracies"]).mapValues { (_, value) -> number(value) }
        val controller = Controller(accuracies, table, objective, number(scenario["rows"]).toInt(), number(scenario["cpus"]))
        assertEquals(texts(scenario["ladder"]), controller.ladder)
        for ((place, step) in list(scenario["steps"]).map(::fields).withIndex()) {
            val close = { field: String, found: Double ->
                val expected = number(step[field])
                assertEquals(expected, found, TOLERANCE * abs(expected), "step $place, $field")
            }
            val decision = controller.decide(
                Request(
                    number(step["tokens"]).toInt(), step["slack_ms"] as Double?, number(step["now"]), number(step["first"]).toInt(),
                    step["pinned"] as String?, step["deadline_ms"] as Double?,
                ),
            )
            assertEquals(listOf(step["subnet"], step["reason"]), listOf(decision.subnet, decision.reason), "step $place")
            close("level", decision.level.toDouble())
            close("expected_ms", decision.expectedMs)
            close("predicted_ms", decision.predictedMs)
            val runMs = step["run_ms"] as Double?
            if (runMs != null) controller.record(decision, runMs, step["met"] as Boolean?, number(step["learnt_s"]))
            close("slow_down", controller.slowDown)
        }
    }

    @Test
    fun `shares and quantiles of the normal distribution are those of Python`() {
        val normal = fields(decisions["normal"])
        for ((which, of) in mapOf("shares" to ::normalShare, "quantiles" to ::normalQuantile)) {
            val pairs = list(normal[which]).map { list(it).map(::number) }
            for ((at, expected) in pairs) assertEquals(expected, of(at), TOLERANCE * abs(expected), "$which at $at")
            assertTrue(pairs.isNotEmpty())
        }
    }

    @Test
    fun `there are decisions of every kind`() {
        val reasons = scenarios.flatMap { one -> list(one["steps"]).map { text(fields(it)["reason"]) } }.toSet()
        assertEquals(setOf("accuracy_floor", "best_effort", "cpu_share", "fits", "likely", "no_deadline", "pinned", "rejected"), reasons)
    }
}
