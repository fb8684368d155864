/** Reader of the arrays of `selftest.npz`: a zip archive, stored or deflated, of .npy files. */

import { SchemaError } from "./errors.js";

export interface NumberArray {
  readonly shape: readonly number[];
  readonly data: Float32Array | BigInt64Array;
}

/** An array of texts, row after row. */
export interface TextArray {
  readonly shape: readonly number[];
  readonly texts: readonly string[];
}

const END = 0x06054b50;
const ENTRY = 0x02014b50;

/** The arrays of these names; raises SchemaError if one is missing, or neither float32 nor int64. */
export async function readArrays(
  content: Uint8Array<ArrayBuffer>,
  names: readonly string[],
  where: string,
): Promise<Map<string, NumberArray>> {
  try {
    const entries = directory(content);
    const found = new Map<string, NumberArray>();
    for (const name of names) {
      const entry = entries.get(`${name}.npy`);
      if (entry === undefined) throw new Error(`no array ${name}`);
      found.set(name, arrayOf(await unpacked(content, entry)));
    }
    return found;
  } catch (error) {
    throw new SchemaError(`${where}: not readable (${(error as Error).message}); export the bundle again`);
  }
}

/** The array of texts of a name; raises SchemaError if it is missing or of another type. */
export async function readTexts(content: Uint8Array<ArrayBuffer>, name: string, where: string): Promise<TextArray> {
  try {
    const entry = directory(content).get(`${name}.npy`);
    if (entry === undefined) throw new Error(`no array ${name}`);
    return textsOf(await unpacked(content, entry));
  } catch (error) {
    throw new SchemaError(`${where}: not readable (${(error as Error).message}); export the bundle again`);
  }
}

interface Entry {
  readonly method: number;
  readonly packed: number;
  readonly bytes: number;
  readonly start: number;
}

function directory(content: Uint8Array<ArrayBuffer>): Map<string, Entry> {
  const view = new DataView(content.buffer, content.byteOffset, content.length);
  let end = content.length - 22;
  while (end >= 0 && view.getUint32(end, true) !== END) end -= 1;
  if (end < 0) throw new Error("not a whole .npz file");
  const entries = new Map<string, Entry>();
  let at = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left -= 1) {
    if (view.getUint32(at, true) !== ENTRY) throw new Error("not a whole .npz file");
    const [length, extra, comment] = [28, 30, 32].map((place) => view.getUint16(at + place, true));
    const name = new TextDecoder().decode(content.subarray(at + 46, at + 46 + length!));
    const local = view.getUint32(at + 42, true);
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    entries.set(name, {
      method: view.getUint16(at + 10, true),
      packed: view.getUint32(at + 20, true),
      bytes: view.getUint32(at + 24, true),
      start,
    });
    at += 46 + length! + extra! + comment!;
  }
  return entries;
}

async function unpacked(content: Uint8Array<ArrayBuffer>, entry: Entry): Promise<Uint8Array<ArrayBuffer>> {
  const packed = content.slice(entry.start, entry.start + entry.packed);
  if (entry.method === 0) return packed;
  if (entry.method !== 8) throw new Error(`a compression of kind ${entry.method}`);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  if (bytes.length !== entry.bytes) throw new Error(`expected ${entry.bytes} bytes, found ${bytes.length}`);
  return bytes;
}

interface Header {
  readonly type: string;
  readonly shape: readonly number[];
  readonly start: number;
}

function headerOf(content: Uint8Array<ArrayBuffer>): Header {
  const view = new DataView(content.buffer, content.byteOffset, content.length);
  const long = content[6] === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  const start = (content[6] === 1 ? 10 : 12) + long;
  const header = new TextDecoder("latin1").decode(content.subarray(0, start));
  const found = /'descr': '(<f4|<i8|<U\d+)', 'fortran_order': False, 'shape': \(([\d, ]*)\)/.exec(header);
  if (found === null) throw new Error("an array of another type");
  return { type: found[1]!, shape: found[2]!.split(",").filter((size) => size.trim()).map(Number), start };
}

function arrayOf(content: Uint8Array<ArrayBuffer>): NumberArray {
  const { type, shape, start } = headerOf(content);
  if (type.startsWith("<U")) throw new Error("an array of another type");
  const bytes = content.slice(start).buffer;
  const data = type === "<f4" ? new Float32Array(bytes) : new BigInt64Array(bytes);
  const count = shape.reduce((product, size) => product * size, 1);
  if (data.length !== count) throw new Error(`expected ${count} numbers, found ${data.length}`);
  return { shape, data };
}

/** Texts are stored as UTF-32, each filled up with zeros. */
function textsOf(content: Uint8Array<ArrayBuffer>): TextArray {
  const { type, shape, start } = headerOf(content);
  const width = Number(type.slice(2));
  const codes = new Uint32Array(content.slice(start).buffer);
  const count = shape.reduce((product, size) => product * size, 1);
  if (!type.startsWith("<U") || shape.length !== 2 || width === 0 || !codes.length || codes.length !== count * width) {
    throw new Error("an array of another type");
  }
  const texts = Array.from({ length: count }, (_, place) =>
    String.fromCodePoint(...codes.subarray(place * width, (place + 1) * width)).replace(/\0+$/, ""),
  );
  return { shape, texts };
}
