/**
 * What the supervisor opens for the engine: TAPs (which may be in another namespace, and whose clone device a confined
 * engine cannot open), listening Unix sockets, and inherited descriptors. The rest the engine opens itself.
 */

import type { LinkPlan } from "../config/host-plan.ts";
import type { Logger } from "../engine/boundary.ts";
import type { EngineConfig } from "../engine/config.ts";
import type { LinkSpec } from "../host/engine-options.ts";
import { SocketFile } from "../host/link/socket-file.ts";
import { openTapOf, tapSpec } from "../host/link/tap-opening.ts";
import { LINK_FD } from "./control.ts";

export interface LinkHandover {
  /** As the engine process sees it. */
  readonly spec: LinkSpec;
  /** The descriptor to hand over as LINK_FD. */
  readonly fd?: number;
  /** Removes the socket's file. */
  readonly remove?: () => void;
}

/** Opens the link as far as that is the supervisor's work. Rejects with a HelperError or a StartError. */
export async function openLink(link: LinkPlan, config: EngineConfig, log: Logger): Promise<LinkHandover> {
  switch (link.kind) {
    case "tap": {
      const tap = await openTapOf(link, config, log);
      return { spec: tapSpec(tap, LINK_FD), fd: tap.fd };
    }
    case "tap-fd":
      return { spec: { kind: "tap-fd", fd: LINK_FD }, fd: link.fd };
    case "fd":
      return { spec: { kind: "fd", fd: LINK_FD }, fd: link.fd };
    case "qemu-listen": {
      if (link.address.kind === "tcp") return { spec: link };
      const file = SocketFile.open(link.address.path, "stream", `--qemu-listen unix:${link.address.path}`);
      return { spec: { ...link, listener: LINK_FD }, fd: file.fd, remove: () => file.remove() };
    }
    case "vhost-user": {
      const file = SocketFile.open(link.path, "stream", `--vhost-user unix:${link.path}`);
      return { spec: { ...link, listener: LINK_FD }, fd: file.fd, remove: () => file.remove() };
    }
    default:
      return { spec: link };
  }
}
