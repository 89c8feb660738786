/**
 * The API of slirp4netns(1): one request per connection, a JSON text; the answer is one without a newline. It is given when the
 * text is complete, at end of file, or at 4096 octets, whichever is first.
 */
import { rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { isIpv4, parseIpv4 } from "../config/address.ts";
import type { RunningForwards } from "./words.ts";

interface Entry {
  /** As `RunningForwards` knows it. */
  readonly forward: number;
  readonly shown: {
    readonly id: number;
    readonly proto: "tcp" | "udp";
    readonly host_addr: string;
    readonly host_port: number;
    readonly guest_addr: string;
    readonly guest_port: number;
  };
}

const REQUEST_OCTETS_MAX = 4096;
/** How long a client that goes on talking is listened to after its answer. */
const LINGER_MS = 1000;
const EVERY_ADDRESS = "0.0.0.0";

/** A request that is answered with an error. */
class BadRequest extends Error {}

/** What an argument says, or `usual` where it says nothing. */
function address(value: unknown, usual: string, what: string): string {
  if (value === undefined || value === "") return usual;
  if (typeof value !== "string" || !isIpv4(value)) throw new BadRequest(`add_hostfwd: bad arguments.${what}`);
  return value;
}

function port(value: unknown, what: string): number {
  if (typeof value !== "number" || !Number.isInteger(value) || value < 1 || value > 65_535) {
    throw new BadRequest(`add_hostfwd: bad arguments.${what}`);
  }
  return value;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export class Slirp4netnsApi {
  private readonly entries = new Map<number, Entry>();
  private lastId = 0;

  /** `guest`: where forwards go that name no guest. */
  constructor(
    private readonly forwards: RunningForwards,
    private readonly guest: string,
  ) {}

  /** The answer to a request. Never rejects. */
  async answer(text: string): Promise<string> {
    try {
      return JSON.stringify(await this.obey(text));
    } catch (error) {
      if (!(error instanceof BadRequest)) throw error;
      return JSON.stringify({ error: { desc: `bad request: ${error.message}` } });
    }
  }

  private async obey(text: string): Promise<object> {
    let request: unknown;
    try {
      request = JSON.parse(text);
    } catch {
      throw new BadRequest("cannot parse JSON");
    }
    if (!isObject(request)) throw new BadRequest("json_object() failed");
    const given = isObject(request["arguments"]) ? request["arguments"] : {};
    switch (request["execute"]) {
      case undefined:
        throw new BadRequest("no execute found");
      case "add_hostfwd":
        return { return: { id: await this.add(given) } };
      case "list_hostfwd": {
        const entries = [...this.entries.values()].map(({ shown }) => shown);
        // The program answers the one, its manual says the other.
        return { return: { entries }, entries };
      }
      case "remove_hostfwd":
        await this.remove(given["id"]);
        return { return: {} };
      default:
        throw new BadRequest("unknown execute");
    }
  }

  private async add(given: Record<string, unknown>): Promise<number> {
    const { proto } = given;
    if (proto !== "tcp" && proto !== "udp") throw new BadRequest("add_hostfwd: bad arguments.proto");
    const host = address(given["host_addr"], EVERY_ADDRESS, "host_addr");
    const hostPort = port(given["host_port"], "host_port");
    const guest = address(given["guest_addr"], this.guest, "guest_addr");
    const guestPort = port(given["guest_port"], "guest_port");
    let added: { readonly id: number };
    try {
      added = await this.forwards.add({
        protocol: proto,
        hostAddress: parseIpv4(host),
        hostPort,
        guestAddress: parseIpv4(guest),
        guestPort,
      });
    } catch {
      throw new BadRequest("add_hostfwd: slirp_add_hostfwd failed");
    }
    const id = ++this.lastId;
    const shown = {
      id,
      proto,
      host_addr: host,
      host_port: hostPort,
      guest_addr: guest,
      guest_port: guestPort,
    } as const;
    this.entries.set(id, { forward: added.id, shown });
    return id;
  }

  private async remove(id: unknown): Promise<void> {
    const entry = typeof id === "number" ? this.entries.get(id) : undefined;
    if (entry === undefined) throw new BadRequest("remove_hostfwd: bad arguments.id");
    try {
      await this.forwards.remove(entry.forward);
    } catch {
      throw new BadRequest("remove_hostfwd: slirp_remove_hostfwd failed");
    }
    this.entries.delete(entry.shown.id);
  }
}

/** Whether a text is one whole object: a client that does not close its side need not wait. */
function isWhole(text: string): boolean {
  try {
    return isObject(JSON.parse(text));
  } catch {
    return false;
  }
}

function serveClient(socket: Socket, api: Slirp4netnsApi): void {
  let text = "";
  let isAnswered = false;
  const reply = (answer: string): void => {
    socket.end(answer);
    // What it still says is read, or the kernel would throw the answer away with it; but not for ever.
    socket.setTimeout(LINGER_MS, () => socket.destroy());
  };
  const take = (end: boolean): void => {
    if (isAnswered) return;
    if (text.length >= REQUEST_OCTETS_MAX) {
      isAnswered = true;
      reply(JSON.stringify({ error: { desc: "bad request: too large message" } }));
    } else if (end || isWhole(text)) {
      isAnswered = true;
      void api.answer(text).then(reply);
    }
  };
  socket.setEncoding("latin1");
  socket.on("data", (chunk: string) => {
    if (!isAnswered) text += chunk;
    take(false);
  });
  socket.on("end", () => take(true));
  socket.on("error", () => socket.destroy());
}

/** Serves the API on a Unix socket; an old file there is removed. Rejects with the system's error. Returns what ends it. */
export async function serveApi(path: string, api: Slirp4netnsApi): Promise<() => void> {
  rmSync(path, { force: true });
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    serveClient(socket, api);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, resolve);
  });
  return () => {
    server.close();
    for (const socket of sockets) socket.destroy();
    rmSync(path, { force: true });
  };
}
