/**
 * A resolver on the host's loopback, UDP and TCP on one port, for the engine to ask. What it knows:
 * `*.test` has the A record it was given, `big.test` TXT has more than fits in 512 octets, `missing.test` does not exist.
 */
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { type AddressInfo, createServer, type Server } from "node:net";
import packet, { type Packet } from "dns-packet";

const UDP_OCTETS_MAX = 512;
const TTL = 60;
/** Strings of the TXT record of `big.test`. */
export const BIG_TEXTS = Array.from({ length: 20 }, (_, i) => String.fromCharCode(97 + i).repeat(100));

const NXDOMAIN = 3;

export class DnsServer {
  /** `udp name TYPE` or `tcp name TYPE` of each question so far. */
  readonly asked: string[] = [];
  readonly #udp: Socket = createSocket("udp4");
  readonly #tcp: Server = createServer();
  #port = 0;

  /** `address` is what names have. */
  constructor(private readonly address: string) {}

  get port(): number {
    return this.#port;
  }

  /** Listens on 127.0.0.1, or on the loopback address given. */
  async listen(host = "127.0.0.1"): Promise<this> {
    this.#udp.on("message", (octets, from) => {
      this.#udp.send(this.answer("udp", octets), from.port, from.address);
    });
    this.#tcp.on("connection", (socket) => {
      let received = Buffer.alloc(0);
      socket.on("error", () => {});
      socket.on("data", (octets) => {
        received = Buffer.concat([received, octets]);
        while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
          const length = received.readUInt16BE(0);
          const answer = this.answer("tcp", received.subarray(2, 2 + length));
          received = received.subarray(2 + length);
          const head = Buffer.alloc(2);
          head.writeUInt16BE(answer.length);
          socket.write(Buffer.concat([head, answer]));
        }
      });
    });
    this.#tcp.listen(0, host);
    await once(this.#tcp, "listening");
    this.#port = (this.#tcp.address() as AddressInfo).port;
    this.#udp.bind(this.#port, host);
    await once(this.#udp, "listening");
    return this;
  }

  private answer(transport: "udp" | "tcp", octets: Buffer): Buffer {
    const query = packet.decode(octets);
    const [question] = query.questions ?? [];
    const { name, type } = question!;
    this.asked.push(`${transport} ${name} ${type}`);
    const known = name !== "missing.test";
    const answers: Packet["answers"] =
      name === "big.test" && type === "TXT"
        ? [{ type, name, ttl: TTL, data: [...BIG_TEXTS] }]
        : known && type === "A"
          ? [{ type, name, ttl: TTL, data: this.address }]
          : [];
    const reply: Packet = {
      type: "response",
      id: query.id!,
      flags: packet.RECURSION_DESIRED | packet.RECURSION_AVAILABLE | (known ? 0 : NXDOMAIN),
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
  }
}
