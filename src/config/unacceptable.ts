/** One value that is wrong. In a file of its own because the engine process parses resolvers and nothing else. */

/** Thrown by a parser of one value; the collector adds the place. */
export class Unacceptable extends Error {
  override readonly name = "Unacceptable";
  readonly allowed: string;
  /** The part of the value that is wrong, when it is not the whole. */
  readonly found: string | undefined;

  constructor(allowed: string, found?: string) {
    super(allowed);
    this.allowed = allowed;
    this.found = found;
  }
}
