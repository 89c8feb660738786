/** Ports that somebody listens on in a network namespace, by the kernel's own tables there. */
import { readSync } from "node:fs";
import { native } from "../native/native.ts";
import { describeErrno } from "../start-error.ts";
import { FIRST_CHANNEL, HelperError, runHelper } from "./helper.ts";
import { descriptorSocket, enteringArgs, type TapRequest } from "./namespace-tap.ts";

/** In the order in which the helper passes them. */
const TABLES = ["tcp", "tcp6", "udp", "udp6"] as const;

/** include/net/tcp_states.h: TCP_LISTEN, and TCP_CLOSE, which an unconnected UDP socket has. */
const LISTENING = { tcp: "0A", udp: "07" } as const;

const READ_OCTETS = 65_536;

export interface ListeningPorts {
  readonly tcp: ReadonlySet<number>;
  readonly udp: ReadonlySet<number>;
}

/** The network namespace, and the user namespace to enter before it, as `TapRequest` has them. */
export type NamespaceEntry = Pick<TapRequest, "netns" | "userns">;

/** Reads the tables of a namespace again and again. `close` when done. */
export class ListeningTables {
  private readonly buffer = Buffer.alloc(READ_OCTETS);

  private constructor(private readonly fds: readonly number[]) {}

  /** Rejects with a HelperError. */
  static async open(entry: NamespaceEntry): Promise<ListeningTables> {
    const socket = descriptorSocket();
    try {
      const args = ["--send-listeners", String(FIRST_CHANNEL), ...enteringArgs(entry)];
      const run = runHelper(args, { channels: [socket.theirs] });
      await run.wait(() => false);
      return new ListeningTables(TABLES.map(() => socket.receive()));
    } finally {
      socket.close();
    }
  }

  /** Throws the kernel's error. */
  read(): ListeningPorts {
    const ports = { tcp: new Set<number>(), udp: new Set<number>() };
    for (const [i, table] of TABLES.entries()) {
      const protocol = table.startsWith("tcp") ? "tcp" : "udp";
      for (const port of listeningPorts(this.text(this.fds[i] ?? -1), LISTENING[protocol])) {
        ports[protocol].add(port);
      }
    }
    return ports;
  }

  private text(fd: number): string {
    let text = "";
    for (let at = 0; ; ) {
      const got = readSync(fd, this.buffer, 0, READ_OCTETS, at);
      if (got === 0) return text;
      text += this.buffer.toString("latin1", 0, got);
      at += got;
    }
  }

  close(): void {
    for (const fd of this.fds) {
      const result = native.close(fd);
      if (result < 0) throw new HelperError("listeners", describeErrno(result));
    }
  }
}

/** 127.0.0.0/8 and ::1 as the tables write them: little-endian words (proc(5)). */
const LOOPBACK = /^(?:[0-9A-F]{6}7F|0{24}01000000|0{16}FFFF0000[0-9A-F]{6}7F)$/;

/** The ports in one table, but for those of the loopback alone: clients from outside do not get there. */
export function listeningPorts(text: string, state: string): number[] {
  return text
    .split("\n")
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[3] === state)
    .map(([, local = ""]) => local.split(":"))
    .filter(([address = ""]) => !LOOPBACK.test(address))
    .map(([, port = ""]) => Number.parseInt(port, 16))
    .filter((port) => port > 0);
}
