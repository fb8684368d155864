/** Answers requests of benchmarks.clients.latency, one a line: subnet, tab, text in, milliseconds out. */

import { createInterface } from "node:readline";

import { load } from "../../clients/js/dist/src/node.js";

const [bundle, precision] = process.argv.slice(2);
const engine = await load(bundle, { precision, tables: null });
process.stdout.write("ready\n");
for await (const line of createInterface({ input: process.stdin })) {
  const [subnet, text] = line.split("\t");
  engine.pin(subnet);
  const began = performance.now();
  await engine.run(text);
  process.stdout.write(`${performance.now() - began}\n`);
}
await engine.close();
