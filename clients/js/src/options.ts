/** Options of a call: what is misspelt is refused, for an option that nobody reads would be left out in silence. */

import { InputError, repr, shown } from "./errors.js";

/** The options as they are, none if there are none; raises InputError for no object, and for a name that is not known. */
export function checkedOptions<T extends object>(call: string, options: T | undefined, known: readonly (keyof T & string)[]): Partial<T> {
  const expected = `options of ${call}: expected ${known.join(", ")}`;
  if (options === undefined) return {};
  if (options === null || typeof options !== "object" || Array.isArray(options)) {
    throw new InputError(`${expected} in an object, got ${shown(options)}`);
  }
  for (const name of Object.keys(options)) {
    if (!(known as readonly string[]).includes(name)) throw new InputError(`${expected}, got ${repr(name)}`);
  }
  return options;
}
