/** What server and client agree on for one transfer: options asked for, and what is answered (RFC 2347 to 2349, 7440). */
import {
  BLOCK_OCTETS_DEFAULT,
  BLOCK_OCTETS_MAX,
  BLOCK_OCTETS_MIN,
  type TftpRequest,
} from "../../wire/tftp.ts";

/** Blocks sent before an acknowledgment has to come; more than that gains nothing on a link this short. */
const WINDOW_BLOCKS_MAX = 64;
const WINDOW_BLOCKS_ASKED_MAX = 65_535;
const TIMEOUT_SECONDS_MAX = 255;

export interface Agreement {
  readonly blockOctets: number;
  readonly windowBlocks: number;
  /** Between retransmissions; 0: the server's own. */
  readonly timeoutMs: number;
  /** What the client is told of its options; empty where it asked for none that counts. */
  readonly answered: readonly (readonly [name: string, value: string])[];
}

/** A whole number within bounds, or -1: an option with another value is one the server does not know (RFC 2347). */
function wholeNumber(text: string | undefined, min: number, max: number): number {
  if (text === undefined || !/^\d{1,10}$/.test(text)) return -1;
  const value = Number(text);
  return value >= min && value <= max ? value : -1;
}

/**
 * `blockMost`: the largest block that is no fragment, octets. `fileOctets`: what the client will get, or -1 where that is
 * not known before (netascii): then blocks are sent one by one too, since none can be found again in the file.
 */
export function agree({ options }: TftpRequest, blockMost: number, fileOctets: number): Agreement {
  const answered: [string, string][] = [];
  const take = (name: string, min: number, max: number, most: number): number => {
    const asked = wholeNumber(options.get(name), min, max);
    if (asked < 0) return -1;
    const value = Math.min(asked, most);
    answered.push([name, String(value)]);
    return value;
  };
  const blockOctets = take("blksize", BLOCK_OCTETS_MIN, BLOCK_OCTETS_MAX, blockMost);
  const seconds = take("timeout", 1, TIMEOUT_SECONDS_MAX, TIMEOUT_SECONDS_MAX);
  let windowBlocks = -1;
  if (fileOctets >= 0) {
    if (wholeNumber(options.get("tsize"), 0, 0) === 0) answered.push(["tsize", String(fileOctets)]);
    windowBlocks = take("windowsize", 1, WINDOW_BLOCKS_ASKED_MAX, WINDOW_BLOCKS_MAX);
  }
  return {
    blockOctets: blockOctets < 0 ? BLOCK_OCTETS_DEFAULT : blockOctets,
    windowBlocks: Math.max(windowBlocks, 1),
    timeoutMs: Math.max(seconds, 0) * 1000,
    answered,
  };
}

/**
 * The names of a path below the folder, or null for one that leads out of it. `/` in front is the folder: clients put it
 * there. Windows' boot manager writes `\`.
 */
export function namesOf(path: string): string[] | null {
  const names = path.split(/[/\\]/).filter((name) => name !== "" && name !== ".");
  return names.includes("..") ? null : names;
}
