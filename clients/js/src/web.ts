/** gearshift for browsers and workers: a bundle under an address, onnxruntime-web, latency tables in IndexedDB. */

import * as ort from "onnxruntime-web/wasm";

import { Engine, LOAD_OPTIONS, type LoadOptions } from "./engine.js";
import { BundleError, InputError, IntegrityError, shown } from "./errors.js";
import type { Files } from "./files.js";
import type { LatencyTable } from "./latency_table.js";
import { checkedOptions } from "./options.js";
import type { TableStore } from "./timing.js";

export * from "./index.js";

export interface WebOptions extends LoadOptions {
  /** Whether latency tables are kept in IndexedDB, true by default. */
  readonly keepsTables?: boolean;
}

/** Load the bundle whose files lie under an address.
 *
 * More than one thread needs a page that is isolated from other origins; elsewhere one thread is used.
 */
export async function load(address: string, options?: WebOptions): Promise<Engine> {
  const { keepsTables = true, ...others } = checkedOptions("load", options, [...LOAD_OPTIONS, "keepsTables"]);
  if (typeof keepsTables !== "boolean") throw new InputError(`keepsTables: expected True or False, got ${shown(keepsTables)}`);
  const { threads = 1 } = others;
  const usable = globalThis.crossOriginIsolated || !Number.isInteger(threads) ? threads : Math.min(threads, 1);
  if (Number.isInteger(usable)) ort.env.wasm.numThreads = usable;
  const cpus = navigator.hardwareConcurrency ?? 1;
  const device = `${navigator.userAgent} ${cpus}`;
  const store = keepsTables ? databaseStore() : null;
  return Engine.open({ ort, files: addressFiles(address), store, device, cpus }, { ...others, threads: usable });
}

function addressFiles(address: string): Files {
  const base = baseOf(address);
  return {
    place: address,
    async read(name, atMost) {
      const where = `${address}/${name}`;
      const response = await fetch(new URL(encodeURIComponent(name), base)).catch((error: Error) => error);
      if (response instanceof Error) throw new IntegrityError(`${where}: could not be fetched (${response.message}); copy the bundle again`);
      if (!response.ok) throw new IntegrityError(`${where}: missing (status ${response.status}); copy the bundle again`);
      return limited(response, atMost, where);
    },
  };
}

/** Address below which a bundle's files lie, with a slash at its end; raises BundleError for what is none. */
function baseOf(address: unknown): URL {
  try {
    if (typeof address === "string") return new URL(address.endsWith("/") ? address : `${address}/`, globalThis.location?.href);
  } catch {
    // no address: told below
  }
  throw new BundleError(`expected the address of a bundle, got ${shown(address)}`);
}

/** Body of a response, no more than `atMost` bytes of it. */
async function limited(response: Response, atMost: number, where: string): Promise<Uint8Array<ArrayBuffer>> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  const reader = response.body!.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    bytes += part.value.length;
    if (bytes > atMost) {
      await reader.cancel();
      throw new IntegrityError(`${where}: expected ${atMost} bytes, found more; copy the bundle again`);
    }
    parts.push(part.value);
  }
  const whole = new Uint8Array(bytes);
  parts.reduce((at, part) => (whole.set(part, at), at + part.length), 0);
  return whole;
}

const DATABASE = "gearshift";
const TABLES = "latencies";

/** Tables in IndexedDB; where there is none, as in some private windows, tables are timed at every load. */
function databaseStore(): TableStore {
  const opened = (): Promise<IDBDatabase> => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(TABLES);
    return ended(request);
  };
  const used = async <T>(mode: IDBTransactionMode, use: (store: IDBObjectStore) => IDBRequest<T>): Promise<T | undefined> => {
    try {
      const database = await opened();
      try {
        return await ended(use(database.transaction(TABLES, mode).objectStore(TABLES)));
      } finally {
        database.close();
      }
    } catch {
      return undefined;
    }
  };
  return {
    get: (key) => used<unknown>("readonly", (store) => store.get(key)),
    put: async (key, table: LatencyTable) => void (await used("readwrite", (store) => store.put(table, key))),
  };
}

function ended<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
