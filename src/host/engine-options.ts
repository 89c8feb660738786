/** What `startEngine` is told and what it gives back. Plain data: `cli/` and library users make it. */

import type { DatagramAddresses, StreamAddress } from "../config/host-plan.ts";
import type { FrameLink, Logger } from "../engine/boundary.ts";
import type { EngineConfig, Ipv6Words } from "../engine/config.ts";
import type { QuestionEnd, QuestionRow } from "../engine/policy/questions.ts";
import type { ResolvConfSource } from "./resolv-conf.ts";

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
  /** A front-end of vhost-user connects to us. `listener` as above. */
  | { readonly kind: "vhost-user"; readonly path: string; readonly listener?: number }
  /** `-netdev dgram` or `-netdev socket,udp=`. */
  | { readonly kind: "qemu-dgram"; readonly addresses: DatagramAddresses }
  /** A connected socket, stream (QEMU framing) or datagram (one frame each), or an open TAP: the fd tells which. */
  | { readonly kind: "fd"; readonly fd: number };

/** Which ports of the host the guest's UDP mappings have. */
export interface UdpPorts {
  /** The guest's own port where it can be had. Else, and by default, an ephemeral port of the same parity. */
  readonly preserve: boolean;
  /** Mappings that may have an ephemeral port at a time; the rest of the range is left to the host's programs. */
  readonly ephemeralMax: number;
}

/** What the guest's traffic leaves the host by: source addresses, an interface, or both; UDP's ports. */
export interface OutboundOptions {
  /** IPv4, int32; null: nothing leaves over IPv4. */
  readonly address?: number | null;
  /** The same of IPv6, four words. */
  readonly address6?: Ipv6Words | null;
  readonly device?: string;
  /** Whether the device has an IPv4 address: what counts where nobody chose one. */
  readonly deviceHasIpv4?: boolean;
  readonly udpPorts?: UdpPorts;
}

export interface EngineHostOptions {
  readonly config: EngineConfig;
  readonly link: LinkSpec;
  readonly log: Logger;
  /** Writes every frame of the link, both ways, to this pcap file (a path, or a descriptor open for writing). */
  readonly pcap?: string | number;
  /** In pcapng, with what sluice knows of each frame. */
  readonly pcapng?: boolean;
  /** Absolute path of the folder that TFTP serves, to read. */
  readonly tftp?: string;
  /**
   * Where the host's resolvers are read, and re-read when they change. Used only when `config.resolvers` is empty
   * and `config.dns` is not 0. `/etc/resolv.conf` by default.
   */
  readonly resolvConf?: ResolvConfSource;
  readonly outbound?: OutboundOptions;
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
  /** Remember lately dropped frames, failed flows and DNS questions for who asks for records later. */
  readonly records?: boolean;
  /** The guest's link came up (TAP opened, QEMU connected) or went down. */
  readonly onLink?: (up: boolean, name: string) => void;
  /** A policy asks; `EngineCore.answerQuestion` answers. */
  readonly onQuestion?: (question: QuestionRow) => void;
  /** A program decides about questions before people do: it need not answer this one any more. */
  readonly onQuestionOver?: (id: number, end: QuestionEnd) => void;
}

/** Why an engine ended. */
export interface EngineEnd {
  /** `stopped` by the program; the link was lost; the guest left, with `oneOff`. */
  readonly reason: "stopped" | "link-lost" | "guest-left";
  /** For people: what happened. */
  readonly message: string;
}

/** A link that the host can wait on. */
export interface HostLink extends FrameLink {
  /** What epoll watches, or -1 for a link driven by time (a replayed capture). */
  readonly fd: number;
  /**
   * Of a link in shared memory: an eventfd that tells of room for frames. `fd` is then one that tells of frames; neither is
   * ever read, each kick is an event.
   */
  readonly roomFd?: number;
  /** The link is full and wants a writable event. */
  readonly wantsWritable: boolean;
  /** Why the link closed, as a sentence; empty while it is open. */
  readonly failure: string;
  /** A writable event came: sends what the link itself still owes. The core hears of the event afterwards. */
  resume(): void;
}
