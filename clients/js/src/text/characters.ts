/** Classes of characters, as the `tokenizers` package and Python see them.
 *
 * The tables of `tokenizers` are those of Unicode 8: characters that became marks, punctuation or formats since are none
 * there, and a few that were are still. All code points were compared with Unicode 17; what differs is listed.
 */

/** White space as Python's `str.isspace`, inside of a class of characters. */
export const BLANK = "\\p{White_Space}\\x1c-\\x1f";

const BLANK_ALONE = new RegExp(`^[${BLANK}]*$`, "u");

/** Whether a text is empty or all blank. */
export function isBlank(text: string): boolean {
  return BLANK_ALONE.test(text);
}

/** Number of code points of a text. */
export function countOf(text: string): number {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}

const NEW_FORMATS = "890-891 8e2 110cd 13430-1343f";
const NEW_MARKS =
  "7fd 897-89f 8ca-8e1 9fe afa-aff b55 c04 c3c d00 d3b-d3c d81 eba ece 180f 1885-1886 1abf-1add 1ae0-1aeb 1df6-1dfb " +
  "a82c a8c5 a8ff a9bd 105c9 105e4 10d24-10d27 10d69-10d6d 10eab-10eac 10efa-10eff 10f46-10f50 10f82-10f85 11070 " +
  "11073-11074 110c2 111c9 111cf 1123e 11241 1133b 11383 11385 1138e 11391 113bb-113c0 113c5 113c7-113c8 113ce 113d0 " +
  "113d2 113e1-113e2 11438-1143f 11442-11444 11446 1145e 1182f-11837 11839-1183a 11938 1193b-1193c 1193e 11943 " +
  "119d4-119d7 119da-119db 119e0 11a01-11a0a 11a33-11a38 11a3b-11a3e 11a47 11a51-11a56 11a59-11a5b 11a8a-11a96 " +
  "11a98-11a99 11b60 11b62-11b64 11b66 11c30-11c36 11c38-11c3d 11c3f 11c92-11ca7 11caa-11cb0 11cb2-11cb3 11cb5-11cb6 " +
  "11d31-11d36 11d3a 11d3c-11d3d 11d3f-11d45 11d47 11d90-11d91 11d95 11d97 11ef3-11ef4 11f00-11f01 11f36-11f3a 11f40 " +
  "11f42 11f5a 13440 13447-13455 1611e-16129 1612d-1612f 16d68-16d6a 16f4f 16fe4 1cf00-1cf2d 1cf30-1cf46 1e000-1e006 " +
  "1e008-1e018 1e01b-1e021 1e023-1e024 1e026-1e02a 1e08f 1e130-1e136 1e2ae 1e2ec-1e2ef 1e4ec-1e4ef 1e5ee-1e5ef 1e6e3 " +
  "1e6e6 1e6ee-1e6ef 1e6f5 1e944-1e94a";
const NEW_PUNCTUATION =
  "61d 9fd a76 c77 c84 1b4e-1b4f 1b7d-1b7f 2e43-2e4f 2e52-2e5d 10d6e 10ead 10ed0 10f55-10f59 10f86-10f89 " +
  "113d4-113d5 113d7-113d8 1144b-1144f 1145a-1145b 1145d 11660-1166c 116b9 1183b 11944-11946 119e2 11a3f-11a46 " +
  "11a9a-11a9c 11a9e-11aa2 11b00-11b09 11be1 11c41-11c45 11c70-11c71 11ef7-11ef8 11f43-11f4f 11fff 12ff1-12ff2 " +
  "16d6d-16d6f 16e97-16e9a 16fe2 1e5ff 1e95e-1e95f";

function without(listed: string, one: string): RegExp {
  const ranges = listed.split(" ").map((range) => range.split("-").map((code) => `\\u{${code}}`).join("-"));
  return new RegExp(`^(?![${ranges.join("")}])${one}$`, "u");
}

const FORMAT = without(NEW_FORMATS, "[\\p{Cc}\\p{Cf}\\p{Co}\\p{Cs}]");
const MARK = without(NEW_MARKS, "[\\p{Mn}\\u1734\\u{1171e}]");
const NEW_MARK = new RegExp(without(NEW_MARKS, ".").source, "u");
const PUNCTUATION = without(NEW_PUNCTUATION, "[!-/:-@\\[-`{-~\\p{P}\\u166d\\u{111c9}]");
const SPACE = /^\p{White_Space}$/u;

export function isSpace(character: string): boolean {
  return SPACE.test(character);
}

export function isPunctuation(character: string): boolean {
  return PUNCTUATION.test(character);
}

/** A character as BertNormalizer's `clean_text` leaves it: a blank, itself, or nothing. */
export function cleaned(character: string): string {
  if (character === "\0" || character === "\ufffd") return "";
  if (character === "\t" || character === "\n" || character === "\r") return " ";
  if (FORMAT.test(character)) return "";
  return SPACE.test(character) ? " " : character;
}

/** Characters that are left of one without its accents. */
export function withoutAccents(character: string): string {
  if (character < "\x80" || !NEW_MARK.test(character)) return character;
  return [...character.normalize("NFD")].filter((one) => !MARK.test(one)).join("");
}

const CHINESE: readonly (readonly [number, number])[] = [
  [0x4e00, 0x9fff], [0x3400, 0x4dbf], [0x20000, 0x2a6df], [0x2a700, 0x2b73f], [0x2b740, 0x2b81f], [0x2b920, 0x2ceaf],
  [0xf900, 0xfaff], [0x2f800, 0x2fa1f],
];

/** Whether BertNormalizer sets a character apart. */
export function isChinese(character: string): boolean {
  const code = character.codePointAt(0)!;
  return CHINESE.some(([first, last]) => code >= first && code <= last);
}
