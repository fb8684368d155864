/** Answers requests of benchmarks.clients.node, one a line: {text, subnet} in, {ms} out. */

import { createInterface } from "node:readline";

import { load } from "../../clients/js/dist/src/node.js";

const [bundle, precision] = process.argv.slice(2);
const engine = await load(bundle, { precision, tables: null });
process.stdout.write("ready\n");
for await (const line of createInterface({ input: process.stdin })) {
  const { text, subnet } = JSON.parse(line);
  engine.pin(subnet);
  const began = performance.now();
  await engine.run(text);
  process.stdout.write(`${JSON.stringify({ ms: performance.now() - began })}\n`);
}
await engine.close();
