/**
 * An engine with a policy between a guest and a network that a test holds in its hands: the guest asks, a resolver
 * answers what the test says, connections go where they go.
 */
import packet, { type Answer, type DecodedPacket, type Packet } from "dns-packet";
import { readPolicy } from "../../src/config/policy/read.ts";
import type { PolicyDocument } from "../../src/config/policy/schema.ts";
import { formatProblem, type Problem } from "../../src/config/problem.ts";
import type { EnginePorts } from "../../src/engine/api.ts";
import type { EngineConfig, PolicyConfig } from "../../src/engine/config.ts";
import { asUdp, udp } from "../hostile/guest-packets.ts";
import { FrameExchange, type HeldSocket, type SentDatagram } from "./frame-exchange.ts";
import { ip } from "./frames.ts";
import { TcpGuest } from "./tcp-guest.ts";

export { ALERT_49, clientHello, hello, inRecords, namesExtension } from "./client-hello.ts";

export const DNS = ip("10.0.2.3");
const RESOLVER_PORT = 5301;

/** A policy as a file says it. Throws what is wrong with it. */
export function policyOf(document: Omit<PolicyDocument, "version"> | string): PolicyConfig {
  const problems: Problem[] = [];
  const source =
    typeof document === "string"
      ? { label: "policy.yaml", text: document }
      : { label: "policy", value: { version: 1, ...document } };
  const read = readPolicy({ flags: [], source, fallback: undefined, audit: false }, problems);
  if (read === undefined) throw new Error(problems.map(formatProblem).join("\n"));
  return read.config;
}

export type Reply = DecodedPacket & { readonly rcode: string };

export class PolicyRig {
  readonly exchange: FrameExchange;
  /** `name TYPE` of each question that left. */
  readonly left: string[] = [];
  private ids = 1;
  private ports = 41_000;

  /** `questionOver`: a program decides before people do. */
  constructor(
    document: Omit<PolicyDocument, "version"> | string,
    config: Partial<EngineConfig> = {},
    questionOver?: EnginePorts["questionOver"],
  ) {
    const whole: Partial<EngineConfig> = {
      resolvers: [{ words: [0, 0, 0xffff, 0x7f000001], port: RESOLVER_PORT, scope: 0 }],
      policy: policyOf(document),
      ...config,
    };
    this.exchange = new FrameExchange(whole, false, undefined, undefined, questionOver);
  }

  /** The guest asks; `records` are what the resolver says, should it hear of it. Null: no answer came. */
  ask(name: string, records: readonly Answer[] = [], over: Partial<Packet> = {}, to = DNS): Reply | null {
    const query = packet.encode({
      type: "query",
      id: this.ids++,
      flags: packet.RECURSION_DESIRED,
      questions: [{ type: "A", name }],
      ...over,
    });
    return this.askRaw(query, records, to);
  }

  askRaw(query: Uint8Array, records: readonly Answer[] = [], to = DNS): Reply | null {
    const { exchange } = this;
    const before = exchange.network.datagrams.length;
    const sourcePort = this.ports++;
    const frames = exchange.exchange(udp({ to, sourcePort, destinationPort: 53, payload: query }));
    for (const sent of exchange.network.datagrams.slice(before)) {
      this.answer(sent, records);
      frames.push(...exchange.settle());
    }
    const reply = frames.map(asUdp).find(({ sourcePort: from, source }) => from === 53 && source === to);
    return reply === undefined ? null : (packet.decode(Buffer.from(reply.payload)) as Reply);
  }

  /** The guest asks for a name that has these addresses. */
  resolve(name: string, ...addresses: readonly string[]): Reply | null {
    return this.ask(
      name,
      addresses.map((data) => ({ type: "A", name, ttl: 60, data })),
    );
  }

  /** The guest connects; null when it is told no, or nothing. */
  connect(to: string, port: number): TcpGuest | null {
    const guest = new TcpGuest(this.exchange, { to: ip(to), port, sourcePort: this.ports++ });
    return guest.open() ? guest : null;
  }

  /** Another policy; `before` as `EngineCore.setPolicy` has it, none by default. */
  replace(
    document: Omit<PolicyDocument, "version">,
    keepOpen = false,
    before = (document.rules ?? []).map(() => -1),
  ): void {
    const { exchange } = this;
    exchange.core.setPolicy(policyOf(document), before, keepOpen, exchange.now);
  }

  /** The guest's SYN; it may be answered later. */
  begin(to: string, port: number): TcpGuest {
    const guest = new TcpGuest(this.exchange, { to: ip(to), port, sourcePort: this.ports++ });
    guest.begin();
    return guest;
  }

  /** Answers the question of sluice's own that left last. */
  answerOwn(records: readonly Answer[]): void {
    const sent = this.exchange.network.datagrams.at(-1);
    if (sent === undefined) throw new Error("nothing was asked");
    this.answer(sent, records);
  }

  /** Answers a question that left. */
  answer({ octets, handle, words, port }: SentDatagram, answers: readonly Answer[]): void {
    const asked = packet.decode(Buffer.from(octets));
    const [question] = asked.questions ?? [];
    this.left.push(`${question?.name} ${question?.type}`);
    const answer = packet.encode({
      type: "response",
      id: asked.id ?? 0,
      flags: packet.RECURSION_DESIRED | packet.RECURSION_AVAILABLE,
      questions: asked.questions ?? [],
      answers: [...answers],
    });
    this.exchange.network.arriveFrom(handle, words, port, answer);
  }

  /** The host's socket of the last connection. */
  get socket(): HeldSocket {
    const socket = this.exchange.network.sockets.at(-1);
    if (socket === undefined) throw new Error("nothing was connected");
    return socket;
  }

  /** Whether a datagram to this remote left. */
  sends(to: string, port: number): boolean {
    const before = this.exchange.network.datagrams.length;
    this.exchange.exchange(
      udp({ to: ip(to), sourcePort: 42_000, destinationPort: port, payload: Buffer.from("x") }),
    );
    return this.exchange.network.datagrams.length > before;
  }

  /** The guest sends datagrams from one of its ports; returns those that left at once. */
  datagrams(
    to: string,
    port: number,
    payloads: readonly Uint8Array[],
    sourcePort = 42_000,
  ): readonly SentDatagram[] {
    const { exchange } = this;
    const before = exchange.network.datagrams.length;
    for (const payload of payloads) {
      exchange.exchange(udp({ to: ip(to), sourcePort, destinationPort: port, payload }));
    }
    return exchange.network.datagrams.slice(before);
  }

  /** `host:port reason` of each denial, most tries first. */
  get denials(): string[] {
    return this.exchange.core.denials().map(({ host, port, reason }) => `${host}:${port} ${reason}`);
  }
}
