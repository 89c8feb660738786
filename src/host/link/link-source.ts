/**
 * Where links come from. A source opens what it needs at start (and fails there, with a sentence), then gives the
 * engine a link whenever the guest is there: once for a TAP or an inherited socket, again and again for QEMU, which
 * may be killed and started anew while the engine keeps its flows, leases and forwards.
 *
 *   source.start() ----> attach(link) ----> (link fails) ----> source.linkFailed() ----> attach(next link) ...
 */
import { isIPv6 } from "node:net";
import { parseIpv4, parseResolver } from "../../config/address.ts";
import type { StreamAddress } from "../../config/host-plan.ts";
import {
  ADDRESS_PORT,
  ADDRESS_WORDS,
  type AddressWords,
  EAGAIN,
  ECONNREFUSED,
  EHOSTUNREACH,
  EINPROGRESS,
  ENETUNREACH,
  ETIMEDOUT,
  type Logger,
  READABLE,
  WRITABLE,
} from "../../engine/boundary.ts";
import type { HostLink } from "../engine-options.ts";
import type { EventLoop } from "../event-loop.ts";
import { ECONNABORTED, ENOENT } from "../native/linux.ts";
import { native } from "../native/native.ts";
import { describeErrno, StartError } from "../start-error.ts";
import { SocketFile } from "./socket-file.ts";

/** What a source of stream sockets needs of who makes links of them. */
export interface StreamHost {
  readonly loop: EventLoop;
  readonly log: Logger;
  /** Makes a link of a connected stream socket and gives it to the engine. */
  readonly attachStream: (fd: number) => void;
  /** A guest has the link now. */
  readonly isTaken: () => boolean;
}

/** What a source needs of the engine host. */
export interface LinkSourceHost extends StreamHost {
  readonly attach: (link: HostLink) => void;
  /** Takes the attached link out, which may be followed by another of the same guest. `reason` is a sentence. */
  readonly detach: (reason: string) => void;
  /** No link of this guest will follow: the end where one guest is all that is served. */
  readonly guestLeft: (reason: string) => void;
}

export interface LinkSource {
  readonly name: string;
  /** TCP port it listens on, or 0. */
  readonly listenPort: number;
  /** Another link may follow one that failed. */
  readonly reopens: boolean;
  start(): void;
  /** The link failed and was closed. */
  linkFailed(): void;
  close(): void;
}

function describeStreamAddress(address: StreamAddress): string {
  if (address.kind === "unix") return `unix:${address.path}`;
  return `tcp:${isIPv6(address.host) ? `[${address.host}]` : address.host}:${address.port}`;
}

/** An IPv4 or IPv6 literal and a port as address words. IPv6 without a zone. */
export function addressWords(host: string, port: number): AddressWords {
  const words = new Int32Array(ADDRESS_WORDS);
  words.set(isIPv6(host) ? parseResolver(`[${host}]`).words : [0, 0, 0xffff, parseIpv4(host)]);
  words[ADDRESS_PORT] = port;
  return words;
}

const BACKLOG = 16;
/** A connection that comes while a guest is attached waits this long for that guest's end to be noticed. */
const TAKEOVER_MS = 200;
/** How long a listener that cannot accept is left alone. */
const PAUSE_MS = 1000;

/** QEMU connects to us. */
export class ListenSource implements LinkSource {
  readonly name: string;
  readonly reopens = true;
  readonly listenPort: number;
  private readonly fd: number;
  private readonly file: SocketFile | null = null;
  private token = 0;
  /** A connection that waits for the attached link to end, or -1. */
  private waiting = -1;
  private waitingTimer: NodeJS.Timeout | null = null;
  private pauseTimer: NodeJS.Timeout | null = null;

  constructor(
    address: StreamAddress,
    private readonly host: StreamHost,
    /** A listening socket that somebody else has bound to a Unix address, and will unlink. */
    listener?: number,
    option = "qemu-listen",
  ) {
    this.name = `${option} ${describeStreamAddress(address)}`;
    if (listener !== undefined) {
      this.fd = listener;
      this.listenPort = 0;
    } else if (address.kind === "unix") {
      this.file = SocketFile.open(address.path, "stream", this.name);
      this.fd = this.file.fd;
      this.listenPort = 0;
    } else {
      this.fd = listenTcp(address, this.name);
      const words = new Int32Array(ADDRESS_WORDS);
      native.localAddress(this.fd, words);
      this.listenPort = words[ADDRESS_PORT];
    }
  }

  start(): void {
    this.token = this.host.loop.watch(this.fd, READABLE, this.accept);
  }

  private readonly accept = (): void => {
    const fd = native.accept(this.fd, new Int32Array(ADDRESS_WORDS));
    if (fd < 0) {
      if (fd !== EAGAIN && fd !== ECONNABORTED) this.pause(fd);
      return;
    }
    if (!this.host.isTaken()) {
      this.host.attachStream(fd);
    } else if (this.waiting < 0) {
      this.waiting = fd;
      this.waitingTimer = setTimeout(this.refuseWaiting, TAKEOVER_MS);
    } else {
      this.refuse(fd);
    }
  };

  /** Out of descriptors or memory: the connection stays in the queue, and would wake us without end. */
  private pause(errno: number): void {
    this.host.log.warn(`${this.name}: ${describeErrno(errno)}; trying again`);
    this.host.loop.unwatch(this.fd, this.token);
    this.token = 0;
    this.pauseTimer = setTimeout(() => this.start(), PAUSE_MS);
  }

  private readonly refuseWaiting = (): void => {
    const fd = this.waiting;
    this.waiting = -1;
    if (fd >= 0) this.refuse(fd);
  };

  private refuse(fd: number): void {
    native.close(fd);
    this.host.log.warn(`${this.name}: refused a second connection while a guest is attached`);
  }

  linkFailed(): void {
    if (this.waiting < 0) return;
    const fd = this.waiting;
    this.waiting = -1;
    if (this.waitingTimer !== null) clearTimeout(this.waitingTimer);
    this.host.attachStream(fd);
  }

  close(): void {
    if (this.waitingTimer !== null) clearTimeout(this.waitingTimer);
    if (this.pauseTimer !== null) clearTimeout(this.pauseTimer);
    if (this.waiting >= 0) native.close(this.waiting);
    this.waiting = -1;
    if (this.token !== 0) this.host.loop.unwatch(this.fd, this.token);
    native.close(this.fd);
    this.file?.remove();
  }
}

function listenTcp(address: { host: string; port: number }, place: string): number {
  const family = isIPv6(address.host) ? 6 : 4;
  const fd = native.tcpSocket(family);
  let result = fd;
  if (fd >= 0) result = native.bind(fd, addressWords(address.host, address.port), family, false);
  if (result >= 0) result = native.listen(fd, BACKLOG);
  if (result >= 0) return fd;
  if (fd >= 0) native.close(fd);
  throw new StartError([{ place, reason: describeErrno(result) }]);
}

/** QEMU is not there yet, or not any more. */
const NOT_THERE = new Set([ENOENT, ECONNREFUSED, EAGAIN, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH]);
const RETRY_MIN_MS = 100;
const RETRY_MAX_MS = 3000;

/** We connect to QEMU, and again when it goes away. */
export class ConnectSource implements LinkSource {
  readonly name: string;
  readonly listenPort = 0;
  readonly reopens = true;
  private fd = -1;
  private token = 0;
  private retryMs = RETRY_MIN_MS;
  private timer: NodeJS.Timeout | null = null;
  private told = false;

  constructor(
    private readonly address: StreamAddress,
    private readonly host: StreamHost,
  ) {
    this.name = `qemu-connect ${describeStreamAddress(address)}`;
  }

  /** The first attempt. QEMU's absence is waited for; a path or address that can never work is an error. */
  start(): void {
    const result = this.attempt();
    if (result < 0 && !NOT_THERE.has(result)) {
      throw new StartError([{ place: this.name, reason: describeErrno(result) }]);
    }
    if (result < 0) this.retry(result);
  }

  private attempt(): number {
    if (this.address.kind === "unix") {
      const fd = native.unixConnect(this.address.path, "stream");
      if (fd >= 0) this.connected(fd);
      return fd;
    }
    const fd = native.tcpSocket(isIPv6(this.address.host) ? 6 : 4);
    if (fd < 0) return fd;
    const result = native.connect(fd, addressWords(this.address.host, this.address.port));
    if (result < 0 && result !== EINPROGRESS) {
      native.close(fd);
      return result;
    }
    this.fd = fd;
    this.token = this.host.loop.watch(fd, WRITABLE, this.settled);
    return 0;
  }

  /** The TCP connection attempt has ended. */
  private readonly settled = (): void => {
    const fd = this.fd;
    this.host.loop.unwatch(fd, this.token);
    this.fd = -1;
    const error = native.socketError(fd);
    if (error === 0) {
      this.connected(fd);
    } else {
      native.close(fd);
      this.retry(error);
    }
  };

  private connected(fd: number): void {
    this.retryMs = RETRY_MIN_MS;
    this.told = false;
    this.host.attachStream(fd);
  }

  private retry(errno: number): void {
    if (!this.told) this.host.log.info(`${this.name}: ${describeErrno(errno)}; waiting for QEMU`);
    this.told = true;
    this.timer = setTimeout(this.again, this.retryMs);
    this.retryMs = Math.min(this.retryMs * 2, RETRY_MAX_MS);
  }

  private readonly again = (): void => {
    const result = this.attempt();
    if (result < 0) this.retry(result);
  };

  linkFailed(): void {
    this.timer = setTimeout(this.again, RETRY_MIN_MS);
  }

  close(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    if (this.fd < 0) return;
    this.host.loop.unwatch(this.fd, this.token);
    native.close(this.fd);
  }
}
