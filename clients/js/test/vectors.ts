/** Bundles and vectors that `python -m tests.clients.prepare` made. */

import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../../..");

/** Folder with NAME.gearshift and NAME.vectors of each bundle. */
export const MADE = process.env["GEARSHIFT_VECTORS"] ?? path.join(ROOT, "build/clients");

/** Bundles that there must be: one of each task, and the committed one, plain and as an app ships it. */
export const NAMES = [
  "tiny", "multi-label", "regression", "token", "words", "question", "unanswerable", "embedding",
  "embedded", "dan", "dan-pairs", "twelve",
] as const;

export interface Step {
  now: number;
  tokens: number;
  slack_ms: number | null;
  deadline_ms: number | null;
  first: number;
  pinned: string | null;
  subnet: string;
  reason: string;
  level: number;
  expected_ms: number;
  predicted_ms: number;
  run_ms: number | null;
  met: boolean | null;
  learnt_s: number | null;
  slow_down: number;
}

export interface Scenario {
  name: string;
  objective: {
    target: number | null;
    late_value: number;
    min_accuracy: number | null;
    max_cpu_share: number | null;
    on_miss: "best_effort" | "reject";
  };
  cpus: number;
  accuracies: Record<string, number>;
  rows: number;
  ladder: string[];
  /** Of its own pool; without it that of all. */
  table?: Medians;
  steps: Step[];
}

export interface Decisions {
  table: Medians;
  /** Pairs: a number and the share of the normal distribution below it; a share and its quantile. */
  normal: { shares: [number, number][]; quantiles: [number, number][] };
  scenarios: Scenario[];
}

interface Medians {
  lengths: number[];
  median_ms: Record<string, number[]>;
}

export interface TextVector {
  text?: string[];
  words?: string[];
  ids: number[];
  types?: number[];
  places?: [number, number][];
  truncated: boolean;
  precisions: Record<string, Record<string, { output: number[]; answer: Record<string, unknown> }>>;
}

export interface Texts {
  digest: string;
  task: string;
  texts: TextVector[];
  refused: { kind: "text" | "deadline_ms" | "subnet"; value: unknown; error: string; message: string }[];
}

export function bundlePath(name: string): string {
  return path.join(MADE, `${name}.gearshift`);
}

export function readVectors(name: string): { texts: Texts; decisions: Decisions } {
  const folder = path.join(MADE, `${name}.vectors`);
  if (!existsSync(folder)) throw new Error(`${folder}: missing; run python -m tests.clients.prepare`);
  const read = (file: string): unknown => JSON.parse(readFileSync(path.join(folder, file), "utf8"));
  return { texts: read("texts.json") as Texts, decisions: read("decisions.json") as Decisions };
}
