/**
 * A TAP in another network namespace, opened there (made if need be), configured if asked, and usable from here: the
 * engine stays in the host's namespace.
 */
import { native } from "../native/native.ts";
import { describeErrno } from "../start-error.ts";
import { FIRST_CHANNEL, HelperError, type HelperNote, runHelper } from "./helper.ts";

/** A process id, or the path of a namespace file such as /run/netns/NAME. */
export type NamespaceTarget = string | number;

/** How a TAP is set up on the guest's side of it. */
export interface DeviceConfig {
  /** Dotted IPv4 address of the guest; without one the device is only brought up, for a DHCP client to set up. */
  readonly address?: string;
  readonly prefixLength?: number;
  /** Dotted IPv4 address the default route goes by; one outside the subnet is taken to be on the link. */
  readonly gateway?: string;
  /**
   * IPv6 address of the guest, usable at once (no duplicate address detection) and its only one (none is made of router
   * advertisements). A kernel or namespace without IPv6 is noted as `no-ipv6`.
   */
  readonly address6?: string;
  readonly prefixLength6?: number;
  /** IPv6 address the default route goes by, of the prefix or link-local; by default what router advertisements say. */
  readonly gateway6?: string;
  readonly mtu?: number;
  /** `52:54:00:12:34:56`; by default the kernel chooses. */
  readonly mac?: string;
}

export interface TapRequest {
  /** At most 15 octets. */
  readonly name: string;
  /** Network namespace; by default this one. Its user namespace is found and entered where that is needed. */
  readonly netns?: NamespaceTarget;
  /** User namespace to enter before it, where the owner of the network namespace is not the one wanted. */
  readonly userns?: NamespaceTarget;
  /** Sets address, route, MTU and MAC, and brings the device up. */
  readonly configure?: DeviceConfig;
  /** Ask for a vnet header (offload); true by default. */
  readonly vnetHeader?: boolean;
  /** Stand-in for /dev/net/tun. */
  readonly tunDevice?: string;
  /** It was made already, with a vnet header, and this is its descriptor: what is left is to set it up. */
  readonly opened?: number;
}

export interface OpenedTap {
  /** Close-on-exec and non-blocking. */
  readonly fd: number;
  readonly vnetHeader: boolean;
  /** Whether it was made now; then it vanishes with its last descriptor. */
  readonly created: boolean;
  readonly notes: readonly HelperNote[];
}

/** Packets a TAP we made can queue: enough for the windows the engine advertises. */
export const TAP_QUEUE_LENGTH = 10_000;

/** The options of the helper that open a TAP and set it up. */
export function deviceArgs(request: TapRequest): string[] {
  const args = ["--tap", request.name, "--queue-length", String(TAP_QUEUE_LENGTH)];
  if (request.tunDevice !== undefined) args.push("--tun-device", request.tunDevice);
  if (request.vnetHeader === false) args.push("--no-vnet-header");
  return [...args, ...setUpArgs(request)];
}

/** Those that set it up. */
function setUpArgs({ configure }: TapRequest): string[] {
  if (!configure) return [];
  const args = ["--up", "--loopback-up"];
  if (configure.address !== undefined)
    args.push("--address", `${configure.address}/${configure.prefixLength ?? 32}`);
  if (configure.gateway !== undefined) args.push("--gateway", configure.gateway);
  if (configure.address6 !== undefined)
    args.push("--address6", `${configure.address6}/${configure.prefixLength6 ?? 64}`);
  if (configure.gateway6 !== undefined) args.push("--gateway6", configure.gateway6);
  if (configure.mtu !== undefined) args.push("--mtu", String(configure.mtu));
  if (configure.mac !== undefined) args.push("--mac", configure.mac);
  return args;
}

/** A socket pair whose second end the helper gets; both are closed by `close`. */
export function descriptorSocket(): { ours: number; theirs: number; receive(): number; close(): void } {
  const [ours, theirs] = native.socketPair("stream");
  if (ours < 0) throw new HelperError("helper", `socketpair: ${describeErrno(ours)}`);
  return {
    ours,
    theirs,
    receive() {
      const fd = native.receiveDescriptor(ours);
      if (fd < 0) throw new HelperError("send-fd", `the TAP did not arrive: ${describeErrno(fd)}`);
      return fd;
    },
    close() {
      native.close(ours);
      native.close(theirs);
    },
  };
}

/** The helper's options that lead to the TAP's namespace. */
export function enteringArgs({ userns, netns }: Pick<TapRequest, "userns" | "netns">): string[] {
  return [
    ...(userns === undefined ? [] : ["--enter-user", String(userns)]),
    ...(netns === undefined ? [] : ["--enter-net", String(netns)]),
  ];
}

/** Sets up a TAP that is open. */
async function setUpOpened(request: TapRequest, fd: number): Promise<OpenedTap> {
  native.setCloseOnExec(fd, true);
  native.setNonBlocking(fd);
  const setUp = setUpArgs(request);
  if (setUp.length === 0) return { fd, vnetHeader: true, created: true, notes: [] };
  const run = runHelper(["--device", request.name, ...setUp, ...enteringArgs(request)], {});
  await run.wait(() => false);
  return { fd, vnetHeader: true, created: true, notes: run.status.notes };
}

/** Opens a TAP in another namespace. The promise rejects with a HelperError. */
export async function openTapInNamespace(request: TapRequest): Promise<OpenedTap> {
  if (request.opened !== undefined) return setUpOpened(request, request.opened);
  const socket = descriptorSocket();
  try {
    const args = [...deviceArgs(request), "--send-fd", String(FIRST_CHANNEL), ...enteringArgs(request)];
    const run = runHelper(args, { channels: [socket.theirs] });
    await run.wait(() => false);
    const { tap, notes } = run.status;
    if (!tap) throw new HelperError("helper", "the helper ended without a word");
    return { fd: socket.receive(), ...tap, notes };
  } finally {
    socket.close();
  }
}
