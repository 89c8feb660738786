/** A TAP by name, wherever it is, opened by the helper and ready to be an engine's link. */
import { formatMac } from "../../config/address.ts";
import type { LinkPlan, TapLinkPlan } from "../../config/host-plan.ts";
import type { Logger } from "../../engine/boundary.ts";
import { type EngineConfig, type Ipv6Config, type Ipv6Words, ipv6OnLink } from "../../engine/config.ts";
import { formatIpv4, formatIpv6 } from "../../engine/wire/address-text.ts";
import type { LinkSpec } from "../engine-options.ts";
import {
  type DeviceConfig,
  type OpenedTap,
  openTapInNamespace,
  TAP_QUEUE_LENGTH,
} from "../process/namespace-tap.ts";

const PREFIX_LENGTH6 = 64;

/** How the guest's side of a TAP is set up. The IPv6 default route comes and goes with router advertisements. */
export function deviceConfig(config: EngineConfig): DeviceConfig {
  const ipv6 = ipv6OnLink(config);
  const address6 = ipv6 && guestAddress6(ipv6);
  return {
    ...(config.ipv4
      ? {
          address: formatIpv4(config.guestAddress),
          prefixLength: config.prefixLength,
          gateway: formatIpv4(config.gateway),
        }
      : {}),
    ...(address6 === null ? {} : { address6: formatIpv6(address6), prefixLength6: PREFIX_LENGTH6 }),
    ...(ipv6?.fixedGateway ? { gateway6: formatIpv6(ipv6.fixedGateway) } : {}),
    mtu: config.mtu,
    ...(config.guestMac ? { mac: formatMac(config.guestMac) } : {}),
  };
}

/** The engine's part in that: forwards go to the IPv6 address that the device has. */
export function forConfiguredDevice(config: EngineConfig): EngineConfig {
  const { ipv6 } = config;
  return ipv6 === null ? config : { ...config, ipv6: { ...ipv6, guestAddress: guestAddress6(ipv6) } };
}

/** The same for a link that may be such a device. */
export function forLink(config: EngineConfig, link: LinkPlan | undefined): EngineConfig {
  return link?.kind === "tap" && link.configure ? forConfiguredDevice(config) : config;
}

/** The guest's own IPv6 address, or the first that would be leased. */
function guestAddress6({ guestAddress, dhcp }: Ipv6Config): Ipv6Words | null {
  return guestAddress ?? dhcp?.rangeStart ?? null;
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
