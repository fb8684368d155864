/** A verified bundle: manifest, tokenizer and self-test, and its graphs, each read when it is opened. */

import { IntegrityError, SchemaError, SelfTestError, repr, UnknownSubnetError } from "./errors.js";
import { readChecked, type Files } from "./files.js";
import { readManifest, TASKS, type Manifest, type PoolEntry, type Precision } from "./manifest.js";
import { Dan } from "./dan/dan.js";
import { readArrays, readTexts, type NumberArray } from "./npz.js";
import { ElasticSession, sessionOptions, type OnnxRuntime } from "./session.js";
import { TextEncoder, type Text } from "./text/encoder.js";
import { Tokenizer } from "./text/tokenizer.js";

const FP32_TOLERANCE = 1e-3;
const SPREADS: Readonly<Record<string, number>> = { int8: 0.1, fp16: 0.02 };
const AGREEMENT = 0.9;
const MOST_LATENCIES = 4 << 20;
const CPU_PRECISIONS = ["fp32", "int8"] as const;

/** A DAN, and words that it knows some n-grams of, to be timed with. */
export interface TestedDan {
  readonly dan: Dan;
  readonly words: readonly string[];
}

export class Bundle {
  private constructor(
    private readonly files: Files,
    readonly manifest: Manifest,
    /** SHA-256 of the manifest, which identifies the contents. */
    readonly hash: string,
    readonly encoder: TextEncoder,
  ) {}

  /** Open a bundle: every file by size and SHA-256, and the tokenizer by the bundle's own texts. */
  static async open(files: Files): Promise<Bundle> {
    const { manifest, hash } = await readManifest(files);
    const where = `${files.place}/tokenizer.json`;
    const content = await readChecked(files, "tokenizer.json", manifest.files["tokenizer.json"]!);
    const tokenizer = new Tokenizer(json(content, where), where, manifest.max_length);
    const encoder = new TextEncoder(manifest, tokenizer);
    if (Object.hasOwn(manifest.files, "selftest.json")) {
      const vectors = await readChecked(files, "selftest.json", manifest.files["selftest.json"]!);
      checkTokens(encoder, json(vectors, `${files.place}/selftest.json`), files.place);
    }
    return new Bundle(files, manifest, hash, encoder);
  }

  get place(): string {
    return this.files.place;
  }

  /** Precisions of the bundle's graphs that CPUs have kernels for. */
  get precisions(): Precision[] {
    return CPU_PRECISIONS.filter((one) => this.manifest.pool.some((entry) => entry.precision === one && entry.executor === "elastic"));
  }

  /** Entry of the DAN; null if the bundle has none. */
  get danEntry(): PoolEntry | null {
    return this.manifest.pool.find((entry) => entry.executor === "dan") ?? null;
  }

  /** All that an engine may switch between: the subnets of one precision, and the DAN if there is one. */
  entries(precision: Precision): Map<string, PoolEntry> {
    const dan = this.danEntry;
    return dan === null ? this.pool(precision) : new Map([...this.pool(precision), [dan.name, dan]]);
  }

  /** Subnets of the graph of one precision by name. */
  pool(precision: Precision): Map<string, PoolEntry> {
    const own = this.manifest.pool.filter((entry) => entry.precision === precision && entry.executor === "elastic");
    if (!own.length) {
      throw new SchemaError(`${this.place}: no ${precision} graph in this bundle; it has ${this.precisions.join(", ")}`);
    }
    return new Map(own.map((entry) => [entry.name, entry]));
  }

  /** A subnet by name; raises UnknownSubnetError, which lists the known names. */
  entry(name: string, precision: Precision): PoolEntry {
    const pool = this.entries(precision);
    const found = pool.get(name);
    if (found === undefined) {
      throw new UnknownSubnetError(`unknown subnet ${repr(name)}; this bundle has ${[...pool.keys()].join(", ")}`);
    }
    return found;
  }

  /** Open the graph of a precision and run its self-test; raises IntegrityError, BundleError or SelfTestError. */
  async session(ort: OnnxRuntime, precision: Precision, threads: number): Promise<ElasticSession> {
    const names = new Set([...this.pool(precision).values()].map((entry) => entry.file));
    if (names.size !== 1) throw new SchemaError(`${this.place}: expected one ${precision} graph, found ${[...names].join(", ")}; export again`);
    const file = [...names][0]!;
    const model = await this.read(file);
    const path = file.replace(/\.onnx$/, ".weights"); // a graph in ORT format has its weights inside
    const weights = path !== file && Object.hasOwn(this.manifest.files, path) ? [{ path, data: await this.read(path) }] : [];
    const options = sessionOptions(this.manifest.session_options, threads);
    const session = await ElasticSession.open(ort, this.manifest, precision, { model, weights, options }, `${this.place}/${file}`);
    try {
      await this.selfTest(session);
    } catch (error) {
      await session.close();
      throw error;
    }
    return session;
  }

  /** Open the DAN and run its self-test; null if the bundle has none. Raises IntegrityError or SelfTestError. */
  async dan(): Promise<TestedDan | null> {
    const entry = this.danEntry;
    if (entry === null) return null;
    const dan = Dan.open(await this.read(entry.file), `${this.place}/${entry.file}`);
    const [where, ending] = [`${this.place}/selftest.npz`, `${entry.precision}.${entry.name}`];
    const content = await this.read("selftest.npz");
    const { texts, shape } = await readTexts(content, `texts.${ending}`, where);
    const expected = (await readArrays(content, [`logits.${ending}`], where)).get(`logits.${ending}`)!.data as Float32Array;
    const [rows, parts] = shape as [number, number];
    const found = Array.from({ length: rows }, (_, row) => [...dan.run(texts.slice(row * parts, (row + 1) * parts))]).flat();
    const named = `${this.place}: self-test of ${entry.name}`;
    if (found.length !== expected.length) {
      throw new SelfTestError(`${named}: expected ${expected.length} numbers, found ${found.length}; export the bundle again`);
    }
    checkNumbers(expected, Float32Array.from(found), () => true, "fp32", named);
    return { dan, words: texts.join(" ").split(/\s+/) };
  }

  /** Contents of `latencies.json`, where an app ships the folder of `gearshift embed`; undefined if there are none. */
  async latencies(): Promise<unknown> {
    if (!this.manifest.pool.some((entry) => entry.file.endsWith(".ort"))) return undefined;
    try {
      return JSON.parse(new TextDecoder().decode(await this.files.read("latencies.json", MOST_LATENCIES)));
    } catch {
      return undefined;
    }
  }

  private read(name: string): Promise<Uint8Array<ArrayBuffer>> {
    return readChecked(this.files, name, this.manifest.files[name]!);
  }

  /** Shape of the inputs of the self-test, (texts, tokens); raises SchemaError for others, and for logits that are no floats. */
  private checkedShape(arrays: ReadonlyMap<string, NumberArray>): readonly [number, number] {
    const inputs = this.manifest.inputs.map((name) => arrays.get(name)!);
    const { shape } = inputs[0]!;
    const isLike = (one: NumberArray): boolean =>
      one.data instanceof BigInt64Array && one.shape.length === 2 && one.data.length > 0 && one.shape.every((size, at) => size === shape[at]);
    const others = [...arrays].filter(([name]) => name.startsWith("logits.")).map(([, array]) => array);
    if (!inputs.every(isLike) || !others.every(({ data }) => data instanceof Float32Array)) {
      throw new SchemaError(`${this.place}/selftest.npz: not readable (inputs of several shapes, or no tokens); export the bundle again`);
    }
    return shape as [number, number];
  }

  /** Raise SelfTestError, which states the figures, unless every subnet gives the numbers of the self-test. */
  private async selfTest(session: ElasticSession): Promise<void> {
    const { precision } = session;
    const pool = this.pool(precision);
    const { labelled, perToken } = TASKS[this.manifest.task];
    const names = [...this.manifest.inputs, ...[...pool.keys()].map((name) => `logits.${precision}.${name}`)];
    const arrays = await readArrays(await this.read("selftest.npz"), names, `${this.place}/selftest.npz`);
    const [texts, tokens] = this.checkedShape(arrays);
    const inputs = new Map(this.manifest.inputs.map((name) => [name as string, arrays.get(name)!.data as BigInt64Array]));
    const mask = perToken ? inputs.get("attention_mask") : undefined;
    let [same, total] = [0, 0];
    for (const [name, entry] of pool) {
      const expected = arrays.get(`logits.${precision}.${name}`)!.data as Float32Array;
      const found = (await session.run(inputs, [texts, tokens], entry)).data as Float32Array;
      const width = expected.length / (texts * (perToken ? tokens : 1));
      const counts = (place: number): boolean => mask === undefined || mask[Math.floor(place / width)] === 1n;
      const where = `${this.place}: ${precision} self-test, subnet ${name}`;
      if (found.length !== expected.length) throw new SelfTestError(`${where}: expected ${expected.length} numbers, found ${found.length}; export the bundle again`);
      checkNumbers(expected, found, counts, precision, where);
      for (let row = 0; row * width < expected.length; row += 1) {
        if (!labelled || !counts(row * width)) continue;
        const best = (values: Float32Array): number => highest(values.subarray(row * width, (row + 1) * width));
        same += Number(best(expected) === best(found));
        total += 1;
      }
    }
    if (same < AGREEMENT * total) {
      throw new SelfTestError(`${this.place}: ${precision} self-test: expected the same label on 90% of ${total} rows, found ${same}; use another precision on this CPU`);
    }
  }
}

function checkNumbers(
  expected: Float32Array, found: Float32Array, counts: (place: number) => boolean, precision: Precision, where: string,
): void {
  const places = [...expected.keys()].filter(counts);
  const errors = places.map((place) => Math.abs(found[place]! - expected[place]!));
  const mean = (values: readonly number[]): number => values.reduce((sum, one) => sum + one, 0) / values.length;
  const refuse = (what: string, limit: number, value: number): void => {
    if (value <= limit) return;
    throw new SelfTestError(`${where}: ${what}: expected at most ${limit}, found ${value.toPrecision(3)}; use another precision on this CPU`);
  };
  if (precision === "fp32") {
    refuse("largest difference of a logit", FP32_TOLERANCE, errors.reduce((most, one) => (one <= most ? most : one), 0));
    return;
  }
  const values = places.map((place) => expected[place]!);
  const average = mean(values);
  const spread = Math.sqrt(mean(values.map((one) => (one - average) ** 2)));
  refuse("mean difference / spread", SPREADS[precision]!, mean(errors) / Math.max(spread, FP32_TOLERANCE));
}

function highest(values: Float32Array): number {
  return values.reduce((best, one, place) => (one > values[best]! ? place : best), 0);
}

function json(content: Uint8Array, where: string): any {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(content));
  } catch (error) {
    throw new IntegrityError(`${where}: expected JSON (${(error as Error).message}); copy the bundle again`);
  }
}

/** Raise SelfTestError, which shows the text, unless the encoder makes the tokens of a bundle's own texts. */
function checkTokens(encoder: TextEncoder, raw: any, place: string): void {
  if (raw?.schema_version !== 1 || !Array.isArray(raw.tokens)) {
    throw new SchemaError(`${place}/selftest.json: expected schema version 1, found ${repr(raw?.schema_version)}; export the bundle again`);
  }
  for (const vector of raw.tokens) {
    const text: Text = vector.words ? { words: vector.words } : vector.text.length > 1 ? vector.text : vector.text[0];
    const found = tokensOf(encoder, text);
    const types: number[] = vector.types ?? vector.ids.map(() => 0);
    const wanted = [vector.ids, types, ...(vector.places ? [vector.places] : [])];
    const made = found === null ? null : [found.ids, found.types, ...(vector.places ? [found.places] : [])];
    if (JSON.stringify(made) !== JSON.stringify(wanted)) {
      const shown = [...repr(vector.words?.join(" ") ?? (vector.text.length > 1 ? vector.text : vector.text[0]))].slice(0, 60).join("");
      throw new SelfTestError(
        `${place}: self-test of the tokenizer: expected other tokens for ${shown}; use the Python engine for this bundle, or export it again`,
      );
    }
  }
}

/** Ids, types and places (in characters, as Python counts them) of a text; null if the encoder refuses it. */
export function tokensOf(encoder: TextEncoder, text: Text): { ids: number[]; types: number[]; places: number[][] } | null {
  try {
    const { encoding, parts } = encoder.encode(text);
    const places = encoding.places.map((place, token) => {
      const part = parts[encoding.sequences[token] ?? 0]!;
      return place.map((end) => [...part.slice(0, end)].length);
    });
    return { ids: [...encoding.ids], types: [...encoding.types], places };
  } catch {
    return null;
  }
}

