/** The segment in hand: one per engine, written anew for each. */
import { TcpOptions } from "../../wire/tcp-options.ts";

export class Segment {
  sequence = 0;
  acknowledgment = 0;
  flags = 0;
  /** As on the wire. */
  window = 0;
  /** Where the payload lies; trimmed in place to what is inside the window. */
  payloadAt = 0;
  payloadLength = 0;
  /** Octets or a FIN fell outside the window: the guest is told where it stands. */
  trimmed = false;
  readonly options = new TcpOptions();
}
