/** gearshift for Node: a bundle in a directory, onnxruntime-node, latency tables in the user's cache directory. */

import { createHash } from "node:crypto";
import { mkdir, open, readFile, realpath, rename, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";

import * as ort from "onnxruntime-node";

import { Engine, LOAD_OPTIONS, type LoadOptions } from "./engine.js";
import { BundleError, InputError, IntegrityError, SchemaError, shown } from "./errors.js";
import type { Files } from "./files.js";
import { checkedOptions } from "./options.js";
import type { TableStore } from "./timing.js";

export * from "./index.js";

export interface NodeOptions extends LoadOptions {
  /** Directory of the latency tables; null to time them at every load. Default: gearshift/js in the user's cache. */
  readonly tables?: string | null;
}

/** Load the bundle in a directory. */
export async function load(directory: string, options?: NodeOptions): Promise<Engine> {
  const { tables, ...others } = checkedOptions("load", options, [...LOAD_OPTIONS, "tables"]);
  if (tables !== undefined && tables !== null && typeof tables !== "string") {
    throw new InputError(`tables: expected a directory or None, got ${shown(tables)}`);
  }
  const kept = tables === undefined ? path.join(cacheDirectory(), "js") : tables;
  const cpus = os.availableParallelism();
  const device = `${os.arch()} ${os.cpus()[0]?.model ?? "unknown"} ${cpus}`;
  const store = kept === null ? null : fileStore(kept);
  return Engine.open({ ort, files: await directoryFiles(directory), store, device, cpus }, others);
}

function cacheDirectory(): string {
  const named = process.env["GEARSHIFT_CACHE_DIR"];
  return named || path.join(process.env["XDG_CACHE_HOME"] || path.join(os.homedir(), ".cache"), "gearshift");
}

/** Files of a bundle in a directory; raises BundleError for what is none, SchemaError for a compressed one. */
export async function directoryFiles(directory: string): Promise<Files> {
  if (typeof directory !== "string") throw new BundleError("expected the directory of a bundle");
  const exists = (name: string): Promise<boolean> => realpath(path.join(directory, name)).then(() => true, () => false);
  if (await exists("compressed.json")) {
    throw new SchemaError(`${directory}: expected a plain bundle, found a compressed one; unpack it with \`gearshift unpack\``);
  }
  if (!(await exists("manifest.json"))) {
    const found = (await exists(".")) ? "no manifest.json in it" : "no such directory";
    throw new BundleError(`${directory}: expected a bundle directory, found ${found}; make one with \`gearshift export\``);
  }
  return { place: directory, read: (name, atMost) => readInside(directory, name, atMost) };
}

/** Contents of a regular file of a directory; no link may lead out of it, but to the `blobs` of a hub cache. */
async function readInside(directory: string, name: string, atMost: number): Promise<Uint8Array<ArrayBuffer>> {
  const where = path.join(directory, name);
  const found = await realpath(where).catch(() => null);
  if (found === null) throw new IntegrityError(`${where}: missing; copy the bundle again`);
  const own = await realpath(directory);
  const steps = own.split(path.sep);
  const blobs = steps.flatMap((step, place) => (step === "snapshots" ? [path.join(path.sep, ...steps.slice(0, place), "blobs")] : []));
  if (path.dirname(found) !== own && !blobs.includes(path.dirname(found))) {
    throw new IntegrityError(
      `${where}: expected a file, found a symbolic link to ${found}, outside of a hub cache that the bundle is in; ` +
        "copy the bundle with the files that its links name (cp -rL)",
    );
  }
  const file = await open(found, "r");
  try {
    const facts = await file.stat();
    if (!facts.isFile()) throw new IntegrityError(`${where}: expected a file, found a directory or device; copy the bundle again`);
    if (facts.size > atMost) {
      throw new IntegrityError(`${where}: expected ${atMost} bytes, found ${facts.size}; copy the bundle again`);
    }
    return new Uint8Array(await file.readFile());
  } finally {
    await file.close();
  }
}

/** Tables as files; one that cannot be read or written is timed again. */
function fileStore(directory: string): TableStore {
  const place = (key: string): string => path.join(directory, `${createHash("sha256").update(key).digest("hex")}.json`);
  return {
    async get(key) {
      try {
        return JSON.parse(await readFile(place(key), "utf8"));
      } catch {
        return undefined;
      }
    },
    async put(key, table) {
      const fresh = `${place(key)}.${process.pid}.new`;
      try {
        await mkdir(directory, { recursive: true, mode: 0o700 });
        await writeFile(fresh, JSON.stringify(table));
        await rename(fresh, place(key));
      } catch {
        await rm(fresh, { force: true }).catch(() => undefined);
      }
    },
  };
}
