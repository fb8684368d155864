/** Schemes of tags: how the labels of words say where entities begin and end. */

const LETTERS: Readonly<Record<string, string>> = {
  IO: " I  ", IOB2: "BI  ", IOE2: " IE ", IOBES: "BIES", BILOU: "BILU", BMES: "BMES", BMEWO: "BMEW", IOB1: "BI  ", IOE1: " IE ",
};
const FORMS: Readonly<Record<string, RegExp>> = {
  "B-x": /^(?<letter>[A-Z])-(?<kind>.+)$/,
  B_x: /^(?<letter>[A-Z])_(?<kind>.+)$/,
  "x-B": /^(?<kind>.+)-(?<letter>[A-Z])$/,
  x_B: /^(?<kind>.+)_(?<letter>[A-Z])$/,
  B: /^(?<letter>[A-Z])$/,
};
const OUTSIDE = "O";
const ONLY_KIND = "_";

/** Tag as one of `B`, `I`, `E`, `S` or `O`, and the kind of its entity. */
export type Tag = readonly [string, string];

export class Scheme {
  private readonly letters: string;

  constructor(private readonly name: string, private readonly form: string) {
    this.letters = LETTERS[name] ?? "    ";
  }

  read(label: string): Tag {
    if (label === OUTSIDE) return [OUTSIDE, ""];
    const found = this.name === "plain" ? null : FORMS[this.form]!.exec(label);
    const letter = found?.groups?.["letter"];
    if (letter === undefined || !this.letters.includes(letter)) return ["I", label];
    return ["BIES"[this.letters.indexOf(letter)]!, found!.groups!["kind"] ?? ONLY_KIND];
  }

  /** Label of a word from those of the pieces that it was cut into; the first one's if there is none for it. */
  join(labels: readonly string[], known: readonly string[]): string {
    const read = labels.map((label) => this.read(label));
    const kinds = new Set(read.map(([, kind]) => kind));
    if (labels.length === 1 || kinds.size > 1) return labels[0]!;
    const [begins, ends] = ["BS".includes(read[0]![0]), "ES".includes(read.at(-1)![0])];
    const place = begins ? (ends ? "S" : "B") : ends ? "E" : read[0]![0];
    const joined = this.write([place, read[0]![1]]);
    return known.includes(joined) ? joined : labels[0]!;
  }

  private write([place, kind]: Tag): string {
    if (place === OUTSIDE) return OUTSIDE;
    if (this.name === "plain") return kind;
    const nearest = { B: "BI", I: "IB", E: "EI", S: "SBEI" }[place]!;
    const letter = [...nearest].map((one) => this.letters["BIES".indexOf(one)]!).find((one) => one !== " ")!;
    return this.form === "B" ? letter : this.form.replace("B", letter).replace("x", () => kind);
  }
}

/** Whether a tag behind another begins an entity. */
export function begins(last: Tag, tag: Tag): boolean {
  return tag[0] !== OUTSIDE && ("BS".includes(tag[0]) || [OUTSIDE, "E", "S"].includes(last[0]) || last[1] !== tag[1]);
}
