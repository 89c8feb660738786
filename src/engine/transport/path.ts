/** The two ends of a flow as the guest sees them, and where its host socket goes. */
import { ADDRESS_PORT, type AddressWords } from "../boundary.ts";

/** IPv4 addresses as int32 in host order. A packet in hand has them, and so has every flow. */
export interface Ends {
  readonly guestAddress: number;
  readonly guestPort: number;
  readonly remoteAddress: number;
  readonly remotePort: number;
}

/**
 * What TCP connections and UDP mappings are made from: a base rather than a member, since an object more would be a tenth
 * of what an idle connection costs.
 */
export class Path implements Ends {
  guestAddress = 0;
  guestPort = 0;
  remoteAddress = 0;
  remotePort = 0;
  /** Where the host socket goes or comes from, as the host sees it: four words, IPv4 as v4-mapped, and the port. */
  target0 = 0;
  target1 = 0;
  target2 = 0;
  target3 = 0;
  targetPort = 0;

  setEnds(ends: Ends): void {
    this.guestAddress = ends.guestAddress;
    this.guestPort = ends.guestPort;
    this.remoteAddress = ends.remoteAddress;
    this.remotePort = ends.remotePort;
  }

  /** Takes the target from entry `index` of a list of addresses. */
  setTarget(list: AddressWords, index = 0): void {
    const at = index * (ADDRESS_PORT + 1);
    this.target0 = list[at];
    this.target1 = list[at + 1];
    this.target2 = list[at + 2];
    this.target3 = list[at + 3];
    this.targetPort = list[at + ADDRESS_PORT];
  }

  setTargetOf(other: Path): void {
    this.target0 = other.target0;
    this.target1 = other.target1;
    this.target2 = other.target2;
    this.target3 = other.target3;
    this.targetPort = other.targetPort;
  }

  copyTarget(to: AddressWords): void {
    to[0] = this.target0;
    to[1] = this.target1;
    to[2] = this.target2;
    to[3] = this.target3;
    to[ADDRESS_PORT] = this.targetPort;
  }
}
