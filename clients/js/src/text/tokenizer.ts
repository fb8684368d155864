/** Tokenizer of a bundle: the pieces are those of the stock package, the rest gives each token its place.
 *
 * `@huggingface/tokenizers` has no places, and its normalizer differs from Python's in rare characters. So text is
 * normalized and cut into words here, each character with its place, and the package's model makes pieces of the words.
 * Tokenizers whose parts are not among those below are refused, as their tokens could differ unseen.
 */

import { Tokenizer as Stock } from "@huggingface/tokenizers";

import { cleaned, isChinese, isPunctuation, isSpace, withoutAccents } from "./characters.js";
import { InputError, repr, SchemaError } from "../errors.js";

/** Start and end of a token in its text, in UTF-16 units, as `slice` takes them. */
export type Place = readonly [number, number];

export interface Token {
  readonly id: number;
  readonly place: Place;
  /** Number of the word in its text, as the tokenizer cuts it. */
  readonly word: number;
}

export interface Encoding {
  readonly ids: readonly number[];
  readonly types: readonly number[];
  readonly places: readonly Place[];
  /** Number of the text that each token is of, 0 or 1; null for special tokens. */
  readonly sequences: readonly (number | null)[];
  readonly words: readonly (number | null)[];
  /** Whether tokens were cut off. */
  readonly cut: boolean;
}

interface Character {
  readonly text: string;
  readonly place: Place;
}

interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly single_word: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  readonly normalized: boolean;
}

type Slot = { readonly ids: readonly number[]; readonly type: number } | { readonly sequence: number; readonly type: number };

interface Row {
  readonly id: number;
  readonly place: Place;
  readonly word: number | null;
  readonly type: number;
  readonly sequence: number | null;
}

// tokenizer.json has no type of its own: what is read of it is checked where it is read.
type Json = any;

interface Model {
  encode(words: string[]): string[];
  readonly tokens_to_ids: Map<string, number>;
  readonly unk_token_id: number;
}

export class Tokenizer {
  /** Whether the beginning of a text is cut off, in place of its end. */
  readonly cutsBeginning: boolean;
  private readonly model: Model;
  private readonly prefix: string;
  private readonly normalize: (characters: Character[]) => Character[];
  private readonly raw: readonly AddedToken[];
  private readonly normalized: readonly AddedToken[];
  private readonly templates: readonly [readonly Slot[], readonly Slot[]];

  /** `json`: the contents of tokenizer.json, parsed; `where`: its place, for messages. */
  constructor(json: Json, where: string, private readonly maxLength: number) {
    checkParts(json, where);
    this.model = opened(json, where);
    this.prefix = json.model.continuing_subword_prefix ?? "##";
    this.normalize = normalizer(json.normalizer);
    const added: AddedToken[] = json.added_tokens ?? [];
    this.raw = added.filter((one) => !one.normalized);
    this.normalized = added
      .filter((one) => one.normalized)
      .map((one) => ({ ...one, content: this.normalize(charactersOf(one.content)).map(({ text }) => text).join("") }));
    this.templates = templatesOf(json.post_processor, where);
    this.cutsBeginning = json.truncation?.direction === "Left";
  }

  /** Tokens of one or two texts, cut to `maxLength`; raises InputError for what Python would order otherwise. */
  encode(parts: readonly string[]): Encoding {
    const texts = parts.map((part) => this.tokens(part));
    const template = this.templates[parts.length - 1]!;
    const special = template.reduce((count, slot) => count + ("ids" in slot ? slot.ids.length : 0), 0);
    const kept = cut(texts, Math.max(0, this.maxLength - special), this.cutsBeginning);
    const rows = template.flatMap((slot): Row[] =>
      "ids" in slot
        ? slot.ids.map((id) => ({ id, place: [0, 0], word: null, type: slot.type, sequence: null }))
        : kept[slot.sequence]!.map((token) => ({ ...token, type: slot.type, sequence: slot.sequence })),
    );
    return {
      ids: rows.map(({ id }) => id),
      types: rows.map(({ type }) => type),
      places: rows.map(({ place }) => place),
      sequences: rows.map(({ sequence }) => sequence),
      words: rows.map(({ word }) => word),
      cut: texts.some((tokens, number) => kept[number]!.length < tokens.length),
    };
  }

  /** Tokens of a text without special ones around it. */
  private tokens(text: string): Token[] {
    const found: Token[] = [];
    let word = 0;
    for (const piece of split(charactersOf(text), this.raw)) {
      if ("id" in piece) {
        found.push({ ...piece, word: word++ });
        continue;
      }
      for (const part of split(this.normalize(piece.characters), this.normalized)) {
        if ("id" in part) found.push({ ...part, word: word++ });
        else for (const characters of words(part.characters)) found.push(...this.pieces(characters, word++));
      }
    }
    return found;
  }

  /** Pieces of a word, each with the place of its characters. */
  private pieces(characters: readonly Character[], word: number): Token[] {
    const tokens = this.model.encode([characters.map(({ text }) => text).join("")]);
    let start = 0;
    return tokens.map((token) => {
      const id = this.model.tokens_to_ids.get(token) ?? this.model.unk_token_id;
      const own = start > 0 && token.startsWith(this.prefix) ? token.slice(this.prefix.length) : token;
      const end = tokens.length === 1 ? characters.length : start + [...own].length;
      const place: Place = [characters[start]!.place[0], characters[end - 1]!.place[1]];
      start = end;
      return { id, place, word };
    });
  }
}

/** Raise SchemaError, which names the part, for a tokenizer that this client would not read as Python does. */
function checkParts(json: Json, where: string): void {
  const kinds = [
    ["a normalizer", json?.normalizer?.type ?? "none", ["none", "BertNormalizer"]],
    ["a pre_tokenizer", json?.pre_tokenizer?.type ?? "none", ["BertPreTokenizer"]],
    ["a model", json?.model?.type ?? "none", ["WordPiece"]],
    ["a post_processor", json?.post_processor?.type ?? "none", ["TemplateProcessing", "BertProcessing"]],
  ] as const;
  for (const [what, found, known] of kinds) {
    if (!(known as readonly string[]).includes(found)) {
      throw new SchemaError(
        `${where}: expected a tokenizer of an encoder, found ${what} ${repr(found)}, of which this client knows ` +
          `${known.join(", ")}; use the Python engine for this bundle`,
      );
    }
  }
}

function opened(json: Json, where: string): Model {
  try {
    const { model } = new Stock(json, {});
    return model as unknown as Model;
  } catch (error) {
    throw new SchemaError(`${where}: not a tokenizer that can be read (${(error as Error).message}); export the bundle again`);
  }
}

function charactersOf(text: string): Character[] {
  const found: Character[] = [];
  let start = 0;
  for (const character of text) {
    found.push({ text: character, place: [start, start + character.length] });
    start += character.length;
  }
  return found;
}

function normalizer(json: Json): (characters: Character[]) => Character[] {
  if (!json) return (characters) => characters;
  const lowercase: boolean = json.lowercase ?? true;
  const strips: boolean = json.strip_accents ?? lowercase;
  const first: Step[] = [];
  if (json.clean_text ?? true) first.push(cleaned);
  if (json.handle_chinese_chars ?? true) first.push((one) => (isChinese(one) ? ` ${one} ` : one));
  const then: Step[] = [];
  if (strips) then.push(withoutAccents);
  if (lowercase) then.push((one) => one.toLowerCase());
  return (characters) => {
    const clean = taken(first, characters);
    if (strips) checkOrder(clean); // what was cleaned away no longer stands between two marks
    return taken(then, clean);
  };
}

type Step = (character: string) => string;

/** Characters after some steps, each with the place of the one that it was made of. */
function taken(steps: readonly Step[], characters: Character[]): Character[] {
  return steps.reduce((left, step) => left.flatMap(({ text, place }) => [...step(text)].map((one) => ({ text: one, place }))), characters);
}

/** Raise InputError for marks that change places as accents are taken off, and are none: tokens would get other places. */
function checkOrder(characters: readonly Character[]): void {
  const text = characters.map((one) => one.text).join("");
  if (!/[\p{Mc}\p{Me}]/u.test(text)) return;
  if (text.normalize("NFD") !== characters.map((one) => one.text.normalize("NFD")).join("")) {
    throw new InputError("marks in an order that this client does not read as Python does; expected text without such marks");
  }
}

type Piece = { readonly id: number; readonly place: Place } | { readonly characters: Character[] };

/** Cut characters at added tokens: the leftmost one first, of several that begin there the longest. */
function split(characters: Character[], added: readonly AddedToken[]): Piece[] {
  if (!added.length || !characters.length) return [{ characters }];
  const pieces: Piece[] = [];
  let begun = 0;
  for (let start = 0; start < characters.length; ) {
    const token = longestAt(characters, start, added);
    if (token === null) {
      start += 1;
      continue;
    }
    let [from, to] = [start, start + [...token.content].length];
    start = to;
    if (token.single_word && (isWord(characters[from - 1]) || isWord(characters[to]))) continue;
    if (token.lstrip) while (from > begun && isSpace(characters[from - 1]!.text)) from -= 1;
    if (token.rstrip) while (to < characters.length && isSpace(characters[to]!.text)) to += 1;
    if (from > begun) pieces.push({ characters: characters.slice(begun, from) });
    pieces.push({ id: token.id, place: [characters[from]!.place[0], characters[to - 1]!.place[1]] });
    begun = start = to;
  }
  if (begun < characters.length) pieces.push({ characters: characters.slice(begun) });
  return pieces;
}

function longestAt(characters: readonly Character[], start: number, added: readonly AddedToken[]): AddedToken | null {
  let best: AddedToken | null = null;
  for (const token of added) {
    const wanted = [...token.content];
    if (!wanted.length || (best !== null && wanted.length <= [...best.content].length)) continue;
    if (wanted.every((one, place) => characters[start + place]?.text === one)) best = token;
  }
  return best;
}

function isWord(character: Character | undefined): boolean {
  return character !== undefined && /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u.test(character.text);
}

/** Words of normalized characters: white space ends them, and each mark of punctuation is one. */
function words(characters: readonly Character[]): Character[][] {
  const found: Character[][] = [];
  let open = false;
  for (const character of characters) {
    if (isSpace(character.text)) open = false;
    else if (isPunctuation(character.text)) {
      found.push([character]);
      open = false;
    } else if (open) found.at(-1)!.push(character);
    else {
      found.push([character]);
      open = true;
    }
  }
  return found;
}

/** Cut one or two texts to `room` tokens together, as `tokenizers` does: a pair longest first. */
function cut(texts: readonly Token[][], room: number, beginning: boolean): Token[][] {
  const kept = (tokens: Token[], count: number): Token[] =>
    count >= tokens.length ? tokens : beginning ? tokens.slice(tokens.length - count) : tokens.slice(0, count);
  const [first, second] = texts.map((tokens) => tokens.length);
  if (first! + (second ?? 0) <= room) return [...texts];
  if (second === undefined) return [kept(texts[0]!, room)];
  let [short, long] = first! > second ? [second, first!] : [first!, second];
  long = short > room ? short : Math.max(short, room - short);
  if (short + long > room) {
    short = Math.floor(room / 2);
    long = short + (room % 2);
  }
  const counts = first! > second ? [long, short] : [short, long];
  return texts.map((tokens, number) => kept(tokens, counts[number]!));
}

function templatesOf(json: Json, where: string): [Slot[], Slot[]] {
  try {
    if (json.type === "BertProcessing") {
      const end = (token: Json, type: number): Slot => ({ ids: [token[1]], type });
      const single = [end(json.cls, 0), { sequence: 0, type: 0 }, end(json.sep, 0)];
      return [single, [...single, { sequence: 1, type: 1 }, end(json.sep, 1)]];
    }
    const slot = (piece: Json): Slot =>
      piece.SpecialToken
        ? { ids: json.special_tokens[piece.SpecialToken.id].ids, type: piece.SpecialToken.type_id }
        : { sequence: piece.Sequence.id === "A" ? 0 : 1, type: piece.Sequence.type_id };
    return [json.single.map(slot), json.pair.map(slot)];
  } catch (error) {
    throw new SchemaError(`${where}: a template that cannot be read (${(error as Error).message}); export the bundle again`);
  }
}
