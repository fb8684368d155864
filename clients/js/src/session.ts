/** One session of ONNX Runtime over one elastic graph: the subnet is an input of each call. */

import type { InferenceSession, InferenceSessionFactory, Tensor, TensorConstructor } from "onnxruntime-common";

import { BundleError, SchemaError } from "./errors.js";
import { TASKS, type Manifest, type PoolEntry, type Precision } from "./manifest.js";

/** What is used of onnxruntime-node or onnxruntime-web. */
export interface OnnxRuntime {
  readonly InferenceSession: InferenceSessionFactory;
  readonly Tensor: TensorConstructor;
  readonly env: { readonly versions: { readonly node?: string; readonly web?: string; readonly common: string } };
}

/** A graph's bytes, those of its weights by the name that the graph has for them, and options of the platform. */
export interface Graph {
  readonly model: Uint8Array<ArrayBuffer>;
  readonly weights: { path: string; data: Uint8Array<ArrayBuffer> }[];
  readonly options: InferenceSession.SessionOptions;
}

const LEVELS = { disable: "disabled", basic: "basic", extended: "extended", all: "all" } as const;

/** Version of ONNX Runtime. */
export function versionOf(ort: OnnxRuntime): string {
  const { node, web, common } = ort.env.versions;
  return node ?? web ?? common;
}

/** Raise SchemaError if this version of ONNX Runtime is older than the bundle needs. */
export function checkVersion(ort: OnnxRuntime, minimum: string): void {
  const [wanted, found] = [minimum, versionOf(ort)].map((text) => text.split(".").map((one) => Number.parseInt(one, 10)));
  for (const [place, number] of wanted!.entries()) {
    if ((found![place] ?? 0) > number) return;
    if ((found![place] ?? 0) < number) {
      throw new SchemaError(`this bundle needs onnxruntime ${minimum} or newer, found ${versionOf(ort)}; install a newer one`);
    }
  }
}

/** Session options of a manifest, in the spelling of the JavaScript bindings. */
export function sessionOptions(entries: Readonly<Record<string, string>>, threads: number): InferenceSession.SessionOptions {
  const level = (entries["graph_optimization_level"] ?? "disable") as keyof typeof LEVELS;
  return {
    graphOptimizationLevel: LEVELS[level],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: "sequential",
    logSeverityLevel: 3,
    extra: { session: { intra_op: { allow_spinning: entries["session.intra_op.allow_spinning"] ?? "0" } } },
  };
}

export class ElasticSession {
  private constructor(
    private readonly ort: OnnxRuntime,
    private readonly session: InferenceSession,
    private readonly manifest: Manifest,
    readonly precision: Precision,
    private readonly place: string,
  ) {}

  /** Open a graph; raises BundleError of one line if onnxruntime cannot. */
  static async open(ort: OnnxRuntime, manifest: Manifest, precision: Precision, graph: Graph, place: string): Promise<ElasticSession> {
    try {
      const externalData = graph.weights.length ? { externalData: graph.weights } : {};
      const session = await ort.InferenceSession.create(graph.model, { ...graph.options, ...externalData });
      return new ElasticSession(ort, session, manifest, precision, place);
    } catch (error) {
      throw new BundleError(`${place}: onnxruntime ${versionOf(ort)} cannot load it (${oneLine(error)})`);
    }
  }

  /** Run the subnet of `entry` on token ids, mask and types of shape (texts, tokens); returns the graph's numbers. */
  async run(inputs: ReadonlyMap<string, BigInt64Array>, shape: readonly [number, number], entry: PoolEntry): Promise<Tensor> {
    const feeds: Record<string, Tensor> = {};
    for (const name of this.manifest.inputs) feeds[name] = new this.ort.Tensor("int64", inputs.get(name)!, shape);
    const choice = BigInt64Array.from(entry.choice, BigInt);
    feeds["choice"] = new this.ort.Tensor("int64", choice, [choice.length]);
    const output = TASKS[this.manifest.task].output;
    try {
      return (await this.session.run(feeds, [output]))[output]!;
    } catch (error) {
      throw new BundleError(`${this.place}: onnxruntime could not run it (${oneLine(error)})`);
    }
  }

  /** Free the weights. */
  async close(): Promise<void> {
    await this.session.release();
  }
}

function oneLine(error: unknown): string {
  return String((error as Error)?.message ?? error).split(/\s+/).filter(Boolean).join(" ");
}
