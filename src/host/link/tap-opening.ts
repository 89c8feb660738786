/** A TAP by name, wherever it is, opened by the helper and ready to be an engine's link. */
import { formatMac } from "../../config/address.ts";
import type { TapLinkPlan } from "../../config/host-plan.ts";
import type { Logger } from "../../engine/boundary.ts";
import type { EngineConfig } from "../../engine/config.ts";
import { formatIpv4 } from "../../engine/wire/address-text.ts";
import type { LinkSpec } from "../engine-options.ts";
import {
  type DeviceConfig,
  type OpenedTap,
  openTapInNamespace,
  TAP_QUEUE_LENGTH,
} from "../process/namespace-tap.ts";

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

/** Opens the TAP of a plan. Rejects with a HelperError. */
export async function openTapOf(link: TapLinkPlan, config: EngineConfig, log: Logger): Promise<OpenedTap> {
  const tap = await openTapInNamespace({
    name: link.name,
    tunDevice: link.tunDevice,
    vnetHeader: config.offload,
    ...(link.netns === undefined ? {} : { netns: link.netns }),
    ...(link.userns === undefined ? {} : { userns: link.userns }),
    ...(link.opened === undefined ? {} : { opened: link.opened }),
    ...(link.configure ? { configure: deviceConfig(config) } : {}),
  });
  for (const note of tap.notes) log.info(note.message);
  return tap;
}

/** The link of a process that has the TAP as descriptor `fd`. */
export function tapSpec(tap: OpenedTap, fd: number): LinkSpec {
  return { kind: "tap-fd", fd, ...(tap.created ? { queueFrames: TAP_QUEUE_LENGTH } : {}) };
}
