/** Times as ISO 8601 in UTC with milliseconds; those of one second share all but the last three digits. */
const SECOND_MS = 1000;
/** `512Z`. */
const FRACTION_OCTETS = 4;

export class Instants {
  private second = Number.NaN;
  private text = "";

  /** Milliseconds since the epoch, whole, as text. */
  of(ms: number): string {
    const second = Math.floor(ms / SECOND_MS);
    if (second !== this.second) {
      this.second = second;
      this.text = new Date(second * SECOND_MS).toISOString().slice(0, -FRACTION_OCTETS);
    }
    const fraction = ms - second * SECOND_MS;
    return `${this.text}${fraction < 100 ? (fraction < 10 ? "00" : "0") : ""}${fraction}Z`;
  }
}
