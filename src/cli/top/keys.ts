/** Keys out of what a terminal in raw mode sends (ECMA-48, xterm's control sequences). */

const NAMED: Readonly<Record<string, string>> = {
  "\x1b[A": "up",
  "\x1bOA": "up",
  "\x1b[B": "down",
  "\x1bOB": "down",
  "\x1b[5~": "page-up",
  "\x1b[6~": "page-down",
  "\x1b[H": "home",
  "\x1bOH": "home",
  "\x1b[1~": "home",
  "\x1b[F": "end",
  "\x1bOF": "end",
  "\x1b[4~": "end",
  "\r": "enter",
  "\n": "enter",
  "\x1b": "escape",
  "\x7f": "backspace",
  "\b": "backspace",
  "\x03": "quit",
  "\x04": "quit",
};

const ESCAPE = "\x1b";

/** Names of keys, characters as they are. What is no key that has a meaning here is left out. */
export function keysOf(text: string): string[] {
  const keys: string[] = [];
  for (let at = 0; at < text.length; ) {
    const one = text.slice(at, at + lengthAt(text, at));
    at += one.length;
    const name = NAMED[one];
    if (name !== undefined) keys.push(name);
    else if (/^[\x20-\x7e]$/.test(one)) keys.push(one);
  }
  return keys;
}

/** Characters of the control sequence that begins at `at` (ECMA-48 section 5.4); 1 for a character or a bare escape. */
function lengthAt(text: string, at: number): number {
  if (text[at] !== ESCAPE) return 1;
  if (text[at + 1] === "O") return Math.min(3, text.length - at);
  if (text[at + 1] !== "[") return 1;
  let end = at + 2;
  // Parameters and intermediates lie below the final character.
  while (end < text.length && text.charCodeAt(end) >= 0x20 && text.charCodeAt(end) < 0x40) end++;
  return Math.min(end + 1, text.length) - at;
}
