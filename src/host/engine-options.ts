/** What `startEngine` is told and what it gives back. Plain data: `cli/` and library users make it. */

import type { EngineCore } from "../engine/api.ts";
import type { FrameLink, Logger } from "../engine/boundary.ts";
import type { EngineConfig } from "../engine/config.ts";

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

/** The guest's side. */
export type LinkSpec =
  /** A TAP by name in this network namespace; created if it does not exist. `device` is /dev/net/tun's stand-in. */
  | { readonly kind: "tap"; readonly name: string; readonly device?: string }
  /** An open TAP (from the helper or inherited), in whatever namespace. Whether it has a vnet header is asked. */
  | {
      readonly kind: "tap-fd";
      readonly fd: number;
      /** The device's transmit queue length where the opener set it; 1000 (the kernel's default) otherwise. */
      readonly queueFrames?: number;
    }
  /** QEMU connects to us: `-netdev stream,server=off` or `-netdev socket,connect=`. Serves one guest at a time. */
  | {
      readonly kind: "qemu-listen";
      readonly address: StreamAddress;
      /** A socket that listens on the (Unix) address already; whoever bound it unlinks it. */
      readonly listener?: number;
    }
  /** We connect to QEMU: `-netdev stream,server=on` or `-netdev socket,listen=`; tries again when it goes away. */
  | { readonly kind: "qemu-connect"; readonly address: StreamAddress }
  /** `-netdev dgram` or `-netdev socket,udp=`. */
  | { readonly kind: "qemu-dgram"; readonly addresses: DatagramAddresses }
  /** A connected socket, stream (QEMU framing) or datagram (one frame each), or an open TAP: the fd tells which. */
  | { readonly kind: "fd"; readonly fd: number };

export interface EngineOptions {
  readonly config: EngineConfig;
  readonly link: LinkSpec;
  readonly log: Logger;
  /** Writes every frame of the link, both ways, to this pcap file (a path, or a descriptor open for writing). */
  readonly pcap?: string | number;
  /**
   * Where the host's resolvers are read, and re-read when they change. Used only when `config.resolvers` is empty
   * and `config.dns` is not 0. `/etc/resolv.conf` by default.
   */
  readonly resolvConf?: string;
  /** What the guest's traffic leaves the host by: an IPv4 source address (int32), an interface, or both. */
  readonly outbound?: { readonly address?: number; readonly device?: string };
  /** End when the guest disconnects instead of waiting for the next one. */
  readonly oneOff?: boolean;
  /**
   * Wait for the next event up to 1 ms before going back to Node's loop: less latency, for a process that does
   * nothing else. Off by default.
   */
  readonly dedicated?: boolean;
  /**
   * Starts a guest-forward's command with a connected socket as its standard input and output and returns our end
   * (a descriptor or -errno). By default `/bin/sh -c` as a child of this process.
   */
  readonly spawnCommand?: (command: string) => number;
  /** The guest's link came up (TAP opened, QEMU connected) or went down. */
  readonly onLink?: (up: boolean, name: string) => void;
}

/** Why an engine ended. */
export interface EngineEnd {
  readonly reason: "stopped" | "link-lost" | "guest-left";
  /** For people: what happened. */
  readonly message: string;
}

/** An engine that is serving. */
export interface RunningEngine {
  readonly core: EngineCore;
  /** Name of the link, such as `tap sluice0` or `qemu-listen unix:/run/x.sock`. */
  readonly linkName: string;
  /** TCP port a `qemu-listen` link listens on, or 0. */
  readonly listenPort: number;
  /** Host ports of the configuration's forwards, in its order; those declared as 0 got a free one. */
  readonly forwardPorts: readonly number[];
  /** Whether a guest is attached now. */
  readonly linked: boolean;
  /** Milliseconds of the engine's clock, for `core.flows(now)`. */
  nowMs(): number;
  /** Resets the guest's connections, closes everything it opened and removes the socket files it made. Idempotent. */
  stop(): Promise<void>;
  /** Settles once, when the engine has stopped serving and everything is closed. Never rejects. */
  readonly ended: Promise<EngineEnd>;
}

/** A link that the host can wait on. */
export interface HostLink extends FrameLink {
  /** What epoll watches, or -1 for a link driven by time (a replayed capture). */
  readonly fd: number;
  /** The link is full and wants a writable event. */
  readonly wantsWritable: boolean;
  /** Why the link closed, as a sentence; empty while it is open. */
  readonly failure: string;
  /** A writable event came: sends what the link itself still owes. The core hears of the event afterwards. */
  resume(): void;
}
