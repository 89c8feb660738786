/**
 * A resolver on the host's loopback, UDP and TCP on one port, for the engine to ask. What it knows:
 * `*.test` has the A record it was given, `big.test` TXT has more than fits in 512 octets, `huge.test` TXT 60 KiB,
 * `missing.test` does not exist. It may fail in all the ways resolvers do.
 */
import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import packet, { type Packet } from "dns-packet";

const UDP_OCTETS_MAX = 512;
const TTL = 60;
/** Strings of the TXT record of `big.test`. */
export const BIG_TEXTS = Array.from({ length: 20 }, (_, i) => String.fromCharCode(97 + i).repeat(100));

export const HUGE_TEXTS = Array.from({ length: 240 }, (_, i) =>
  String.fromCharCode(48 + (i % 70)).repeat(250),
);

const NXDOMAIN = 3;

export interface DnsServerBehaviour {
  /** Say this to every question. */
  readonly rcode?: number;
  /** Over TCP: take no connections, or take them and say nothing. */
  readonly tcp?: "closed" | "silent";
  /** Wait so long before each answer. */
  readonly delayMs?: number;
}

const DNS_HEADER_OCTETS = 12;

export class DnsServer {
  /** `udp name TYPE` or `tcp name TYPE` of each question so far. */
  readonly asked: string[] = [];
  /** The id and port each came with. */
  readonly origins: { readonly id: number; readonly port: number }[] = [];
  readonly #udp: UdpSocket = createSocket("udp4");
  readonly #tcp: Server = createServer();
  readonly #open = new Set<Socket>();
  #port = 0;

  /** `address` is what names have. */
  constructor(
    private readonly address: string,
    private readonly behaviour: DnsServerBehaviour = {},
  ) {}

  get port(): number {
    return this.#port;
  }

  /** Takes a port for both; false where somebody else has it for UDP. */
  private async bind(host: string): Promise<boolean> {
    this.#tcp.listen(0, host);
    await once(this.#tcp, "listening");
    this.#port = (this.#tcp.address() as AddressInfo).port;
    try {
      this.#udp.bind(this.#port, host);
      await once(this.#udp, "listening");
      return true;
    } catch {
      this.#tcp.close();
      await once(this.#tcp, "close");
      return false;
    }
  }

  /** Listens on 127.0.0.1, or on the loopback address given. */
  async listen(host = "127.0.0.1"): Promise<this> {
    this.#udp.on("message", (octets, from) => {
      // What asks nothing is for whoever had this port a moment ago.
      if (octets.length < DNS_HEADER_OCTETS || octets.readUInt16BE(4) === 0) return;
      const answer = this.answer("udp", octets, from.port);
      this.later(() => this.#udp.send(answer, from.port, from.address));
    });
    this.#tcp.on("connection", (socket) => {
      let received = Buffer.alloc(0);
      socket.on("error", () => {});
      this.#open.add(socket);
      socket.once("close", () => this.#open.delete(socket));
      if (this.behaviour.tcp === "silent") return;
      socket.on("data", (octets) => {
        received = Buffer.concat([received, octets]);
        while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
          const length = received.readUInt16BE(0);
          const answer = this.answer("tcp", received.subarray(2, 2 + length), socket.remotePort ?? 0);
          received = received.subarray(2 + length);
          const head = Buffer.alloc(2);
          head.writeUInt16BE(answer.length);
          this.later(() => socket.write(Buffer.concat([head, answer])));
        }
      });
    });
    for (let tries = 0; !(await this.bind(host)); tries++) {
      if (tries === 20) throw new Error("no port of the host is free for TCP and UDP alike");
    }
    if (this.behaviour.tcp === "closed") this.#tcp.close();
    return this;
  }

  private later(send: () => void): void {
    const { delayMs = 0 } = this.behaviour;
    if (delayMs === 0) send();
    else setTimeout(send, delayMs);
  }

  private answer(transport: "udp" | "tcp", octets: Buffer, port: number): Buffer {
    const query = packet.decode(octets);
    const [question] = query.questions ?? [];
    const { name, type } = question!;
    this.asked.push(`${transport} ${name} ${type}`);
    this.origins.push({ id: query.id!, port });
    const { rcode = name === "missing.test" ? NXDOMAIN : 0 } = this.behaviour;
    const texts = name === "big.test" ? BIG_TEXTS : name === "huge.test" ? HUGE_TEXTS : undefined;
    const answers: Packet["answers"] =
      rcode === 0 && type === "TXT" && texts
        ? [{ type, name, ttl: TTL, data: [...texts] }]
        : rcode === 0 && type === "A"
          ? [{ type, name, ttl: TTL, data: this.address }]
          : [];
    const reply: Packet = {
      type: "response",
      id: query.id!,
      flags: packet.RECURSION_DESIRED | packet.RECURSION_AVAILABLE | rcode,
      questions: [question!],
      answers,
    };
    const encoded = packet.encode(reply);
    if (transport === "tcp" || encoded.length <= UDP_OCTETS_MAX) return encoded;
    return packet.encode({ ...reply, flags: reply.flags! | packet.TRUNCATED_RESPONSE, answers: [] });
  }

  close(): void {
    this.#udp.close();
    this.#tcp.close();
    for (const socket of this.#open) socket.destroy();
  }
}
