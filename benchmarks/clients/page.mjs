/** Requests with deadlines in a page, alone and beside a worker that takes a core; prints what came of each as JSON. */

import { startChromium } from "../../clients/js/dist/test/chromium.js";

const [bundle, precision, requests] = process.argv.slice(2);

/** Runs in the page: `load` of the client, medians, and requests by turns of all phases. */
async function measured(bundle, precision, requests) {
  const TEXT = "turn the lights off";
  const PAUSE_MS = 20;
  const SHORT = 4; // phases to compare with have a quarter of the requests
  const { load } = await import("/js/dist/src/web.js");
  const engine = await load(bundle, { precision, keepsTables: false });
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const largest = engine.ladder[0];
  const smallest = engine.ladder.at(-1);
  const asked = async (count, subnet, deadlineMs) => {
    engine.pin(subnet);
    const found = [];
    for (let left = count; left > 0; left -= 1) {
      const { subnet, latencyMs, deadlineMet, reason } = await engine.run(TEXT, { deadlineMs });
      found.push({ subnet, ms: latencyMs, met: deadlineMet, reason });
      await pause(PAUSE_MS);
    }
    engine.pin(null);
    return found;
  };
  const free = await asked(30, largest, null);
  const medianMs = free.map(({ ms }) => ms).sort((one, other) => one - other)[15];
  const deadlineMs = 2 * medianMs;
  const short = Math.ceil(requests / SHORT);
  const phases = { "engine, nothing beside it": await asked(short, null, deadlineMs) };
  const worker = new Worker("/js/demo/burn.js");
  phases["engine, worker burns"] = await asked(requests, null, deadlineMs);
  phases["always the largest, worker burns"] = await asked(short, largest, deadlineMs);
  phases["always the smallest, worker burns"] = await asked(short, smallest, deadlineMs);
  worker.terminate();
  const facts = { precision: engine.precision, ladder: engine.ladder, table: engine.table, largest, medianMs, deadlineMs };
  await engine.close();
  return { ...facts, cores: navigator.hardwareConcurrency, browser: navigator.userAgent, phases };
}

const chromium = await startChromium();
try {
  const page = await chromium.open("/blank");
  process.stdout.write(JSON.stringify(await page.evaluate(measured, bundle, precision, Number(requests))));
} finally {
  await chromium.close();
}
