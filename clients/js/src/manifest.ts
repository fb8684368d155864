/** The manifest: its digest, its form, and what must hold between its fields (docs/bundle.md). */

import { IntegrityError, repr, SchemaError } from "./errors.js";
import { checkName, sha256, type Files } from "./files.js";

export const TASKS = {
  classification: { output: "logits", labelled: true, perToken: false },
  "multi-label-classification": { output: "logits", labelled: true, perToken: false },
  regression: { output: "logits", labelled: false, perToken: false },
  "token-classification": { output: "logits", labelled: true, perToken: true },
  "question-answering": { output: "logits", labelled: false, perToken: true },
  embedding: { output: "embedding", labelled: false, perToken: false },
} as const;
export type Task = keyof typeof TASKS;

export type Precision = "fp32" | "int8" | "fp16";

export interface PoolEntry {
  readonly name: string;
  readonly executor: "elastic" | "dan";
  readonly file: string;
  readonly subnet: unknown;
  readonly choice: readonly number[];
  readonly precision: Precision;
  readonly accuracy: number;
  readonly dev_accuracy?: number;
  readonly null_threshold?: number;
  readonly parameters: number;
  readonly macs: number;
}

export interface WordRuleFields {
  readonly before: Readonly<Record<string, boolean>>;
  readonly after: Readonly<Record<string, boolean>>;
  readonly endings: readonly string[];
  readonly kept: readonly string[];
  readonly initials: boolean;
  readonly longest_ideographs: number;
}

export interface Manifest {
  readonly name: string;
  readonly digest: string;
  readonly task: Task;
  readonly metric: string;
  readonly labels: readonly string[];
  readonly max_length: number;
  readonly pad_id: number;
  readonly inputs: readonly ("input_ids" | "attention_mask" | "token_type_ids")[];
  readonly space: {
    readonly kind?: string;
    readonly shape: { readonly vocabulary: number };
    readonly stages: readonly { readonly options: readonly unknown[] }[];
  };
  readonly pool: readonly PoolEntry[];
  readonly session_options: Readonly<Record<string, string>>;
  readonly minimum_onnxruntime: string;
  readonly files: Readonly<Record<string, { readonly bytes: number; readonly sha256: string }>>;
  readonly tagging?: { readonly words: WordRuleFields; readonly scheme: { readonly name: string; readonly form: string } };
  readonly vectors?: {
    readonly width: number;
    readonly normalized: boolean;
    readonly similarity: string;
    readonly prompt: string;
    readonly prompts?: Readonly<Record<string, string>>;
    readonly pools_prompt?: boolean;
    readonly dimensions?: readonly number[];
  };
  readonly chosen_by?: "dev";
  readonly dev_rows?: number;
}

const MANIFEST = "manifest.json";
const MOST_BYTES = 4 << 20;
const VERSION = 2;
const BEGINNING = /^\{\n "schema_version": (\d{1,9}),\n "digest": "([0-9a-f]{64})",\n/;

const REQUIRED = [
  "name", "task", "metric", "labels", "max_length", "pad_id", "inputs", "space", "pool", "macs_tokens",
  "session_options", "minimum_onnxruntime", "accuracy_rows", "licence", "made_by", "files",
];
const OPTIONAL = ["losses", "wide_layers", "tagging", "vectors", "chosen_by", "dev_rows", "heads"];
const METRICS = ["accuracy", "micro_f1", "spearman", "entity_f1", "answer_f1", "cosine"];
const PRECISIONS = ["fp32", "int8", "fp16"];
const OPTIONS: Readonly<Record<string, readonly string[]>> = {
  graph_optimization_level: ["disable", "basic", "extended", "all"],
  "session.intra_op.allow_spinning": ["0", "1"],
};

/** Read and check the manifest of a bundle; returns it with the SHA-256 of its file, which identifies the contents. */
export async function readManifest(files: Files): Promise<{ manifest: Manifest; hash: string }> {
  const content = await files.read(MANIFEST, MOST_BYTES);
  const where = `${files.place}/${MANIFEST}`;
  await checkDigest(content, where);
  const raw: unknown = parsed(content, where);
  const version = (raw as { schema_version?: unknown } | null)?.schema_version;
  if (version !== VERSION) {
    const advice = typeof version === "number" && version > VERSION ? "install a newer gearshift" : "export the bundle again";
    throw new SchemaError(`${where}: expected schema version ${VERSION}, found ${repr(version)}; ${advice}`);
  }
  const manifest = raw as Manifest;
  checkFields(manifest, where);
  checkKnown(manifest, files.place);
  checkReferences(manifest, files.place);
  return { manifest, hash: await sha256(content) };
}

/** Raise IntegrityError unless the digest is the SHA-256 of the bytes with zeros in place of its digits. */
async function checkDigest(content: Uint8Array<ArrayBuffer>, where: string): Promise<void> {
  const beginning = BEGINNING.exec(new TextDecoder("latin1").decode(content.subarray(0, 200)));
  if (beginning === null) {
    throw new IntegrityError(`${where}: expected a manifest with its digest, found none; copy the bundle again`);
  }
  const stated = beginning[2]!;
  const zeroed = content.slice();
  const start = beginning[0].length - stated.length - 3;
  zeroed.fill(48, start, start + stated.length);
  const found = await sha256(zeroed);
  if (found !== stated) {
    throw new IntegrityError(`${where}: expected digest ${stated}, found ${found}; copy the bundle again`);
  }
}

function parsed(content: Uint8Array, where: string): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(content));
  } catch (error) {
    throw new IntegrityError(`${where}: expected JSON (${(error as Error).message}); copy the bundle again`);
  }
}

function checkFields(manifest: Manifest, where: string): void {
  const fault = (what: string): never => {
    throw new SchemaError(`${where}: not of schema version ${VERSION} (${what}); export the bundle again`);
  };
  const names = Object.keys(manifest);
  for (const name of REQUIRED) if (!names.includes(name)) fault(`no field ${repr(name)}`);
  const known = ["schema_version", "digest", ...REQUIRED, ...OPTIONAL];
  for (const name of names) if (!known.includes(name)) fault(`an unknown field ${repr(name)}`);
  const isList = (value: unknown): value is unknown[] => Array.isArray(value);
  const isObject = (value: unknown): boolean => typeof value === "object" && value !== null && !isList(value);
  const isCount = (value: unknown): boolean => Number.isInteger(value) && (value as number) >= 0;
  for (const name of ["max_length", "pad_id"] as const) if (!isCount(manifest[name])) fault(`${name}: not usable: ${repr(manifest[name])}`);
  for (const name of ["labels", "inputs", "pool"] as const) if (!isList(manifest[name])) fault(`${name}: expected a list`);
  for (const name of ["space", "session_options", "files"] as const) if (!isObject(manifest[name])) fault(`${name}: expected an object`);
  if (!manifest.labels.every((label) => typeof label === "string") || new Set(manifest.labels).size < manifest.labels.length) {
    fault("labels: expected different texts");
  }
  if (!manifest.inputs.length || !manifest.inputs.every((one) => ["input_ids", "attention_mask", "token_type_ids"].includes(one))) {
    fault(`inputs: not usable: ${repr(manifest.inputs)}`);
  }
  if (!isList(manifest.space.stages) || !manifest.space.stages.every((stage) => isList(stage?.options))) fault("space: no stages");
  for (const entry of manifest.pool) {
    const texts = [entry?.name, entry?.file, entry?.executor, entry?.precision];
    if (!texts.every((text) => typeof text === "string") || !isList(entry.choice) || !entry.choice.every(isCount)) {
      fault("pool: expected subnets with name, file, executor, precision and choice");
    }
    for (const share of [entry.accuracy, entry.dev_accuracy ?? 0]) {
      if (!(typeof share === "number" && share >= 0 && share <= 1)) fault(`accuracy of ${entry.name}: not usable: ${repr(share)}`);
    }
  }
  for (const entry of Object.values(manifest.files)) {
    if (!isCount(entry?.bytes) || typeof entry?.sha256 !== "string") fault("files: expected bytes and sha256 of each");
  }
}

function checkKnown(manifest: Manifest, place: string): void {
  const check = (what: string, value: string, known: readonly string[]): void => {
    if (known.includes(value)) return;
    throw new SchemaError(`${place}: expected ${what} out of ${known.join(", ")}, found ${repr(value)}; install a newer gearshift`);
  };
  check("a task", manifest.task, Object.keys(TASKS));
  check("a metric", manifest.metric, METRICS);
  for (const [option, value] of Object.entries(manifest.session_options)) {
    check("session options", option, Object.keys(OPTIONS));
    check(option, value, OPTIONS[option]!);
  }
  for (const entry of manifest.pool) {
    check(`an executor of ${entry.name}`, entry.executor, ["elastic", "dan"]);
    check(`a precision of ${entry.name}`, entry.precision, PRECISIONS);
  }
  const labelled = TASKS[manifest.task].labelled;
  if (manifest.labels.length > 0 !== labelled) {
    throw new SchemaError(`${place}: expected ${labelled ? "labels" : "no labels"} of ${manifest.task}; export the bundle again`);
  }
}

function checkReferences(manifest: Manifest, place: string): void {
  if (!manifest.pool.length) throw new SchemaError(`${place}: the pool is empty; export the bundle again`);
  for (const name of Object.keys(manifest.files)) checkName(place, name);
  for (const name of ["tokenizer.json", "selftest.npz", ...manifest.pool.map((entry) => entry.file)]) {
    if (!Object.hasOwn(manifest.files, name)) {
      throw new SchemaError(`${place}: the manifest does not list ${repr(name)}; export the bundle again`);
    }
  }
  const seen = new Set<string>();
  for (const entry of manifest.pool) {
    const key = `${entry.precision} ${entry.name}`;
    if (seen.has(key)) throw new SchemaError(`${place}: the pool lists ${entry.name} at ${entry.precision} twice; export the bundle again`);
    seen.add(key);
    if (entry.executor === "elastic") checkChoice(manifest, entry, place);
  }
}

/** Raise SchemaError unless the options that a choice selects make the entry's subnet. */
function checkChoice({ space }: Manifest, entry: PoolEntry, place: string): void {
  const { stages } = space;
  const within = entry.choice.length === stages.length && entry.choice.every((one, stage) => one < stages[stage]!.options.length);
  const options = within ? entry.choice.map((one, stage) => stages[stage]!.options[one]) : [];
  const made = space.kind === "mixed" ? { blocks: options } : options.flat(1);
  if (!within || canonical(made) !== canonical(entry.subnet)) {
    throw new SchemaError(`${place}: choice [${entry.choice.join(", ")}] of ${entry.name} makes another subnet; export again`);
  }
}

/** Text of plain values in which objects of the same fields are equal. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "";
  return `{${Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1)).map(([name, one]) => `${name}:${canonical(one)}`).join()}}`;
}
