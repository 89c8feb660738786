/**
 * What the host side is told at start, beside `EngineConfig`: which link, which resolvers, which files and
 * descriptors. Plain data that survives JSON.
 */
import type { Forward, Ipv6Words } from "../engine/config.ts";

/** Where a stream link listens or connects. `host` is an IPv4 or IPv6 literal; port 0 listens on a free one. */
export type StreamAddress =
  | { readonly kind: "unix"; readonly path: string }
  | { readonly kind: "tcp"; readonly host: string; readonly port: number };

/** The two ends of a datagram link: ours is bound, the other may appear later and may come and go. */
export type DatagramAddresses =
  | { readonly kind: "unix"; readonly local: string; readonly remote: string }
  | {
      readonly kind: "udp";
      readonly local: { readonly host: string; readonly port: number };
      readonly remote: { readonly host: string; readonly port: number };
    };

/** A TAP device by name, here or in another network namespace. */
export interface TapLinkPlan {
  readonly kind: "tap";
  readonly name: string;
  /** The network namespace the TAP lives in, by path or by a process in it; absent: this one. */
  readonly netns?: string | number;
  /** Path of the user namespace to enter first; absent: the network namespace's own, where that is needed. */
  readonly userns?: string;
  /** Set the guest's address, route and MTU on the device and bring it up. */
  readonly configure: boolean;
  /** The clone device to open. */
  readonly tunDevice: string;
  /** It is open already, with a vnet header, made for this: its descriptor. */
  readonly opened?: number;
}

export type LinkPlan =
  | TapLinkPlan
  /** An open TAP descriptor. */
  | { readonly kind: "tap-fd"; readonly fd: number }
  /** An open socket that carries QEMU's framing: a connected stream, or datagrams of one frame each. */
  | { readonly kind: "fd"; readonly fd: number }
  | { readonly kind: "qemu-listen"; readonly address: StreamAddress }
  | { readonly kind: "qemu-connect"; readonly address: StreamAddress }
  | { readonly kind: "qemu-dgram"; readonly addresses: DatagramAddresses }
  /** A Unix socket that a front-end of vhost-user connects to. */
  | { readonly kind: "vhost-user"; readonly path: string };

export type LogLevel = "error" | "warn" | "info" | "debug";

export interface LogPlan {
  readonly level: LogLevel;
  readonly format: "text" | "json";
  /** Append here instead of standard error. */
  readonly file?: string;
}

/** Where outbound sockets are bound: an address, or the addresses of an interface when the engine starts. */
export type Outbound =
  | { readonly kind: "address"; readonly address: number }
  | { readonly kind: "address6"; readonly address: Ipv6Words }
  | { readonly kind: "interface"; readonly name: string };

/** Which ports of the host UDP mappings have: the guest's own where they can be had, or ephemeral ones. */
export type UdpPortPolicy = "ephemeral" | "preserve";

/** Where the control API listens. */
export interface ControlPlan {
  /** Of the instance; its process id by default. */
  readonly name?: string;
  /** The socket's path, or null for no API; by default one in the user's run directory, if there is one. */
  readonly path?: string | null;
  /** Ports that may be forwarded at a time. */
  readonly maxForwards: number;
}

/** `all` has the beginnings of flows, too. */
export const FLOW_LOG_LEVELS = ["ends", "all"] as const;
export type FlowLogLevel = (typeof FLOW_LOG_LEVELS)[number];
export type FlowLogTarget = { readonly path: string } | { readonly fd: number };

/** Where the flow log goes, and what is in it. */
export interface FlowLogPlan {
  readonly target: FlowLogTarget;
  readonly level: FlowLogLevel;
}

/** What is not the core's business and not the link's. */
export interface HostPlan {
  /** `system`: the host's resolv.conf, followed as it changes; `listed`: those of EngineConfig; `none`. */
  readonly resolvers: "system" | "listed" | "none";
  /** An interface, or an address of each family at most. */
  readonly outbound?: readonly Outbound[];
  /** Interface that outbound sockets are bound to. */
  readonly outboundDevice?: string;
  readonly udpPorts: UdpPortPolicy;
  readonly pcap?: string;
  /** The folder that TFTP serves, as given. */
  readonly tftp?: string;
  readonly log: LogPlan;
  readonly readyFd?: number;
  readonly exitFd?: number;
  readonly oneOff: boolean;
  /** Serve in a process of its own, apart from the caller's session and streams. */
  readonly background: boolean;
  /** Keep serving when the parent process ends. */
  readonly outliveParent: boolean;
  readonly pidFile?: string;
  /** Become this user (name or `UID[:GID]`) when started as root. */
  readonly user?: string;
  readonly control: ControlPlan;
  readonly flowLog?: FlowLogPlan;
  /** The module of the program that decides, as given. */
  readonly decide?: string;
  /** Forwards that are there while somebody in the guest's namespace listens on their ports. */
  readonly listening: readonly Forward[];
  /** Confine the engine process. */
  readonly sandbox: boolean;
}
