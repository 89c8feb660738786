/**
 * The classes that judge packets, used as the engine uses them, but for packets: names come in DNS messages and in the first
 * octets of a connection, answers to questions by their numbers.
 */
import packet from "dns-packet";
import type { PolicyConfig, PolicyWay } from "../../../../src/engine/config.ts";
import { CHECK, GO, isChecked, ticketOf } from "../../../../src/engine/network/destinations.ts";
import {
  DENIED,
  LIMITED,
  NO_DATA,
  PASSES,
  REFUSED,
  STANDS_IN,
} from "../../../../src/engine/network/judge.ts";
import { DnsPolicy } from "../../../../src/engine/policy/dns-policy.ts";
import { NameTable } from "../../../../src/engine/policy/name-table.ts";
import { Pins } from "../../../../src/engine/policy/pins.ts";
import { Policy } from "../../../../src/engine/policy/policy.ts";
import { CHECK_TLS, NO_RULE } from "../../../../src/engine/policy/rule-set.ts";
import { OVER_QUIC } from "../../../../src/engine/policy/targets.ts";
import { formatAddress } from "../../../../src/engine/wire/address-text.ts";
import {
  ClientHello,
  isHandshakeRecord,
  RECORD_HEADER_OCTETS,
} from "../../../../src/engine/wire/client-hello.ts";
import { HOST_FOUND, RequestHead } from "../../../../src/engine/wire/http-head.ts";
import { clientHello, inRecords, namesExtension } from "../../../support/policy-rig.ts";
import { ADDRESSES, type FirstOctets, type Flow, OWN, type QuestionOutcome } from "./flows.ts";

const MAX_FLOWS = 64;
const PINS = 512;
const NAMES = 64;
const WORDS = 4;
const V4_MAPPED = 0xffff;
const ENCRYPTED_HELLO = Buffer.from([0xfe, 0x0d, 0, 1, 0]);
const QUESTION_OUTCOMES: Readonly<Record<number, QuestionOutcome>> = {
  [PASSES]: "passes",
  [DENIED]: "denied",
  [NO_DATA]: "no-data",
  [STANDS_IN]: "stands-in",
  [LIMITED]: "limited",
  [REFUSED]: "denied",
};

export interface CompiledOutcome {
  readonly reaches: boolean;
  /** -1: the default. */
  readonly rule: number;
  readonly way: PolicyWay | null;
}

interface OpenFlow {
  readonly id: number;
  readonly end: number;
}

/** What never changes, made once. */
const made = new Map<string, DataView>();
function kept(key: string, make: () => Uint8Array): DataView {
  let view = made.get(key);
  if (view === undefined) {
    const octets = Uint8Array.from(make());
    view = new DataView(octets.buffer);
    made.set(key, view);
  }
  return view;
}

/** A question, or with `data` its answer, by way of another name. */
function message(name: string, type: "A" | "AAAA", data?: string, ttl = 0): DataView {
  return kept(`${name} ${type} ${data} ${ttl}`, () =>
    packet.encode({
      type: data === undefined ? "query" : "response",
      questions: [{ type, name }],
      answers:
        data === undefined
          ? []
          : [
              { type: "CNAME", name, ttl: 90_000, data: "cdn.test" },
              { type, name: "cdn.test", ttl, data },
              { type, name: "other.test", ttl, data: type === "A" ? "203.0.113.2" : "2001:db8::1" },
            ],
    }),
  );
}

/** What a connection says first. */
function octetsOf({ protocol, name, isTwofold, ech }: FirstOctets): DataView {
  return kept(`${protocol} ${name} ${isTwofold} ${ech}`, () => {
    if (protocol === "tls")
      return inRecords(
        clientHello(name, [
          ...(isTwofold ? [namesExtension("a.b"), namesExtension("c")] : []),
          ...(ech ? [ENCRYPTED_HELLO] : []),
        ]),
      );
    if (protocol === "other") return Buffer.from("SSH-2.0-x\r\n");
    const fields = [
      ...(name === null ? [] : [`Host: ${name}`]),
      ...(isTwofold ? ["Host: a", "host: b"] : []),
    ];
    return Buffer.from(["GET / HTTP/1.1", ...fields, "", ""].join("\r\n"));
  });
}

export class Compiled {
  readonly engine: Policy;
  private readonly dns: DnsPolicy;
  private readonly hello = new ClientHello();
  private readonly head = new RequestHead();
  private open: OpenFlow[] = [];
  private nowMs = 0;
  private ids = 0;

  constructor(private readonly config: PolicyConfig) {
    this.engine = new Policy({
      config,
      uptimeMs: () => this.nowMs,
      narrower: null,
      udpTimeoutMs: 1000,
      hasDns: true,
      maxFlows: MAX_FLOWS,
    });
    // Room for a few pins; stand-ins are told of it.
    Object.assign(this.engine, { pins: new Pins(config.pinGraceMs, PINS, new NameTable(NAMES)) });
    this.engine.replace(
      config,
      config.rules.map((_, i) => i),
    );
    this.engine.setHostAddresses(OWN);
    this.dns = new DnsPolicy(this.engine);
  }

  /** It is later: what is over ends. */
  at(nowMs: number): void {
    const { engine } = this;
    this.nowMs = nowMs;
    engine.asking.questions.work();
    // Remotes are judged once; each flow here is one that was not seen before.
    engine.remotes.clear();
    for (const { id, end } of this.open) {
      if (end > nowMs) continue;
      const limit = engine.limits.ofFlow(id);
      if (limit !== null) limit.open--;
    }
    this.open = this.open.filter(({ end }) => end > nowMs);
  }

  /** The guest asks for the name, which leads to this address. Returns what becomes of it, and the stand-in it gets. */
  ask(name: string, address: number, seconds: number): { outcome: QuestionOutcome; standIn: number } {
    const { words } = ADDRESSES[address];
    const type = isIpv4(words) ? "A" : "AAAA";
    const query = message(name, type);
    const end = query.byteLength;
    const verdict = this.dns.question(query, 0, end);
    if (verdict === PASSES) {
      const text = formatAddress(Int32Array.from(words), 0);
      const answer = message(name, type, text, seconds);
      const both = kept(`both ${name} ${type} ${text} ${seconds}`, () =>
        Buffer.concat([bytesOf(query), bytesOf(answer)]),
      );
      this.dns.answered(both, 0, end, end, answer.byteLength);
    }
    return { outcome: QUESTION_OUTCOMES[verdict], standIn: this.dns.standIn };
  }

  /** Whether octets of the flow to this address reach the other end, and by what. */
  flow(flow: Flow, words: Int32Array): CompiledOutcome {
    const { engine } = this;
    const pair = Int32Array.from([...new Array<number>(WORDS).fill(0), ...words]);
    const wish = { guestAddress: 1, remoteAddress: words[3], remotePort: flow.port };
    const wish6 = { pair, remotePort: flow.port };
    const isTcp = flow.protocol === "tcp";
    let verdict = isIpv4(words)
      ? isTcp
        ? engine.tcp(wish)
        : engine.udp(wish, 0)
      : isTcp
        ? engine.tcp6(wish6)
        : engine.udp6(wish6, 0);
    const { way, lenient } = engine;
    const atFirst = engine.rule;
    const hasToShow = isChecked(verdict);
    if (ticketOf(verdict) >= 0) verdict = this.answer(flow, hasToShow);
    const outcome = (reaches: boolean, rule: number): CompiledOutcome => ({
      reaches,
      rule: rule === NO_RULE ? -1 : rule,
      way: isTcp ? way : null,
    });
    if (verdict !== GO && verdict !== CHECK) return outcome(false, engine.rule);
    const id = this.ids++ % MAX_FLOWS;
    const counts = hasToShow && !lenient ? NO_RULE : atFirst;
    if (isTcp) this.begin(id, counts, flow);
    let reaches = true;
    if (hasToShow) reaches = isTcp ? this.shows(flow, words, id, way) : this.showsQuic(flow, words);
    // Of one that may show nothing, and does, it is the one that let it begin.
    const rule = hasToShow && this.wasShown ? engine.rule : atFirst;
    if (reaches) engine.limits.ofRule(rule)?.take(0, flow.octets);
    return outcome(reaches, rule);
  }

  private wasShown = false;

  /** Somebody answers while it waits, or nobody. Returns the verdict then. */
  private answer({ port, protocol, answer }: Flow, hasToShow: boolean): number {
    const { engine } = this;
    if (answer === null) return 0;
    const { questions } = engine.asking;
    const host = engine.byName ? engine.pinnedName.text : formatAddress(engine.flow.words, 0);
    const row = questions
      .rows()
      .find(
        (each) =>
          each.state === "open" && each.host === host && each.port === port && each.protocol === protocol,
      );
    if (row === undefined) throw new Error(`nobody is asked about ${host}:${port}/${protocol}`);
    questions.answer(row.id, answer.isYes, answer.forMs, false);
    if (!answer.isYes) return 0;
    return hasToShow ? CHECK : GO;
  }

  /** As connections that are opened count for a rule: ways/detours.ts, metered-network.ts. */
  private begin(id: number, rule: number, flow: Flow): void {
    const { limits } = this.engine;
    limits.bind(id, rule);
    const limit = limits.ofFlow(id);
    if (limit !== null) limit.open++;
    this.open.push({ id, end: this.nowMs + flow.lastsMs });
  }

  /** As names/held-names.ts decides. */
  private shows({ first, port }: Flow, words: Int32Array, id: number, way: PolicyWay | null): boolean {
    const { engine } = this;
    const { lenient } = engine;
    const isNamed = this.read(octetsOf(first), engine.check);
    this.wasShown = isNamed;
    if (!isNamed) return lenient || this.end(id);
    if (this.config.refuseEch && engine.check === CHECK_TLS && this.hello.hasEncrypted) return this.end(id);
    if (engine.shown(words, 0, port, way) !== 0) return this.end(id);
    return engine.limits.rebind(id, engine.rule, this.nowMs) === 0 || this.end(id);
  }

  /** As names/quic-names.ts decides. */
  private showsQuic({ first, port }: Flow, words: Int32Array): boolean {
    const { engine } = this;
    const isNamed = first.protocol === "tls" && this.read(octetsOf(first), CHECK_TLS);
    this.wasShown = isNamed;
    if (!isNamed || (this.config.refuseEch && this.hello.hasEncrypted)) return false;
    if (engine.shown(words, 0, port, null, OVER_QUIC) !== 0) return false;
    return (engine.limits.ofRule(engine.rule)?.admit(false, this.nowMs) ?? 0) === 0;
  }

  /** Takes the name of these octets in hand. False where there is none. */
  private read(view: DataView, check: number): boolean {
    const octets = bytesOf(view);
    const { hello, head, engine } = this;
    if (check !== CHECK_TLS) {
      if (head.read(octets, octets.length) !== HOST_FOUND) return false;
      return engine.name.readText(octets, head.hostAt, head.hostOctets);
    }
    if (!isHandshakeRecord(octets[0], octets[1], (octets[3] << 8) | octets[4])) return false;
    const body = octets.subarray(RECORD_HEADER_OCTETS);
    return hello.read(body, body.length) === 0 && engine.name.readText(body, hello.nameAt, hello.nameOctets);
  }

  /** The connection ends, refused. */
  private end(id: number): false {
    const limit = this.engine.limits.ofFlow(id);
    if (limit !== null) limit.open--;
    this.open = this.open.filter((each) => each.id !== id);
    return false;
  }
}

const bytesOf = (view: DataView): Uint8Array => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
const isIpv4 = (words: ArrayLike<number>): boolean => words[2] === V4_MAPPED && words[0] === 0;
