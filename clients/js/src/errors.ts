/** Errors, one type for each kind, in the words of the Python engine: what was expected, what came, what to do. */

/** Base of all errors that this client raises on purpose. */
export class GearshiftError extends Error {
  constructor(message: string) {
    super(escaped(message));
    this.name = new.target.name;
  }
}

/** An argument of the caller that cannot be used. */
export class InputError extends GearshiftError {}

/** A subnet that the bundle does not have. */
export class UnknownSubnetError extends InputError {}

/** A bundle that cannot be read. */
export class BundleError extends GearshiftError {}

/** A file of a bundle that is missing, truncated or altered. */
export class IntegrityError extends BundleError {}

/** A bundle written in a form that this version does not read. */
export class SchemaError extends BundleError {}

/** A bundle whose tokens or numbers differ here from those that it states. */
export class SelfTestError extends BundleError {}

/** A latency table that cannot be used. */
export class ProfileError extends GearshiftError {}

/** A request to an engine after `close`. */
export class EngineClosedError extends GearshiftError {}

/** A deadline that no subnet keeps, with an engine that refuses such requests. */
export class DeadlineTooShortError extends GearshiftError {}

const OBEYED = /[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

/** Text in which the characters that a terminal obeys are written as Python escapes them. */
function escaped(text: string): string {
  return text.replace(OBEYED, escapedCharacter);
}

function escapedCharacter(character: string): string {
  const named: Record<string, string> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };
  const code = character.charCodeAt(0);
  return named[character] ?? (code < 256 ? `\\x${hex(code, 2)}` : `\\u${hex(code, 4)}`);
}

function hex(code: number, digits: number): string {
  return code.toString(16).padStart(digits, "0");
}

const SHOWN = 80;

/** A wrong value for a message, on one line, as Python writes it. */
export function shown(value: unknown): string {
  const text = repr(value).split(/\s+/).filter(Boolean).join(" ");
  const characters = [...text];
  return characters.length <= SHOWN ? text : `${characters.slice(0, SHOWN).join("")}...`;
}

/** A value as Python writes it: `'text'`, `True`, `None`, `[1, 2]`. */
export function repr(value: unknown): string {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "string") return quoted(value);
  if (typeof value === "number") return Number.isNaN(value) ? "nan" : String(value).replace("Infinity", "inf");
  if (Array.isArray(value)) return `[${value.map(repr).join(", ")}]`;
  if (typeof value === "object") {
    return `{${Object.entries(value).map(([name, one]) => `${quoted(name)}: ${repr(one)}`).join(", ")}}`;
  }
  return String(value);
}

function quoted(text: string): string {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  const inside = text.replaceAll("\\", "\\\\").replaceAll(mark, `\\${mark}`);
  return mark + inside.replace(/[\x00-\x1f\x7f-\xa0\xad]/g, escapedCharacter) + mark;
}

/** Name of a value's type as Python calls it. */
export function typeName(value: unknown): string {
  if (value === null || value === undefined) return "NoneType";
  if (Array.isArray(value)) return "list";
  if (typeof value === "number") return Number.isInteger(value) ? "int" : "float";
  return { boolean: "bool", string: "str", object: "dict" }[typeof value as string] ?? typeof value;
}
