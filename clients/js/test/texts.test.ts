/** Text vectors: tokens, outputs of every subnet and answers are those of the Python engine, for every task. */

import assert from "node:assert/strict";
import { test } from "node:test";

import * as ort from "onnxruntime-node";

import { readAnswer } from "../src/answers.js";
import { Bundle, tokensOf } from "../src/bundle.js";
import { directoryFiles } from "../src/node.js";
import { checkedDeadline, type Text } from "../src/text/encoder.js";
import { FP32_TOLERANCE, INT8_AGREEMENT, INT8_ERROR, isSame, placedIn, plain, spreadAt, textOf } from "./compare.js";
import { bundlePath, NAMES, readVectors } from "./vectors.js";

for (const name of NAMES) {
  const { texts } = readVectors(name);

  test(`${name}: every text has the tokens of Python`, async () => {
    const bundle = await Bundle.open(await directoryFiles(bundlePath(name)));
    assert.equal(bundle.manifest.digest, texts.digest);
    for (const vector of texts.texts) {
      const found = tokensOf(bundle.encoder, textOf(vector));
      const wanted = { ids: vector.ids, types: vector.types ?? vector.ids.map(() => 0), places: vector.places ?? found?.places };
      assert.deepEqual(found, wanted, JSON.stringify(textOf(vector)).slice(0, 80));
      assert.equal(bundle.encoder.encode(textOf(vector)).truncated, vector.truncated);
    }
  });

  test(`${name}: every subnet gives the numbers and answers of Python`, async () => {
    const bundle = await Bundle.open(await directoryFiles(bundlePath(name)));
    const { manifest } = bundle;
    const dan = await bundle.dan();
    for (const precision of bundle.precisions) {
      const session = await bundle.session(ort, precision, 1);
      let [same, total] = [0, 0];
      for (const vector of texts.texts) {
        const encoded = bundle.encoder.encode(textOf(vector));
        const { ids, types } = encoded.encoding;
        const column = (values: readonly number[]): BigInt64Array => BigInt64Array.from(values, BigInt);
        const inputs = new Map([
          ["input_ids", column(ids)], ["attention_mask", column(ids.map(() => 1))], ["token_type_ids", column(types)],
        ]);
        const wanted = vector.precisions[precision]!;
        assert.deepEqual(Object.keys(wanted), [...bundle.entries(precision).keys()]);
        for (const [subnet, entry] of bundle.entries(precision)) {
          const where = `${precision} ${subnet} ${JSON.stringify(textOf(vector)).slice(0, 60)}`;
          const { output, answer } = wanted[subnet]!;
          const found =
            entry.executor === "dan" ? dan!.dan.run(encoded.parts) : ((await session.run(inputs, [1, ids.length], entry)).data as Float32Array);
          assert.equal(found.length, output.length, where);
          const errors = output.map((one, place) => Math.abs(one - found[place]!));
          const made = plain(readAnswer(manifest, found, encoded, entry.null_threshold ?? null), placedIn(vector));
          if (precision === "fp32") {
            assert.ok(Math.max(...errors) <= FP32_TOLERANCE, where);
            assert.ok(isSame(answer, made, FP32_TOLERANCE), `${where}: ${JSON.stringify([answer, made])}`);
          } else {
            const mean = errors.reduce((sum, one) => sum + one, 0) / errors.length;
            assert.ok(mean / spreadAt(texts.texts, vector, precision, subnet) <= INT8_ERROR, where);
            same += Number(isSame(answer, made, Infinity));
            total += 1;
          }
        }
      }
      assert.ok(same >= INT8_AGREEMENT * total, `${precision}: ${same} of ${total} answers are the same`);
      await session.close();
    }
  });

  test(`${name}: what Python refuses is refused in the same words`, async () => {
    const bundle = await Bundle.open(await directoryFiles(bundlePath(name)));
    for (const { kind, value, error, message } of texts.refused) {
      assert.throws(
        () => {
          if (kind === "text") bundle.encoder.encode(value as Text);
          else if (kind === "deadline_ms") checkedDeadline(value);
          else bundle.entry(value as string, bundle.precisions[0]!);
        },
        { name: error, message },
      );
    }
  });
}

test("comparing finds what differs", () => {
  assert.ok(!isSame({ label: "a" }, { label: "b" }, 1));
  assert.ok(!isSame({ score: 0.5 }, { score: 0.502 }, FP32_TOLERANCE));
  assert.ok(!isSame({ start: 1 }, { start: 2 }, FP32_TOLERANCE));
  assert.ok(!isSame([1.5], [1.5, 2.5], Infinity));
  assert.ok(isSame([{ a: 1.5, b: null }], [{ a: 1.5004, b: null }], FP32_TOLERANCE));
});
