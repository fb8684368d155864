/** Public names of both platforms. */

export type {
  AnyAnswer, Classification, Embedding, MultiLabelClassification, QuestionAnswering, Regression, TokenClassification, Word,
} from "./answers.js";
export { Engine, type Answer, type LoadOptions, type RunFacts, type RunOptions } from "./engine.js";
export * from "./errors.js";
export type { LatencyTable } from "./latency_table.js";
export type { Objective, Reason } from "./policy/controller.js";
export type { Text } from "./text/encoder.js";
