/** Opens links that exist once and for all: inherited descriptors and datagram sockets. */
import { isIPv6 } from "node:net";
import type { DatagramAddresses } from "../../config/host-plan.ts";
import { ADDRESS_WORDS } from "../../engine/boundary.ts";
import type { HostLink } from "../engine-options.ts";
import {
  AF_UNIX,
  ENOTSOCK,
  SO_ACCEPTCONN,
  SO_DOMAIN,
  SO_TYPE,
  SOCK_DGRAM,
  SOCK_STREAM,
  SOL_SOCKET,
} from "../native/linux.ts";
import { native } from "../native/native.ts";
import { PathWatch } from "../path-watch.ts";
import { describeErrno, StartError } from "../start-error.ts";
import { addressWords } from "./link-source.ts";
import { QemuDatagramLink } from "./qemu-dgram.ts";
import { QemuStreamLink } from "./qemu-stream.ts";
import { SocketFile } from "./socket-file.ts";
import { openTapDescriptor, type TapOptions } from "./tap.ts";

/** A link and what has to be undone after it is closed. */
export interface OpenedLink {
  readonly link: HostLink;
  readonly cleanUp: () => void;
}

/** udp(7) */
const SOL_UDP = 17;
const UDP_GRO = 104;

/** A descriptor given by number: a connected stream or datagram socket, or an open TAP. Throws StartError. */
export function openDescriptorLink(fd: number, options: TapOptions): HostLink {
  const place = `fd ${fd}`;
  const type = native.getOption(fd, SOL_SOCKET, SO_TYPE);
  if (type === ENOTSOCK) return openTapDescriptor(fd, options);
  if (type < 0) throw new StartError([{ place, reason: describeErrno(type) }]);
  if (type !== SOCK_STREAM && type !== SOCK_DGRAM) {
    throw new StartError([{ place, reason: "neither a stream nor a datagram socket, nor a TAP" }]);
  }
  if (native.getOption(fd, SOL_SOCKET, SO_ACCEPTCONN) === 1) {
    throw new StartError([{ place, reason: "a listening socket; a connected one is needed" }]);
  }
  if (native.isConnected(fd) < 0) {
    throw new StartError([{ place, reason: "a socket that is not connected; a connected one is needed" }]);
  }
  native.setNonBlocking(fd);
  if (type === SOCK_STREAM) return new QemuStreamLink(fd, place, options);
  const unix = native.getOption(fd, SOL_SOCKET, SO_DOMAIN) === AF_UNIX;
  if (!unix) native.setOption(fd, SOL_UDP, UDP_GRO, 0);
  return new QemuDatagramLink(fd, place, { ...options, pushesBack: unix, paired: unix });
}

/** A datagram link between two named ends. Throws StartError when ours cannot be bound. */
export function openDatagramLink(addresses: DatagramAddresses, options: TapOptions): OpenedLink {
  return addresses.kind === "unix"
    ? openUnixDatagrams(addresses.local, addresses.remote, options)
    : openUdpDatagrams(addresses.local, addresses.remote, options);
}

function openUnixDatagrams(local: string, remote: string, options: TapOptions): OpenedLink {
  const name = `qemu-dgram unix:${local}`;
  const file = SocketFile.open(local, "dgram", name);
  const reconnect = (): number => native.connectUnixDatagram(file.fd, remote);
  const link = new QemuDatagramLink(file.fd, name, {
    ...options,
    pushesBack: true,
    paired: false,
    reconnect,
  });
  // A socket connected to the far end's last incarnation takes nothing from the next one (EPERM there), so a new
  // one has to be connected to even when we have nothing to send.
  const watch = new PathWatch(remote, reconnect);
  reconnect();
  return {
    link,
    cleanUp: () => {
      watch.close();
      file.remove();
    },
  };
}

interface HostPort {
  readonly host: string;
  readonly port: number;
}

function openUdpDatagrams(local: HostPort, remote: HostPort, options: TapOptions): OpenedLink {
  const family = isIPv6(local.host) ? 6 : 4;
  const fd = native.udpSocket(family);
  let result = fd;
  if (fd >= 0) result = native.bind(fd, addressWords(local.host, local.port), family, false);
  if (result >= 0) result = native.connect(fd, addressWords(remote.host, remote.port));
  if (result < 0) {
    if (fd >= 0) native.close(fd);
    const place = `qemu-dgram udp:${local.host}:${local.port}`;
    throw new StartError([{ place, reason: describeErrno(result) }]);
  }
  // Merged datagrams would be several frames in one.
  native.setOption(fd, SOL_UDP, UDP_GRO, 0);
  const bound = new Int32Array(ADDRESS_WORDS);
  native.localAddress(fd, bound);
  const name = `qemu-dgram udp:${local.host}:${bound[4]}`;
  const link = new QemuDatagramLink(fd, name, { ...options, pushesBack: false, paired: false });
  return { link, cleanUp: () => {} };
}
