/** The engine in Node: loading, choosing, deadlines, kept tables, and one typed error for whatever is wrong. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";

import { EngineClosedError, InputError, load, type Engine, type LatencyTable } from "../src/node.js";
import { bundlePath, MADE } from "./vectors.js";

const TINY = bundlePath("tiny");
let scratch = "";
let table: LatencyTable;

before(async () => {
  scratch = await mkdtemp(path.join(os.tmpdir(), "gearshift-"));
  const engine = await load(TINY, { precision: "fp32", tables: path.join(scratch, "tables") });
  table = engine.table;
  await engine.close();
});

after(() => rm(scratch, { recursive: true }));

test("an answer says what ran, and why", async () => {
  const engine = await load(TINY, { precision: "fp32", table });
  const answer = await engine.run("turn the lights off", { deadlineMs: 1e4 });
  assert.ok("label" in answer && answer.label === "lights_off");
  assert.equal(answer.reason, "fits");
  assert.equal(answer.subnet, engine.ladder[0]);
  assert.equal(answer.deadlineMet, true);
  assert.equal(answer.tokens, 6);
  assert.equal((await engine.run("turn the lights off")).reason, "no_deadline");
  assert.equal((await engine.run("turn the lights off", { deadlineMs: 1e-3 })).reason, "best_effort");
  await engine.close();
});

test("a pinned subnet answers, another is refused and changes nothing", async () => {
  const engine = await load(TINY, { precision: "int8", table });
  engine.pin("w025-d050");
  assert.throws(() => engine.pin("w1"), { name: "UnknownSubnetError", message: /^unknown subnet 'w1'; this bundle has w100-d100, / });
  const answer = await engine.run("play some music", { deadlineMs: 1e4 });
  assert.deepEqual([answer.subnet, answer.reason], ["w025-d050", "pinned"]);
  engine.pin(null);
  assert.equal((await engine.run("play some music", { deadlineMs: 1e4 })).reason, "fits");
  await engine.close();
});

test("requests that come together are answered one after another", async () => {
  const engine = await load(TINY, { precision: "fp32", table });
  const texts = ["turn the lights off", "play some music", "stop the timer"];
  const alone: string[] = [];
  for (const text of texts) alone.push((await engine.run(text) as { label?: string }).label!);
  const together = await Promise.all(texts.map((text) => engine.run(text)));
  assert.deepEqual(together.map((one) => (one as { label?: string }).label), alone);
  const controller = new AbortController();
  const first = engine.run("one");
  const second = engine.run("two", { signal: controller.signal });
  controller.abort();
  await first;
  await assert.rejects(second, { name: "AbortError" });
  assert.ok(await engine.run("three"));
  await engine.close();
});

test("a deadline that nothing keeps is refused where that was asked for", async () => {
  const engine = await load(TINY, { precision: "fp32", table, onMiss: "reject" });
  await engine.run("one");
  await assert.rejects(engine.run("two", { deadlineMs: 0.001 }), { name: "DeadlineTooShortError", message: /^refused: / });
  await engine.close();
});

test("a closed engine refuses", async () => {
  const engine = await load(TINY, { precision: "fp32", table });
  const last = engine.run("one");
  await engine.close();
  assert.ok(await last);
  await engine.close();
  await assert.rejects(engine.run("two"), EngineClosedError);
});

test("bad input is refused, and the next request is answered", async () => {
  const engine = await load(TINY, { precision: "fp32", table });
  const odd: [unknown, unknown][] = [["", null], [7, null], [["a", ""], null], ["a", "soon"], ["a", -1], ["a", NaN], ["a", Infinity], ["\ud800", null]];
  for (const [text, deadlineMs] of odd) await assert.rejects(engine.run(text as string, { deadlineMs: deadlineMs as number }), InputError);
  await assert.rejects(engine.run({ words: ["a"] }), { message: "expected a text, got Words, which are for token classification; pass a text" });
  assert.ok(await engine.run("turn the lights off"));
  await engine.close();
});

test("an option that is misspelt or none is one error that lists those known", async () => {
  const loading = "options of load: expected precision, threads, table, target, lateValue, minAccuracy, maxCpuShare, onMiss, tables";
  const wrong: [unknown, string][] = [
    [{ deadlin: 1 }, `${loading}, got 'deadlin'`],
    [{ min_accuracy: 0.5 }, `${loading}, got 'min_accuracy'`],
    [null, `${loading} in an object, got None`],
    [7, `${loading} in an object, got 7`],
    [["fp32"], `${loading} in an object, got ['fp32']`],
    [{ precision: null }, "precision: expected fp32 or int8, got None"],
    [{ threads: null }, "threads: expected a whole number from 1 to 1024, got None"],
    [{ lateValue: null }, "late_value: expected a share from 0 to 1, got None"],
    [{ onMiss: null }, "on_miss: expected best_effort or reject, got None"],
    [{ tables: 5 }, "tables: expected a directory or None, got 5"],
  ];
  for (const [options, message] of wrong) {
    await assert.rejects(load(TINY, options as object), { name: "InputError", message });
  }
  await assert.rejects(load(TINY, { table: null as never }), { name: "ProfileError" });
  const engine = await load(TINY, { precision: "fp32", table, target: null, maxCpuShare: null });
  const running = "options of run: expected deadlineMs, signal";
  const asked: [unknown, string][] = [
    [{ deadlin: 5 }, `${running}, got 'deadlin'`],
    [{ deadline_ms: 5 }, `${running}, got 'deadline_ms'`],
    [null, `${running} in an object, got None`],
    [5, `${running} in an object, got 5`],
    [{ signal: null }, "signal: expected an AbortSignal, got None"],
  ];
  for (const [options, message] of asked) {
    await assert.rejects(engine.run("turn the lights off", options as object), { name: "InputError", message });
  }
  assert.ok(await engine.run("turn the lights off", { deadlineMs: null }));
  await engine.close();
});

test("tables are timed once, kept, and timed again where they are of another form", async () => {
  const tables = path.join(scratch, "kept");
  const first = await load(TINY, { precision: "fp32", tables });
  const [file] = await readdir(tables);
  const second = await load(TINY, { precision: "fp32", tables });
  assert.deepEqual(second.table, first.table);
  assert.deepEqual(JSON.parse(await readFile(path.join(tables, file!), "utf8")), first.table);
  await writeFile(path.join(tables, file!), '{"lengths": [1], "medianMs": {}}');
  const third = await load(TINY, { precision: "fp32", tables });
  assert.deepEqual(third.table.lengths, [8, 32]);
  assert.deepEqual(JSON.parse(await readFile(path.join(tables, file!), "utf8")), third.table);
  for (const engine of [first, second, third]) await engine.close();
});

test("a table that an app ships is used in place of timing, if it is of this manifest and whole", async () => {
  const folder = await mkdtemp(path.join(scratch, "app-"));
  await cp(bundlePath("embedded"), folder, { recursive: true });
  const manifest = createHash("sha256").update(await readFile(path.join(folder, "manifest.json"))).digest("hex");
  const median_ms = Object.fromEntries(Object.keys(table.medianMs).map((name, place) => [name, [40 - place, 80 - place]]));
  const own = { manifest, precision: "fp32", threads: 1, device: null, lengths: [8, 32], median_ms };
  const others = [{ ...own, manifest: "0" }, { ...own, threads: 2 }, { ...own, device: "another" }, { ...own, median_ms: {} }];
  for (const [tables, isUsed] of [[[...others, own], true], [others, false], [null, false]] as const) {
    await writeFile(path.join(folder, "latencies.json"), JSON.stringify({ schema_version: 1, tables }));
    const engine = await load(folder, { precision: "fp32", tables: null });
    assert.equal(engine.table.medianMs["w100-d100"]![0] === 40, isUsed);
    await engine.close();
  }
});

test("a DAN is a rung, is timed, and answers where it is pinned", async () => {
  const engine = await load(bundlePath("dan"), { precision: "fp32", tables: null });
  assert.ok(engine.table.medianMs["dan"]!.every((one) => one > 0));
  engine.pin("dan");
  const answer = await engine.run("turn the lights off", { deadlineMs: 1e4 });
  assert.deepEqual([answer.subnet, answer.reason], ["dan", "pinned"]);
  await engine.close();
});

test("a directory that cannot be written to keeps nothing, and the engine loads", async () => {
  await writeFile(path.join(scratch, "file"), "");
  const engine = await load(TINY, { precision: "fp32", tables: path.join(scratch, "file") });
  assert.ok(await engine.run("one"));
  await engine.close();
});

test("without a precision the faster one answers", async () => {
  const engine: Engine = await load(TINY, { tables: null });
  assert.ok(["fp32", "int8"].includes(engine.precision));
  await engine.close();
});

const REFUSED: { what: string; folder: string; error: string; pattern: string }[] = JSON.parse(readFileSync(path.join(MADE, "refused.json"), "utf8"));

for (const { what, folder, error, pattern } of REFUSED) {
  test(`${what} is refused`, async () => {
    await assert.rejects(load(path.join(MADE, folder), { precision: "fp32", table }), { name: error, message: new RegExp(pattern) });
  });
}

test("options that cannot be used are refused", async () => {
  await assert.rejects(load(TINY, { threads: 0 }), { message: "threads: expected a whole number from 1 to 1024, got 0" });
  await assert.rejects(load(TINY, { target: 1 }), { message: "target: expected a share of deadlines from 0.5 to below 1, got 1" });
  await assert.rejects(load(TINY, { table, minAccuracy: 1, precision: "fp32" }), { message: /^min_accuracy: expected at most 0\.676, that of \S+, the best on this device's ladder, got 1$/ });
  await assert.rejects(load(TINY, { precision: "fp16" }), { name: "SchemaError", message: /no fp16 graph in this bundle; it has fp32, int8$/ });
  await assert.rejects(load(TINY, { precision: "fp32", table: { lengths: [8], medianMs: {} } }), { name: "ProfileError" });
});
