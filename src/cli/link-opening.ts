/**
 * What the supervisor opens for the engine: TAPs (which may be in another namespace, and whose clone device a confined
 * engine cannot open) and inherited descriptors. QEMU's sockets the engine opens itself.
 */
import { formatIpv4, formatMac } from "../config/address.ts";
import type { EngineConfig } from "../config/engine-config.ts";
import type { LinkPlan } from "../config/host-plan.ts";
import type { LinkSpec } from "../host/engine-options.ts";
import { type DeviceConfig, type OpenedTap, openTapInNamespace, TAP_QUEUE_LENGTH } from "../host/helper.ts";
import { SocketFile } from "../host/socket-file.ts";
import type { Logger } from "../ports.ts";
import { LINK_FD } from "./control.ts";

export interface OpenedLink {
  /** As the engine process sees it. */
  readonly spec: LinkSpec;
  /** The descriptor to hand over as LINK_FD. */
  readonly fd?: number;
  /** Removes the socket's file. */
  readonly remove?: () => void;
}

/** How the guest's side of a TAP is set up. */
export function deviceConfig(config: EngineConfig): DeviceConfig {
  return {
    address: formatIpv4(config.guestAddress),
    prefixLength: config.prefixLength,
    gateway: formatIpv4(config.gateway),
    mtu: config.mtu,
    ...(config.guestMac ? { mac: formatMac(config.guestMac) } : {}),
  };
}

/** How the engine process gets a TAP that the helper opened. */
export function tapSpec(tap: OpenedTap): LinkSpec {
  return { kind: "tap-fd", fd: LINK_FD, ...(tap.created ? { queueFrames: TAP_QUEUE_LENGTH } : {}) };
}

/** Opens the link as far as that is the supervisor's work. Rejects with a HelperError or a StartError. */
export async function openLink(link: LinkPlan, config: EngineConfig, log: Logger): Promise<OpenedLink> {
  switch (link.kind) {
    case "tap": {
      const tap = await openTapInNamespace({
        name: link.name,
        tunDevice: link.tunDevice,
        vnetHeader: config.offload,
        ...(link.netns === undefined ? {} : { netns: link.netns }),
        ...(link.userns === undefined ? {} : { userns: link.userns }),
        ...(link.configure ? { configure: deviceConfig(config) } : {}),
      });
      for (const note of tap.notes) log.info(note.message);
      return { spec: tapSpec(tap), fd: tap.fd };
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
    default:
      return { spec: link };
  }
}
