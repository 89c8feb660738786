/** Which frames a capture is about. */
import type { FrameEnds } from "../../engine/wire/frame-ends.ts";
import { type CaptureMatch, type CaptureSpec, matchOfAddress } from "./capture-spec.ts";

const WORDS = 4;
/** Addresses that a name may add. */
const MATCHES_MAX = 256;

export class CaptureFilter {
  private readonly matches: CaptureMatch[];
  private readonly takesAll: boolean;

  constructor(private readonly spec: CaptureSpec) {
    this.matches = [...spec.matches];
    this.takesAll = spec.matches.length === 0 && spec.name === undefined;
  }

  holds(ends: FrameEnds): boolean {
    if (this.takesAll) return true;
    if (ends.protocol < 0) return false;
    for (const match of this.matches) if (fits(match, ends)) return true;
    return false;
  }

  /** `name` was answered with the address in four words. */
  named(name: string, words: readonly number[]): void {
    const { name: wanted } = this.spec;
    if (wanted?.name !== name || this.matches.length >= MATCHES_MAX) return;
    if (this.matches.some(({ remote }) => remote?.every((word, i) => word === words[i]))) return;
    this.matches.push(matchOfAddress(words, wanted.port));
  }
}

function isAt(ends: FrameEnds, from: number, address: readonly number[] | null): boolean {
  if (address === null) return true;
  for (let i = 0; i < WORDS; i++) if (ends.words[from + i] !== address[i]) return false;
  return true;
}

/** A port that cannot be read, as of a later fragment, is none that would not fit. */
function isPort(port: number, wanted: number): boolean {
  return wanted === 0 || port === wanted || port < 0;
}

function fits(match: CaptureMatch, ends: FrameEnds): boolean {
  const { protocol, guest, guestPort, remote, remotePort, eitherEnd } = match;
  if (protocol !== 0 && protocol !== ends.protocol) return false;
  if (!isAt(ends, 0, guest) || !isPort(ends.guestPort, guestPort)) return false;
  if (isAt(ends, WORDS, remote) && isPort(ends.remotePort, remotePort)) return true;
  return eitherEnd && isAt(ends, 0, remote) && isPort(ends.guestPort, remotePort);
}
