/** How the card of `sluice qemu` reaches the engine: QEMU's arguments and the engine's end. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sharedMemoryArguments } from "../config/qemu-memory.ts";
import type { LinkSpec } from "../host/engine-options.ts";
import { SocketFile } from "../host/link/socket-file.ts";
import { native } from "../host/native/native.ts";
import { LINK_FD } from "../supervisor/control.ts";

export const NETDEV = "sluice0";
/** QEMU's name for the socket. */
const CHARDEV = `${NETDEV}-socket`;
/** Descriptor of the socket in QEMU, or the first after it that QEMU was not given for something else. */
const QEMU_FD = 3;

export interface QemuCard {
  /** Behind QEMU's own arguments. */
  readonly words: readonly string[];
  readonly link: LinkSpec;
  /** The engine's descriptor; QEMU's, and its number there, if it inherits one. */
  readonly ours: number;
  readonly theirs?: number;
  readonly fd?: number;
  /** Removes what was made in the file system. */
  readonly remove: () => void;
}

/** Frames over a socket pair. `passes`: descriptors that QEMU has already. */
export function socketCard(passes: readonly number[], device: readonly string[]): QemuCard {
  let fd = QEMU_FD;
  while (passes.includes(fd)) fd++;
  const [ours, theirs] = native.socketPair("stream");
  if (ours < 0) throw new Error("no socket pair for QEMU");
  return {
    words: ["-netdev", `socket,id=${NETDEV},fd=${fd}`, ...device],
    link: { kind: "fd", fd: LINK_FD },
    ours,
    theirs,
    fd,
    remove: () => {},
  };
}

/** Rings in the memory of a machine that QEMU's arguments describe. Throws StartError. */
export function sharedCard(words: readonly string[], device: readonly string[]): QemuCard {
  const directory = mkdtempSync(join(tmpdir(), "sluice-qemu-"));
  const path = join(directory, "card.sock");
  // QEMU passes descriptors over a socket that has a path, not over one that it inherits.
  const file = SocketFile.open(path, "stream", "--vhost-user");
  return {
    words: [
      ...sharedMemoryArguments(words),
      ...["-chardev", `socket,id=${CHARDEV},path=${path.replaceAll(",", ",,")}`],
      ...["-netdev", `vhost-user,id=${NETDEV},chardev=${CHARDEV}`, ...device],
    ],
    link: { kind: "vhost-user", path, listener: LINK_FD },
    ours: file.fd,
    remove: () => {
      file.remove();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
