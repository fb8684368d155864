/** Chromium, and a server that gives its pages this client and the bundles of the tests. CHROMIUM names the browser. */

import assert from "node:assert/strict";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { fileURLToPath } from "node:url";

import puppeteer, { type Page } from "puppeteer-core";

import { MADE } from "./vectors.js";

const JS = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const KINDS: Record<string, string> = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm" };
const ROOTS: Record<string, string> = { js: JS, made: MADE };
const BLANK = `<!doctype html><title>test</title><script type="importmap">{"imports": {
  "onnxruntime-web/wasm": "/js/node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs",
  "@huggingface/tokenizers": "/js/node_modules/@huggingface/tokenizers/dist/tokenizers.mjs"}}</script>`;

export interface Chromium {
  /** Open a page: `/blank`, which is isolated from other origins unless it ends in `?alone`, or one below `/js/`. */
  open(where: string): Promise<Page>;
  close(): Promise<void>;
}

export async function startChromium(): Promise<Chromium> {
  const executablePath = process.env["CHROMIUM"];
  assert.ok(executablePath, "CHROMIUM: expected the path of a Chromium");
  const server = pageServer();
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const args = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", ...(process.env["CHROMIUM_ARGS"]?.split(" ") ?? [])];
  const browser = await puppeteer.launch({ executablePath, args, headless: true, protocolTimeout: 300_000 });
  return {
    async open(where) {
      const page = await browser.newPage();
      await page.goto(address + where);
      return page;
    },
    async close() {
      await browser.close();
      server.close();
    },
  };
}

function pageServer(): Server {
  return createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url!, "http://localhost");
    const isolated = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };
    const headers = searchParams.has("alone") ? {} : isolated;
    if (pathname === "/blank") return void response.writeHead(200, { ...headers, "Content-Type": "text/html" }).end(BLANK);
    const [, root, ...rest] = decodeURIComponent(pathname).split("/");
    const file = path.join(ROOTS[root!] ?? "/nowhere", ...rest);
    const facts = await stat(file).catch(() => null);
    if (!facts?.isFile()) return void response.writeHead(404).end();
    const kind = KINDS[path.extname(file)] ?? "application/octet-stream";
    response.writeHead(200, { ...headers, "Content-Type": kind, "Content-Length": facts.size });
    createReadStream(file).pipe(response);
  });
}
