/**
 * Text that a guest may have chosen, for terminals: whatever is not printable ASCII becomes an escape, so that no octet of
 * the guest moves a cursor, sets a title or turns a line around.
 */

const OTHERS = /[^\x20-\x7e]/gu;

/** `a\x1b[2Jb` for what would clear a screen; code points beyond two digits as `\u{...}`. */
export function printable(text: string): string {
  return text.replace(OTHERS, (character) => {
    const point = character.codePointAt(0) ?? 0;
    const digits = point.toString(16);
    return point <= 0xff ? `\\x${digits.padStart(2, "0")}` : `\\u{${digits}}`;
  });
}
