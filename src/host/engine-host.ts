/**
 * Puts an engine together: arena, event loop, sockets, core, forwards, resolvers and the guest's link; and takes it
 * apart again. Everything that can fail because of what the user asked for fails here, before the engine says that it
 * is ready, and all of it at once.
 *
 * One engine at a time per process: the shim has one arena and one epoll set.
 */

import { forwardRules } from "../config/forward-rule.ts";
import type { CreateEngineCore, EngineCore } from "../engine/api.ts";
import { type EngineConfig, ipv6OnLink } from "../engine/config.ts";
import { IPV6_MTU_MIN } from "../engine/limits.ts";
import { Arena } from "../engine/memory/arena.ts";
import { REASSEMBLY_REGION_OCTETS } from "../engine/network/reassembly.ts";
import type { QuestionRow } from "../engine/policy/questions.ts";
import { everything, OWN_ID } from "./captures/capture-spec.ts";
import { Captures } from "./captures/captures.ts";
import { CaptureFile, openCaptureFile } from "./captures/pcap-file.ts";
import { tellShortage } from "./descriptor-shortage.ts";
import type { EngineEnd, EngineHostOptions, HostLink, LinkSpec } from "./engine-options.ts";
import { EventLoop } from "./event-loop.ts";
import { ForwardSockets, type OpenPort, openForwards } from "./forwards.ts";
import { ConnectSource, type LinkSource, type LinkSourceHost, ListenSource } from "./link/link-source.ts";
import { openDatagramLink, openDescriptorLink } from "./link/open-link.ts";
import { PulledLink } from "./link/pulled-link.ts";
import { QemuStreamLink } from "./link/qemu-stream.ts";
import { openTap, openTapDescriptor, TAP_QUEUE_FRAMES, type TapOptions } from "./link/tap.ts";
import { VhostSource } from "./link/vhost-source.ts";
import { native } from "./native/native.ts";
import { type Descriptors, partitionDescriptors } from "./native/shim-tables.ts";
import { ServiceCommands } from "./process/service-command.ts";
import { RecordPipe } from "./record-pipe.ts";
import { interpretResolvConf, RESOLV_CONF, resolvConfFile } from "./resolv-conf.ts";
import { ServedFolder } from "./served-folder.ts";
import { KernelNetwork, OUTBOUND_ANY, type OutboundBinding } from "./sockets.ts";
import { describeErrno, StartError, type StartProblem } from "./start-error.ts";
import { Uplink, type WaysOut } from "./uplink.ts";

export type * from "./engine-options.ts";

/**
 * Starts an engine. Resolves when it serves: sockets bound, link open (for QEMU: listening, or trying to connect).
 * Throws StartError with everything that is wrong.
 */
export async function startEngine(
  options: EngineHostOptions,
  createCore: CreateEngineCore,
): Promise<EngineHost> {
  const host = new EngineHost(options, createCore);
  try {
    host.start();
  } catch (error) {
    host.release();
    throw error;
  }
  return host;
}

/** One arena serves the engines of a process one after the other. */
let processArena: Arena | null = null;

function registeredArena(): Arena {
  if (processArena === null) {
    processArena = new Arena(REASSEMBLY_REGION_OCTETS);
    native.registerArena(processArena.buffer);
  }
  return processArena;
}

/** An engine that is serving; `startEngine` makes it. */
export class EngineHost {
  readonly core: EngineCore;
  /** Settles once, when the engine has stopped serving and everything is closed. Never rejects. */
  readonly ended: Promise<EngineEnd>;
  /** Host ports of the configuration's forwards, in its order; those declared as 0 got a free one. */
  forwardPorts: readonly number[] = [];

  private readonly arena = registeredArena();
  private readonly descriptors: Descriptors = partitionDescriptors(this.arena);
  private readonly loop: EventLoop;
  private readonly linkOptions: TapOptions;
  private readonly forwards: ForwardSockets;
  private isPulled = false;
  private source: LinkSource | null = null;
  private ownCaptures: Captures | null = null;
  private link: HostLink | null = null;
  private settle: (end: EngineEnd) => void = () => {};
  /** It has ended, and everything is closed. */
  released = false;
  /** What to undo, last first. */
  private readonly undo: (() => void)[] = [];
  private readonly problems: StartProblem[] = [];

  constructor(
    private readonly options: EngineHostOptions,
    createCore: CreateEngineCore,
  ) {
    this.ended = new Promise((resolve) => {
      this.settle = resolve;
    });
    const { config, log } = options;
    this.loop = new EventLoop(this.arena, this.descriptors, options.dedicated ?? false, {
      linkFailed: (link) => this.linkFailed(link),
      resumed: (ms) => log.info(`this machine slept for ${Math.round(ms / 1000)} s`),
    });
    this.undo.push(() => this.loop.close());
    const network = this.openNetwork();
    const files = this.openFolder();
    const ports = {
      arena: this.arena,
      network,
      entropy: { int32: native.randomInt32 },
      checksum: { sum: native.checksum },
      discard: native.discardPages,
      warn: (message: string) => log.warn(message),
      asked: (question: QuestionRow) => options.onQuestion?.(question),
      ...(options.onQuestionOver === undefined ? {} : { questionOver: options.onQuestionOver }),
      ...(files === undefined ? {} : { files }),
    };
    const resolvers = this.followResolvers(config, (list) => {
      network.setResolvers(list);
      this.core.setResolvers(list);
    });
    network.setResolvers(resolvers);
    const ipv6 = this.ipv6Of(config);
    this.core = createCore({ ...config, ipv6, resolvers }, ports, native.nowMs());
    this.forwards = new ForwardSockets(this.core);
    if (options.records === true) this.core.record();
    if (ipv6 !== null || config.nat64 !== null) this.followUplink();
    this.linkOptions = {
      arena: this.arena,
      descriptors: this.descriptors,
      counters: this.core.counters,
      log,
      mtu: config.mtu,
      offload: config.offload,
    };
  }

  /** Name of the link, such as `tap sluice0` or `qemu-listen unix:/run/x.sock`. */
  get linkName(): string {
    return this.source?.name ?? "";
  }

  /** TCP port a `qemu-listen` link listens on, or 0. */
  get listenPort(): number {
    return this.source?.listenPort ?? 0;
  }

  /** Whether a guest is attached now. */
  get linked(): boolean {
    return this.link !== null;
  }

  /** Milliseconds of the engine's clock, for `core.flows(now)`. */
  nowMs(): number {
    return native.nowMs();
  }

  /** An answer to what was asked of an embedding program: the core hears of it, and has a turn. */
  decide(ticket: number, isAllowed: boolean): void {
    if (this.released) return;
    this.core.decide(ticket, isAllowed, native.nowMs());
    this.loop.wake();
  }

  private openNetwork(): KernelNetwork {
    const { config, log } = this.options;
    tellShortage(native.raiseFileLimit(), config, log);
    let { spawnCommand } = this.options;
    const { udpPorts } = this.options.outbound ?? {};
    if (spawnCommand === undefined) {
      const commands = new ServiceCommands(log);
      this.undo.push(() => commands.close());
      spawnCommand = commands.start;
    }
    const network = new KernelNetwork({
      arena: this.arena,
      descriptors: this.descriptors,
      guestForwards: config.guestForwards,
      outbound: this.resolveOutbound(),
      ...(udpPorts === undefined ? {} : { udpPorts }),
      spawnCommand,
    });
    this.undo.push(() => network.close());
    return network;
  }

  /** The folder that TFTP serves, if any. */
  private openFolder(): ServedFolder | undefined {
    const { tftp } = this.options;
    if (tftp === undefined) return undefined;
    try {
      const folder = new ServedFolder(tftp, this.arena.octets);
      this.undo.push(() => folder.release());
      return folder;
    } catch (error) {
      if (!(error instanceof StartError)) throw error;
      this.problems.push(...error.problems);
      return undefined;
    }
  }

  /** The guest's IPv6. Says so when the link is too small for it. */
  private ipv6Of(config: EngineConfig): EngineConfig["ipv6"] {
    const ipv6 = ipv6OnLink(config);
    if (config.ipv6 !== null && ipv6 === null) {
      this.options.log.warn(
        `no IPv6 for the guest: an MTU of ${config.mtu} is less than the ${IPV6_MTU_MIN} it needs`,
      );
    }
    return ipv6;
  }

  /** Tells the core by which family the host has a way out, now and when that changes; one that is closed is none. */
  private followUplink(): void {
    const { device, address = 0, address6, deviceHasIpv4 } = this.options.outbound ?? {};
    const tell = ({ ipv4, ipv6 }: WaysOut): void =>
      this.core.setUplinks(ipv4 && address !== null, ipv6 && address6 !== null, native.nowMs());
    const index = device === undefined ? 0 : Math.max(native.deviceIndex(device), 0);
    const hasIpv4 = address === 0 ? deviceHasIpv4 === true : address !== null;
    const uplink = new Uplink(this.loop, { index, hasIpv4 }, (ways) => {
      const families = [...(ways.ipv4 ? ["IPv4"] : []), ...(ways.ipv6 ? ["IPv6"] : [])].join(" and ");
      this.options.log.info(
        `the host has ${families === "" ? "no way out" : `a way out over ${families}`} now`,
      );
      tell(ways);
      this.loop.wake();
    });
    this.undo.push(() => uplink.close());
    tell(uplink.ways);
  }

  private resolveOutbound(): OutboundBinding {
    const { address = 0, address6, device } = this.options.outbound ?? {};
    const sources = { address, ...(address6 === undefined ? {} : { address6 }) };
    if (device === undefined) return { ...sources, deviceIndex: 0 };
    const deviceIndex = native.deviceIndex(device);
    if (deviceIndex > 0) return { ...sources, deviceIndex };
    this.problems.push({ place: `outbound interface ${device}`, reason: describeErrno(deviceIndex) });
    return OUTBOUND_ANY;
  }

  /** The resolvers to begin with; `changed` gets the later ones when they come from the host's file. */
  private followResolvers(
    config: EngineConfig,
    changed: (resolvers: EngineConfig["resolvers"]) => void,
  ): EngineConfig["resolvers"] {
    if (config.dns === 0 || config.resolvers.length > 0) return config.resolvers;
    const source = this.options.resolvConf ?? resolvConfFile(RESOLV_CONF);
    const stop = source.follow(() => {
      const { resolvers } = interpretResolvConf(source.text);
      this.options.log.info(`the host's resolv.conf changed: ${resolvers.length} resolvers`);
      changed(resolvers);
    });
    this.undo.push(stop);
    return interpretResolvConf(source.text).resolvers;
  }

  /** Opens what the user asked for; all problems are told at once. */
  start(): void {
    const collect = (open: () => void): void => {
      try {
        open();
      } catch (error) {
        if (!(error instanceof StartError)) throw error;
        this.problems.push(...error.problems);
      }
    };
    collect(() => this.openForwards());
    collect(() => this.openCapture());
    collect(() => {
      this.source = this.openSource(this.options.link);
    });
    if (this.problems.length > 0) throw new StartError(this.problems);
    this.loop.start(this.core);
    this.source?.start();
    // Who begins as soon as this is ready has heard the router already, where somebody is at the link.
    if (this.core.config.ipv6 !== null) this.core.turn(native.nowMs());
  }

  private openForwards(): void {
    const { forwards } = this.options.config;
    const opened = openForwards(forwards);
    this.undo.push(() => this.forwards.close());
    this.forwardPorts = opened.map(([first], i) => first?.hostPort ?? forwards[i].hostPort);
    let at = 0;
    for (const [index, rule] of forwardRules(forwards).entries()) {
      this.addForward(index + 1, opened.slice(at, at + rule.length).flat());
      at += rule.length;
    }
  }

  /**
   * Serves these ports under `id` by their sockets: bound, listening if TCP, and ours from now on. Throws the kernel's
   * error.
   */
  addForward(id: number, ports: readonly OpenPort[]): void {
    const result = this.forwards.add(id, ports);
    if (result < 0) throw new Error(`epoll_ctl: ${describeErrno(result)}`);
    this.loop.wake();
  }

  /** Closes the ports of forward `id`; `cut` resets the connections it has let in. Returns whether there was one. */
  removeForward(id: number, cut: boolean): boolean {
    const removed = this.forwards.remove(id, cut);
    this.loop.wake();
    return removed;
  }

  /** Resets these flows on both sides, by id. Returns how many there were. */
  killFlows(ids: readonly number[]): number {
    return this.steer((core, nowMs) => core.killFlows(ids, nowMs));
  }

  /** Has the core do what takes the time, and a turn. */
  steer<T>(act: (core: EngineCore, nowMs: number) => T): T {
    const result = act(this.core, native.nowMs());
    this.loop.wake();
    return result;
  }

  /** Tells of flows, drops and DNS over this stream socket, which is ours from now on; `wanted` as recorder.ts has it. */
  openRecords(fd: number, wanted: number): RecordPipe {
    const pipe = new RecordPipe(this.core, this.loop, fd, wanted);
    // Behind whatever is undone before it, so that it tells of that, too.
    this.undo.unshift(() => pipe.close());
    return pipe;
  }

  get pulled(): boolean {
    return this.isPulled;
  }

  /** Pulls the guest's cable, or plugs it in again. */
  setLink(up: boolean): void {
    if (up === !this.isPulled) return;
    this.isPulled = !up;
    const { link } = this;
    this.options.log.info(`the link's cable is ${up ? "plugged in" : "pulled"}`);
    if (link === null) return;
    this.setCarrier(link, up);
    const plugged = link instanceof PulledLink ? link.inner : link;
    this.link = up ? plugged : new PulledLink(plugged, this.core.counters);
    this.loop.attach(this.link);
  }

  /** A TAP's far end sees the cable; who cannot be told (another kind of link, an old kernel) hears nothing, that is all. */
  private setCarrier(link: HostLink, up: boolean): void {
    if (native.tapFlags(link.fd) >= 0) native.tapSetCarrier(link.fd, up ? 1 : 0);
  }

  /** Captures that come and go. */
  get captures(): Captures {
    if (this.ownCaptures === null) {
      const { core, arena } = this;
      const captures = new Captures({ core, arena, linkName: () => this.linkName || this.options.link.kind });
      this.undo.push(() => captures.close());
      this.ownCaptures = captures;
    }
    return this.ownCaptures;
  }

  private openCapture(): void {
    const { pcap, pcapng, log } = this.options;
    if (pcap === undefined) return;
    if (pcapng === true) {
      this.captures.start(OWN_ID, openCaptureFile(pcap), everything());
      return;
    }
    this.captures.record(CaptureFile.open(pcap, this.arena.octets, log));
  }

  private openSource(spec: LinkSpec): LinkSource {
    const host: LinkSourceHost = {
      loop: this.loop,
      log: this.options.log,
      isTaken: () => this.link !== null,
      attachStream: (fd) => {
        const name = this.source?.name ?? "";
        this.attach(new QemuStreamLink(fd, name, this.linkOptions));
      },
      attach: (link) => this.attach(link),
      detach: (reason) => this.detach(reason),
      guestLeft: (message) => {
        if (this.options.oneOff === true) this.finish({ reason: "guest-left", message });
      },
    };
    const source = this.makeSource(spec, host);
    this.undo.push(() => source.close());
    return source;
  }

  private makeSource(spec: LinkSpec, host: LinkSourceHost): LinkSource {
    switch (spec.kind) {
      case "qemu-listen":
        return new ListenSource(spec.address, host, spec.listener);
      case "qemu-connect":
        return new ConnectSource(spec.address, host);
      case "vhost-user":
        return this.vhostSource(spec.path, host, spec.listener);
      case "tap":
        return this.once(openTap(spec.name, this.linkOptions, spec.device));
      case "tap-fd": {
        const queueFrames = spec.queueFrames ?? TAP_QUEUE_FRAMES;
        return this.once(openTapDescriptor(spec.fd, { ...this.linkOptions, queueFrames }));
      }
      case "fd":
        return this.once(openDescriptorLink(spec.fd, this.linkOptions));
      case "qemu-dgram": {
        const { link, cleanUp } = openDatagramLink(spec.addresses, this.linkOptions);
        return this.once(link, cleanUp);
      }
    }
  }

  private vhostSource(path: string, host: LinkSourceHost, listener: number | undefined): LinkSource {
    return new VhostSource(path, host, this.linkOptions, listener);
  }

  /** The source of a link that is there from the start and does not come again. */
  private once(link: HostLink, cleanUp: () => void = () => {}): LinkSource {
    let attached = false;
    return {
      name: link.name,
      listenPort: 0,
      reopens: false,
      start: () => {
        attached = true;
        this.attach(link);
      },
      linkFailed: () => {},
      close: () => {
        if (!attached) link.close();
        cleanUp();
      },
    };
  }

  private attach(link: HostLink): void {
    this.link = this.isPulled ? new PulledLink(link, this.core.counters) : link;
    if (this.isPulled) this.setCarrier(link, false);
    this.loop.attach(this.link);
    this.options.log.info(`${link.name}: ${this.source?.reopens === true ? "guest attached" : "open"}`);
    this.options.onLink?.(true, link.name);
  }

  /** Takes a link out that has not failed. */
  private detach(reason: string): void {
    const { link } = this;
    if (link === null) return;
    this.link = null;
    this.loop.attach(null);
    link.close();
    this.options.log.info(reason);
    this.options.onLink?.(false, link.name);
  }

  private linkFailed(link: HostLink): void {
    this.link = null;
    link.close();
    this.options.log.info(link.failure);
    this.options.onLink?.(false, link.name);
    if (this.source?.reopens === true && this.options.oneOff !== true) {
      this.source.linkFailed();
    } else {
      const reason = this.source?.reopens === true ? "guest-left" : "link-lost";
      this.finish({ reason, message: link.failure });
    }
  }

  /** Resets the guest's connections, closes everything it opened and removes the socket files it made. Idempotent. */
  async stop(): Promise<void> {
    this.finish({ reason: "stopped", message: "stopped" });
  }

  private finish(end: EngineEnd): void {
    if (this.released) return;
    this.release();
    this.settle(end);
  }

  /** Closes everything. Also undoes a start that failed half-way. */
  release(): void {
    if (this.released) return;
    this.released = true;
    this.core.close(native.nowMs());
    if (this.link !== null) {
      this.loop.attach(null);
      this.link.close();
      this.link = null;
    }
    for (let undo = this.undo.pop(); undo !== undefined; undo = this.undo.pop()) undo();
  }
}
