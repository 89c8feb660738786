/** What can be fuzzed: octets in, and an exception when a promise is broken. */

export interface FuzzTarget {
  readonly name: string;
  /** Inputs worth starting from. */
  readonly seeds: () => readonly Uint8Array[];
  /** Pieces of input a mutation may put in. */
  readonly dictionary: readonly Uint8Array[];
  /** Longest input worth trying, octets. */
  readonly lengthMax: number;
  /**
   * Runs one input; throws when something is wrong. State may stay between inputs where setting it up is dear;
   * `reset` brings it back to the start, so that a failure can be told from its history.
   */
  readonly run: (input: Uint8Array) => void;
  readonly reset: () => void;
}

/** Text as a dictionary has it. */
export function words(...texts: readonly string[]): Uint8Array[] {
  return texts.map((text) => new Uint8Array(Buffer.from(text)));
}

export function join(...parts: readonly (Uint8Array | readonly number[])[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts.map((part) => Uint8Array.from(part))));
}
