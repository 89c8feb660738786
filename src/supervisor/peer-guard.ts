/**
 * Who may not use the control API although the socket's file lets them: whoever is in the guest's network. A command of
 * `sluice exec`, or a container without a user of its own, shares files and user with who started it; what tells them apart is
 * the network namespace they connect from.
 */
import { readlinkSync } from "node:fs";
import type { Socket } from "node:net";
import { SO_PEERCRED, SOL_SOCKET } from "../host/native/linux.ts";
import { native } from "../host/native/native.ts";

/** A socket of Node's, whose descriptor Node has no public name for. */
interface WithHandle {
  readonly _handle?: { readonly fd?: number } | null;
}

/** The process that connected, as this process's namespace numbers it (unix(7)); 0 when it has none there. */
function peerProcess(socket: Socket): number {
  const fd = (socket as WithHandle)._handle?.fd ?? -1;
  // The first member of struct ucred is the process; so many octets are asked for.
  return fd < 0 ? 0 : Math.max(0, native.getOption(fd, SOL_SOCKET, SO_PEERCRED));
}

function namespaceOf(process: number | "self"): string | undefined {
  try {
    return readlinkSync(`/proc/${process}/ns/net`);
  } catch {
    return undefined;
  }
}

/** Why whoever is at the other end is refused; undefined lets it in. `engine`: the process that connects for the guest. */
export function refusalOf(socket: Socket, engine: number): string | undefined {
  const peer = peerProcess(socket);
  if (peer === engine) return "from the guest, by the engine";
  const theirs = peer === 0 ? undefined : namespaceOf(peer);
  if (theirs === undefined) return "who asks cannot be seen from here, or is gone";
  return theirs === namespaceOf("self") ? undefined : "from inside the guest's namespace";
}
