/** One connection that does not go straight, from its SYN until its octets may flow. */
import type { PolicyWay } from "../../config.ts";
import type { TcpConnection } from "../../transport/tcp/connection.ts";
import { ConnectAnswer } from "../../wire/http-connect.ts";
import { RemoteEnd } from "../../wire/remote-end.ts";
import { REPLY_OCTETS_MAX } from "../../wire/socks5.ts";

/** What comes next. */
export const FREE = 0;
/** An answer of a resolver: there is no socket yet. */
export const TO_RESOLVE = 1;
/** What the resolver said is looked at. */
export const RESOLVED = 2;
/** The host's socket stands. */
export const TO_CONNECT = 3;
/** Something is to be said, or heard. */
export const SAY_HEADER = 4;
export const SAY_GREETING = 5;
export const HEAR_CHOICE = 6;
export const SAY_LOGIN = 7;
export const HEAR_LOGIN = 8;
export const SAY_REQUEST = 9;
export const HEAR_REPLY_HEAD = 10;
export const HEAR_REPLY = 11;
export const SAY_CONNECT = 12;
export const HEAR_ANSWER = 13;
export const DONE = 14;

export class Detour {
  step = FREE;
  connection: TcpConnection | null = null;
  /** Its initial sequence number: a connection that has taken its place has another. */
  iss = 0;
  way: PolicyWay | null = null;
  /** Where the guest wants to go. */
  readonly end = new RemoteEnd();
  dueAt = 0;
  /** Octets of what is being said that the host has taken. */
  said = 0;
  /** What has been heard, and how much is to be. */
  readonly heard = new Uint8Array(REPLY_OCTETS_MAX);
  heardOctets = 0;
  wantedOctets = 0;
  /** What an HTTP proxy has answered. */
  readonly answer = new ConnectAnswer();
  /** Of a name that is asked for: whether for its IPv6 addresses. */
  asksIpv6 = false;
  /** Addresses that the resolver gave: four words each. */
  readonly found = new Int32Array(FOUND_MAX * 4);
  foundCount = 0;

  /** Another thing is said or heard now. */
  begin(step: number, wantedOctets = 0): void {
    this.step = step;
    this.said = 0;
    this.heardOctets = 0;
    this.wantedOctets = wantedOctets;
  }

  /** Whether the connection is the one it was. */
  isLive(state: number): boolean {
    const c = this.connection;
    return c !== null && c.iss === this.iss && c.state === state;
  }
}

/** Addresses of a name that are looked at for one the guest may reach. */
export const FOUND_MAX = 8;
