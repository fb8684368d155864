/** The client in Chromium (wasm): answers are those of Python, on isolated pages and on others, and the demo works.
 *
 * CHROMIUM names the browser. Run by `make test-browser`.
 */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import type { Page } from "puppeteer-core";

import { startChromium, type Chromium } from "./chromium.js";
import { NAMES, readVectors } from "./vectors.js";

let chromium: Chromium;

before(async () => {
  chromium = await startChromium();
});

after(() => chromium?.close());

const opened = (where: string): Promise<Page> => chromium.open(where);

/** Run every text through every subnet of a bundle in a page; returns how many answers are the same, and those that are not. */
async function compared(page: Page, name: string, precision: string): Promise<{ same: number; differing: string[]; isolated: boolean }> {
  const { texts } = readVectors(name);
  const { medianMs, lengths } = { medianMs: Object.keys(texts.texts[0]!.precisions[precision]!), lengths: [8] };
  const table = { lengths, medianMs: Object.fromEntries(medianMs.map((subnet) => [subnet, [1]])) };
  return page.evaluate(
    async (name, precision, texts, table) => {
      const at = (module: string): Promise<any> => import(`/js/dist/${module}`);
      const [{ load }, { isSame, plain, placedIn, textOf, FP32_TOLERANCE }] = [await at("src/web.js"), await at("test/compare.js")];
      const engine = await load(`/made/${name}.gearshift`, { precision, threads: 2, table });
      const differing: string[] = [];
      let same = 0;
      for (const vector of texts) {
        for (const [subnet, { answer }] of Object.entries<any>(vector.precisions[precision]!)) {
          engine.pin(subnet);
          const made = plain(await engine.run(textOf(vector)), placedIn(vector));
          const own = Object.fromEntries(Object.keys(answer).map((field) => [field, made[field]]));
          if (isSame(answer, own, precision === "fp32" ? FP32_TOLERANCE : Infinity)) same += 1;
          else differing.push(JSON.stringify([subnet, textOf(vector), answer, own]).slice(0, 400));
        }
      }
      await engine.close();
      return { same, differing, isolated: globalThis.crossOriginIsolated };
    },
    name, precision, texts.texts as any, table,
  );
}

for (const name of NAMES) {
  test(`${name}: every subnet answers in the page as in Python`, async () => {
    const page = await opened("/blank");
    const { same, differing, isolated } = await compared(page, name, "fp32");
    assert.ok(isolated);
    assert.ok(same > 0);
    assert.deepEqual(differing, []);
    await page.close();
  });
}

test("int8 gives the same answers but for one of ten", async () => {
  const page = await opened("/blank");
  const { same, differing } = await compared(page, "tiny", "int8");
  assert.ok(same >= 9 * differing.length, differing.join("\n"));
  await page.close();
});

test("a page that is not isolated from other origins works with one thread", async () => {
  const page = await opened("/blank?alone");
  const { differing, isolated } = await compared(page, "question", "fp32");
  assert.ok(!isolated);
  assert.deepEqual(differing, []);
  await page.close();
});

test("a table is kept in the browser, and found by the next load", async () => {
  const page = await opened("/blank");
  const tables = await page.evaluate(async () => {
    const { load } = await import(`${location.origin}/js/dist/src/web.js`);
    const here = await load("/made/regression.gearshift", { precision: "fp32" });
    const again = await load("/made/regression.gearshift", { precision: "fp32" });
    const tables = [here.table, again.table];
    for (const engine of [here, again]) await engine.close();
    return tables;
  });
  assert.deepEqual(tables[0], tables[1]);
  await page.close();
});

test("what is wrong is one typed error in the page too", async () => {
  const page = await opened("/blank");
  const found = await page.evaluate(async () => {
    const { load } = await import(`${location.origin}/js/dist/src/web.js`);
    const told = (error: Error): string => `${error.name}: ${error.message}`;
    const missing = await load("/made/none.gearshift").catch(told);
    const threads = await load("/made/tiny.gearshift", { threads: "two" }).catch(told);
    return [missing, threads];
  });
  assert.deepEqual(found, [
    "IntegrityError: /made/none.gearshift/manifest.json: missing (status 404); copy the bundle again",
    "InputError: threads: expected a whole number from 1 to 1024, got 'two'",
  ]);
  await page.close();
});

test("the demo answers, follows the slider and burns the CPU", async () => {
  const page = await opened("/js/demo/index.html?bundle=/made/tiny.gearshift");
  const text = (name: string): Promise<string> => page.$eval(`#${name}`, (one) => one.textContent ?? "");
  const until = (name: string, wanted: string): Promise<unknown> =>
    page.waitForFunction((name, wanted) => new RegExp(wanted).test(document.getElementById(name)!.textContent!), { timeout: 60_000 }, name, wanted);
  await until("label", "^lights_off \\(");
  await page.$eval("#deadline", (one) => { (one as HTMLInputElement).value = "2"; });
  await until("shown", "^100\\.0 ms$");
  await until("reason", "^fits$");
  await page.$eval("#deadline", (one) => { (one as HTMLInputElement).value = "-1"; });
  await until("shown", "^0\\.1 ms$");
  await until("reason", "^best_effort$");
  await page.$eval("#text", (one) => { (one as HTMLInputElement).value = " "; });
  await until("label", "^empty text; expected at least one word$");
  await page.click("#burn");
  assert.equal(await text("burn"), "Let the CPU rest");
  await page.click("#burn");
  assert.equal(await text("burn"), "Burn the CPU");
  const picture = process.env["SCREENSHOT"];
  if (picture) {
    await page.$eval("#text", (one) => { (one as HTMLInputElement).value = "turn the lights off"; });
    await page.$eval("#deadline", (one) => { (one as HTMLInputElement).value = "1"; });
    await page.waitForFunction(() => document.getElementById("latency")!.className === "", { timeout: 60_000 });
    await page.setViewport({ width: 720, height: 620 });
    await page.screenshot({ path: picture as `${string}.png` });
  }
  await page.close();
});
