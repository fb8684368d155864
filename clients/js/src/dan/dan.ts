/** A DAN: mean of n-gram embeddings, one hidden layer, logits (docs/bundle.md, "The DAN"). */

import { IntegrityError } from "../errors.js";
import { keys, whole } from "./ngrams.js";

const SPREAD = 0x9e3779b97f4a7c15n;
const MIX = 0xd6e8feb86659fd93n;
const HALF = 32n;
const LOWER = 0xffffffffn;
const TYPES = { U16: Uint16Array, U32: Uint32Array, I8: Int8Array, F32: Float32Array } as const;

interface Tensor {
  readonly shape: readonly number[];
  readonly data: Uint16Array | Uint32Array | Int8Array | Float32Array;
}

export class Dan {
  private constructor(
    private readonly tensors: ReadonlyMap<string, Tensor>,
    private readonly longest: number,
    private readonly paired: boolean,
  ) {}

  /** Open a file; raises IntegrityError for one that is no whole DAN. */
  static open(content: Uint8Array<ArrayBuffer>, where: string): Dan {
    try {
      const [tensors, facts] = readTensors(content);
      if (facts.format !== "gearshift-dan" || facts.version !== 2) {
        throw new Error(`expected gearshift-dan 2, found ${facts.format} ${facts.version}`);
      }
      const dan = new Dan(tensors, facts.longest, facts.paired);
      dan.checkShapes();
      return dan;
    } catch (error) {
      throw new IntegrityError(`${where}: not a whole DAN (${(error as Error).message}); copy it again`);
    }
  }

  /** Logits of one text. `parts`: the text, or both of a pair. */
  run(parts: readonly string[]): Float32Array {
    const means = this.paired ? [this.mean(parts[0]!), this.mean(parts[1] ?? "")] : [this.mean(parts.join(" "))];
    const [first, second] = means;
    const inputs =
      second === undefined
        ? first!
        : [...first!, ...second, ...first!.map((one, place) => one * second[place]!), ...first!.map((one, place) => Math.abs(one - second[place]!))];
    const weight = this.tensors.get("hidden_weight");
    const hidden = this.layer(weight, inputs, "hidden_bias").map((one) => Math.max(0, one));
    return Float32Array.from(this.layer(this.tensors.get("output_weight"), hidden, "output_bias"));
  }

  private layer(weight: Tensor | undefined, inputs: readonly number[], bias: string): number[] {
    const width = inputs.length;
    const product = (row: number): number =>
      weight === undefined ? inputs[row]! : inputs.reduce((sum, one, place) => sum + one * weight.data[row * width + place]!, 0);
    return Array.from(this.tensors.get(bias)!.data, (one, row) => one + product(row));
  }

  /** Mean embedding of the n-grams of a text that the table has. */
  private mean(text: string): number[] {
    const { data, shape } = this.tensors.get("rows")!;
    const scales = this.tensors.get("scales")!.data;
    const sums = new Array<number>(shape[1]!).fill(0);
    let known = 0;
    for (const key of keys(text, this.longest)) {
      const row = this.row(key);
      if (row === null) continue;
      known += 1;
      for (let place = 0; place < sums.length; place += 1) sums[place]! += scales[row]! * data[row * sums.length + place]!;
    }
    return known ? sums.map((one) => one / known) : sums;
  }

  private row(key: bigint): number | null {
    const displacements = this.tensors.get("displacements")!.data;
    const prints = this.tensors.get("prints")!.data;
    const displacement = displacements[Number(((key >> HALF) * BigInt(displacements.length)) >> HALF)]!;
    const spread = whole((whole(BigInt(displacement) * SPREAD) ^ key) * MIX);
    const row = Number(((spread >> HALF) * BigInt(prints.length)) >> HALF);
    return BigInt(prints[row]!) === (key & LOWER) ? row : null;
  }

  private checkShapes(): void {
    const shape = (name: string): readonly number[] => {
      const found = this.tensors.get(name);
      if (found === undefined) throw new Error(`no array ${name}`);
      return found.shape;
    };
    const [count] = shape("prints");
    const [rows, width] = shape("rows");
    const [hidden] = shape("hidden_bias");
    const [labels] = shape("output_bias");
    const inputs = this.paired ? 4 * width! : width!;
    const first = this.tensors.has("hidden_weight") ? shape("hidden_weight").join() === `${hidden},${inputs}` : !this.paired && hidden === width;
    const fits = rows === count && shape("scales")[0] === count && count! > 0 && shape("displacements")[0]! > 0;
    if (!first || !fits || shape("output_weight").join() !== `${labels},${hidden}` || !(this.longest >= 1 && this.longest <= 4)) {
      throw new Error("arrays whose shapes do not fit each other");
    }
  }
}

/** Arrays and description of a safetensors file. */
function readTensors(content: Uint8Array<ArrayBuffer>): [Map<string, Tensor>, any] {
  const view = new DataView(content.buffer, content.byteOffset, content.length);
  const length = Number(view.getBigUint64(0, true));
  const text = new TextDecoder("utf-8", { fatal: true });
  const header = JSON.parse(text.decode(content.subarray(8, 8 + length)));
  const tensors = new Map<string, Tensor>();
  for (const [name, entry] of Object.entries<any>(header)) {
    if (name === "__metadata__") continue;
    const kind = TYPES[entry.dtype as keyof typeof TYPES];
    if (kind === undefined) throw new Error(`an array of type ${entry.dtype}`);
    const [start, end] = entry.data_offsets as [number, number];
    const data = new kind(content.slice(8 + length + start, 8 + length + end).buffer);
    if (data.length !== entry.shape.reduce((product: number, size: number) => product * size, 1)) throw new Error(`${name} is cut off`);
    tensors.set(name, { shape: entry.shape, data });
  }
  return [tensors, JSON.parse(header.__metadata__.description)];
}
