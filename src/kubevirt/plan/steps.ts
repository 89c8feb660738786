/**
 * The single changes that `up` makes, as data: each is one call to the kernel or one process started, so that each
 * can fail alone, be undone alone, and be shown to a person before it happens.
 */

import type { VmPort } from "../spec/vm-model.ts";
import type { DhcpOffer, InterfaceAddress, InterfaceRoute } from "./delegation.ts";

export type Step =
  /** Not a change: the device plugin's interface may arrive late. */
  | { readonly do: "wait-for-device"; readonly device: string; readonly seconds: number }
  | { readonly do: "create-bridge"; readonly device: string; readonly mtu: number; readonly mac: string }
  /** The bridge takes no address of its own from router advertisements. */
  | { readonly do: "disable-ipv6"; readonly device: string }
  /** An address for the bridge itself, to serve DHCP from. */
  | { readonly do: "add-server-address"; readonly device: string; readonly address: string }
  | { readonly do: "enslave"; readonly device: string; readonly bridge: string }
  | { readonly do: "learning-off"; readonly device: string }
  /** Removes every IPv4 address, and with them the routes. */
  | {
      readonly do: "remove-addresses";
      readonly device: string;
      readonly addresses: readonly InterfaceAddress[];
    }
  | { readonly do: "set-mac"; readonly device: string; readonly from: string; readonly to: string }
  | { readonly do: "move-address"; readonly device: string; readonly address: InterfaceAddress }
  | { readonly do: "move-route"; readonly device: string; readonly route: InterfaceRoute }
  /** The bridge forgets that the MAC is its own port's, and learns that it is the guest's. */
  | { readonly do: "yield-mac"; readonly device: string; readonly mac: string }
  | {
      readonly do: "create-tap";
      readonly device: string;
      /** Of the TAP itself, which is not the guest's. */
      readonly mac?: string;
      readonly owner?: { readonly uid: number; readonly gid: number };
    }
  | { readonly do: "set-mtu"; readonly device: string; readonly mtu: number }
  | { readonly do: "bring-up"; readonly device: string }
  | { readonly do: "serve-dhcp"; readonly nic: string; readonly device: string; readonly offer: DhcpOffer }
  | {
      readonly do: "start-engine";
      readonly nic: string;
      readonly socket: string;
      readonly ports: readonly VmPort[];
      /** Arguments of `sluice`. */
      readonly argv: readonly string[];
    };

/** The step in words, for `plan` and for error messages. */
export function describeStep(step: Step): string {
  switch (step.do) {
    case "wait-for-device":
      return `wait up to ${step.seconds} s for ${step.device} (its device plugin moves it into the pod)`;
    case "create-bridge":
      return `create bridge ${step.device} (MTU ${step.mtu}, MAC ${step.mac}, no STP)`;
    case "disable-ipv6":
      return `keep ${step.device} itself without IPv6 (frames of the guest still cross it)`;
    case "add-server-address":
      return `give ${step.device} the address ${step.address} to serve DHCP from`;
    case "enslave":
      return `make ${step.device} a port of ${step.bridge}`;
    case "learning-off":
      return `turn MAC learning off on port ${step.device}`;
    case "remove-addresses":
      return `remove ${step.addresses.map(formatAddress).join(", ")} and its routes from ${step.device}`;
    case "set-mac":
      return `change the MAC of ${step.device} from ${step.from} to ${step.to}`;
    case "move-address":
      return `give ${formatAddress(step.address)} to ${step.device}, so that the pod keeps it`;
    case "move-route":
      return `route ${formatRoute(step.route)} over ${step.device}`;
    case "yield-mac":
      return `leave the MAC ${step.mac} of port ${step.device} to the guest`;
    case "create-tap":
      return `create TAP ${step.device}${step.owner === undefined ? "" : ` for user ${step.owner.uid}`}`;
    case "set-mtu":
      return `set the MTU of ${step.device} to ${step.mtu}`;
    case "bring-up":
      return `bring ${step.device} up`;
    case "serve-dhcp":
      return `serve DHCP on ${step.device} to ${step.offer.mac} alone: ${step.offer.address}/${step.offer.prefixLength}`;
    case "start-engine":
      return `start an engine for QEMU on ${step.socket}`;
  }
}

export function formatAddress({ address, prefixLength }: InterfaceAddress): string {
  return `${address}/${prefixLength}`;
}

export function formatRoute(route: { readonly destination: string; readonly gateway?: string }): string {
  const destination = route.destination === "0.0.0.0/0" ? "default" : route.destination;
  return route.gateway === undefined ? `${destination} on-link` : `${destination} via ${route.gateway}`;
}
