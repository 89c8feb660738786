/**
 * Ports of this host by which programs of sluice's own are steered or looked at (`sluice ui`, `sluice metrics --listen`): the
 * guest is refused there, by whatever way it comes. Asked once per TCP connection, and only while there are some.
 */
import { ADDRESS_PORT, V4_MAPPED } from "../boundary.ts";
import type { GuestForward, OperatorTarget } from "../config.ts";

/** Of one listener. */
export interface ControlPort {
  /** Four words, IPv4 as v4-mapped; all of loopback where it is of that. */
  readonly address: readonly number[];
  readonly port: number;
}

const LOOPBACK_HIGH = 127;

export class ControlPorts {
  constructor(private readonly ports: readonly ControlPort[]) {}

  /** Whether a guest forward leads to one. */
  isService({ target }: GuestForward): boolean {
    if (target.kind !== "tcp") return false;
    const { host, host6 = [0, 0, V4_MAPPED, host], port } = target;
    return this.has([...host6, port]);
  }

  /** Whether the target of a rule's `to` or `via` is one. */
  isOperators(target: OperatorTarget): boolean {
    return target.kind === "tcp" && this.has([...target.words, target.port]);
  }

  /** Whether `to` is one. */
  has(to: ArrayLike<number>): boolean {
    for (const { address, port } of this.ports) {
      if (port !== to[ADDRESS_PORT]) continue;
      if (address.every((word, i) => word === to[i]) || (isLoopback(address) && isLoopback(to))) return true;
    }
    return false;
  }
}

function isLoopback(words: ArrayLike<number>): boolean {
  if ((words[0] | words[1]) !== 0) return false;
  if (words[2] === V4_MAPPED) return words[3] >>> 24 === LOOPBACK_HIGH;
  return words[2] === 0 && words[3] === 1;
}
