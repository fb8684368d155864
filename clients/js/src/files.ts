/** Files of a bundle, wherever they lie, and their hashes. */

import { IntegrityError } from "./errors.js";

/** Where the files of a bundle are read from. */
export interface Files {
  /** Place of the bundle, for messages. */
  readonly place: string;
  /** Contents of a file; raises IntegrityError if it is missing or no file. `atMost`: bytes that it may have. */
  read(name: string, atMost: number): Promise<Uint8Array<ArrayBuffer>>;
}

export async function sha256(content: Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = new Uint8Array(await globalThis.crypto.subtle.digest("SHA-256", content));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Raise IntegrityError unless a name is plain: no path may lead out of a bundle. */
export function checkName(place: string, name: string): void {
  if (/[/\\\x00-\x1f]/.test(name) || ["", ".", ".."].includes(name) || !name.isWellFormed()) {
    throw new IntegrityError(`${place}: the manifest names ${JSON.stringify(name)}; expected a plain file name inside the bundle`);
  }
}

/** Contents of a file of the manifest; raises IntegrityError unless size and SHA-256 are those. */
export async function readChecked(
  files: Files,
  name: string,
  expected: { readonly bytes: number; readonly sha256: string },
): Promise<Uint8Array<ArrayBuffer>> {
  const content = await files.read(name, expected.bytes);
  const where = `${files.place}/${name}`;
  if (content.length !== expected.bytes) {
    throw new IntegrityError(`${where}: expected ${expected.bytes} bytes, found ${content.length}; copy the bundle again`);
  }
  const found = await sha256(content);
  if (found !== expected.sha256) {
    throw new IntegrityError(`${where}: expected sha256 ${expected.sha256}, found ${found}; copy the bundle again`);
  }
  return content;
}
