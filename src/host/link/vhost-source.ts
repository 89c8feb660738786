/**
 * Where vhost-user sessions come from: a listening Unix socket, one front-end at a time. A front-end that goes away may
 * come back (QEMU's reconnect), also to an engine that was started anew; flows, leases and forwards stay.
 */
import { READABLE } from "../../engine/boundary.ts";
import { MTU_DEFAULT } from "../../engine/limits.ts";
import { type LinkSource, type LinkSourceHost, ListenSource } from "./link-source.ts";
import type { TapOptions } from "./tap.ts";
import { VhostSession } from "./vhost-session.ts";

export class VhostSource implements LinkSource {
  readonly name: string;
  readonly listenPort = 0;
  readonly reopens = true;
  private readonly listen: ListenSource;
  private session: VhostSession | null = null;
  private token = 0;

  constructor(
    path: string,
    private readonly host: LinkSourceHost,
    private readonly options: TapOptions,
    /** A socket that listens on `path` already; whoever bound it unlinks it. */
    listener?: number,
  ) {
    const { loop, log } = host;
    const sessions = { loop, log, attachStream: this.begin, isTaken: () => this.session !== null };
    this.listen = new ListenSource({ kind: "unix", path }, sessions, listener, "vhost-user");
    this.name = this.listen.name;
  }

  start(): void {
    this.listen.start();
  }

  private readonly begin = (fd: number): void => {
    const { host, options, name } = this;
    const session = new VhostSession(
      fd,
      name,
      {
        attach: host.attach,
        detach: host.detach,
        poke: () => host.loop.pokeLink(),
        releasing: () => host.loop.unwatch(fd, this.token),
        ended: (reason) => this.ended(session, reason),
      },
      // A guest that is told nothing takes Ethernet's, and a driver without a configuration space could not read it.
      { ...options, tellsMtu: options.mtu !== MTU_DEFAULT },
    );
    this.session = session;
    this.token = host.loop.watch(fd, READABLE, session.readable);
  };

  private ended(session: VhostSession, reason: string): void {
    this.session = null;
    if (reason !== "") this.host.log.info(`${this.name}: ${reason}`);
    // Somebody who only looked whether there is a listener was no guest.
    if (session.spoke) this.host.guestLeft(`${this.name}: the front-end has left`);
    this.listen.linkFailed();
  }

  /** The rings or the memory were no good: the front-end may connect again. */
  linkFailed(): void {
    this.session?.linkFailed();
  }

  close(): void {
    this.session?.close();
    this.session = null;
    this.listen.close();
  }
}
