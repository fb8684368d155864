/** The demo page: answers the text again and again, as a program on a device would. */

import { load } from "../dist/src/web.js";

const PAUSE_MS = 150;
const KEPT = 50;
const element = (name) => document.getElementById(name);
const address = new URLSearchParams(location.search).get("bundle") ?? "../../../tests/data/tiny.gearshift";
const burners = [];
const met = [];

/** Deadline of the slider, which is logarithmic. */
function deadlineMs() {
  return 10 ** Number(element("deadline").value);
}

function burn() {
  if (burners.length) burners.splice(0).forEach((one) => one.terminate());
  else for (let left = navigator.hardwareConcurrency; left > 0; left -= 1) burners.push(new Worker("burn.js"));
  element("burn").textContent = burners.length ? "Let the CPU rest" : "Burn the CPU";
  element("burn").setAttribute("aria-pressed", String(burners.length > 0));
}

async function answer(engine) {
  try {
    const found = await engine.run(element("text").value, { deadlineMs: deadlineMs() });
    met.push(found.deadlineMet);
    if (met.length > KEPT) met.shift();
    element("label").textContent = `${found.label} (${found.score.toFixed(2)})`;
    element("subnet").textContent = found.subnet;
    element("reason").textContent = found.reason;
    element("latency").textContent = `${found.latencyMs.toFixed(1)} ms of ${found.deadlineMs.toFixed(1)} ms`;
    element("latency").className = found.deadlineMet ? "" : "late";
    element("slow-down").textContent = engine.slowDown.toFixed(2);
    element("met").textContent = `${met.filter(Boolean).length} of the last ${met.length}`;
  } catch (error) {
    element("label").textContent = error.message;
  }
}

const engine = await load(address).catch((error) => {
  element("label").textContent = error.message;
  throw error;
});
const largest = Math.max(...engine.table.medianMs[engine.ladder[0]]);
element("deadline").value = String(Math.log10(4 * largest));
element("burn").addEventListener("click", burn);
for (;;) {
  element("shown").textContent = `${deadlineMs().toFixed(1)} ms`;
  await answer(engine);
  await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
}
