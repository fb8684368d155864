/** Decision vectors: this client's controller decides as the engine of Python does, number by number. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { checkedObjective, Controller } from "../src/policy/controller.js";
import { normalQuantile, normalShare } from "../src/policy/normal.js";
import { readVectors } from "./vectors.js";

const TOLERANCE = 1e-9;
const { decisions } = readVectors("tiny");

function close(found: number, expected: number, what: string): void {
  assert.ok(Math.abs(found - expected) <= TOLERANCE * Math.abs(expected), `${what}: expected ${expected}, found ${found}`);
}

for (const scenario of decisions.scenarios) {
  test(`decisions are those of Python: ${scenario.name}`, () => {
    const wanted = scenario.objective;
    const objective = checkedObjective({
      target: wanted.target,
      lateValue: wanted.late_value,
      minAccuracy: wanted.min_accuracy,
      maxCpuShare: wanted.max_cpu_share,
      onMiss: wanted.on_miss,
    });
    const { lengths, median_ms: medianMs } = scenario.table ?? decisions.table;
    const table = { lengths, medianMs };
    const controller = new Controller(scenario.accuracies, table, objective, scenario.rows, scenario.cpus);
    assert.deepEqual(controller.ladder, scenario.ladder);
    for (const [number, step] of scenario.steps.entries()) {
      const where = `step ${number}`;
      const { now, tokens, first, pinned } = step;
      const request = { now, tokens, slackMs: step.slack_ms, deadlineMs: step.deadline_ms, first, pinned };
      const decision = controller.decide(request);
      const names = [decision.subnet, decision.reason, decision.level];
      assert.deepEqual(names, [step.subnet, step.reason, step.level], where);
      close(decision.expectedMs, step.expected_ms, `${where}, expected_ms`);
      close(decision.predictedMs, step.predicted_ms, `${where}, predicted_ms`);
      if (step.run_ms !== null) controller.record(decision, step.run_ms, step.met, step.learnt_s!);
      close(controller.slowDown, step.slow_down, `${where}, slow_down`);
    }
  });
}

test("shares and quantiles of the normal distribution are those of Python", () => {
  for (const [at, share] of decisions.normal.shares) close(normalShare(at), share, `share below ${at}`);
  for (const [at, value] of decisions.normal.quantiles) close(normalQuantile(at), value, `quantile at ${at}`);
  assert.ok(decisions.normal.shares.length && decisions.normal.quantiles.length);
});

test("there are decisions of every kind", () => {
  const reasons = new Set(decisions.scenarios.flatMap((one) => one.steps.map((step) => step.reason)));
  const known = ["accuracy_floor", "best_effort", "cpu_share", "fits", "likely", "no_deadline", "pinned", "rejected"];
  assert.deepEqual([...reasons].sort(), known);
});
