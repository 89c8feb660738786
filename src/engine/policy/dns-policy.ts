/** What a policy has to do with DNS: which questions leave, which addresses come of the answers, and what a denied one is told. */

import { dropReason } from "../metrics/drop-reasons.ts";
import {
  DENIED,
  LIMITED,
  NO_DATA,
  PASSES,
  type QuestionJudge,
  REFUSED,
  STANDS_IN,
} from "../network/judge.ts";
import {
  CLASS_IN,
  DNS_HEADER_OCTETS,
  flags,
  OPCODE_MASK,
  questionClass,
  questionType,
  RCODE_MASK,
  TYPE_A,
  TYPE_ANY,
  TYPE_HTTPS,
  TYPE_SVCB,
} from "../wire/dns.ts";
import { DnsAnswer } from "../wire/dns-answer.ts";
import { setMapped } from "../wire/mapped-address.ts";
import { type FlowInHand, OVER_DNS } from "./denials.ts";
import type { Policy } from "./policy.ts";
import { NO_RULE } from "./rule-set.ts";

const BY_RULE = dropReason("policy-denied");
const BY_DEFAULT = dropReason("policy-no-rule");
const RATE = dropReason("policy-rate");
const MALFORMED = dropReason("policy-name-malformed");
const WORDS = 4;
/** The gateway's network does not change while it runs. */
const HOST_NAME_SECONDS = 3600;

/** `_`, which the labels of a service begin with. */
const UNDERSCORE = 0x5f;
const SERVICE_LABELS_MAX = 2;

const QUESTION: FlowInHand = { words: new Int32Array(WORDS), port: 0, protocol: OVER_DNS };

export class DnsPolicy implements QuestionJudge {
  /** Why the last question was denied. */
  reason = BY_DEFAULT;
  standIn = 0;
  private readonly answer = new DnsAnswer();
  private readonly address = new Int32Array(WORDS);

  /** `standInType`: of the questions that are answered with stand-ins, which is the family the guest has. */
  constructor(
    private readonly policy: Policy,
    private readonly standInType: number = TYPE_A,
  ) {}

  /** Whether denied names are refused and not denied to exist. */
  get refuses(): boolean {
    return this.policy.config.answers === "refused";
  }

  /** The question of the message at `at` that ends after `end` octets. */
  question(view: DataView, at: number, end: number): number {
    const { policy } = this;
    const { rules, config, name } = policy;
    if (!policy.limits.mayAsk(policy.uptimeMs())) {
      name.labels = 0;
      this.deny(RATE, NO_RULE);
      return LIMITED;
    }
    const isStrict = config.way !== undefined || (!rules.allowsByDefault && !config.audit);
    name.labels = 0;
    const isPlain = end !== DNS_HEADER_OCTETS && (flags(view, at) & OPCODE_MASK) === 0;
    if (!isPlain || questionClass(view, at, end) !== CLASS_IN) return isStrict ? REFUSED : PASSES;
    const type = questionType(view, at, end);
    const isOfService = type === TYPE_HTTPS || type === TYPE_SVCB;
    const nameAt = at + DNS_HEADER_OCTETS;
    const isName = name.readLabels(view, isOfService ? behindService(view, nameAt) : nameAt, at + end);
    if (!isName) {
      if (!isStrict) return PASSES;
      this.deny(MALFORMED, NO_RULE);
      return DENIED;
    }
    if (!rules.mayAsk(name)) {
      this.deny(rules.decidedBy === NO_RULE ? BY_DEFAULT : BY_RULE, rules.decidedBy);
      if (!config.audit) return this.denied(type);
      if (config.way === undefined) return PASSES;
    }
    if (policy.standIns !== null && (config.way !== undefined || rules.hasWay(name))) {
      if (type !== this.standInType) return NO_DATA;
      this.standIn = policy.standIns.of(name, policy.uptimeMs());
      return this.standIn === 0 ? REFUSED : STANDS_IN;
    }
    return (isOfService || type === TYPE_ANY) && rules.hasNames && !config.audit ? NO_DATA : PASSES;
  }

  /** A name that is denied exists where connections to it are told why. */
  private denied(type: number): number {
    const { config, standIns, name } = this.policy;
    if (config.answers !== "explain" || standIns === null) return DENIED;
    if (type !== this.standInType) return NO_DATA;
    this.standIn = standIns.of(name, this.policy.uptimeMs());
    return this.standIn === 0 ? DENIED : STANDS_IN;
  }

  private deny(reason: number, rule: number): void {
    const { policy } = this;
    this.reason = reason;
    policy.rule = rule;
    policy.counts.deny(rule);
    policy.denials.note(
      QUESTION,
      policy.name.labels > 0 ? policy.name : null,
      reason,
      rule === NO_RULE ? -1 : rule,
    );
  }

  /** Why, in words for an extended error. */
  explain(): string {
    const { policy } = this;
    const { config, name, rule } = policy;
    const decided = rule === NO_RULE ? undefined : config.rules[rule];
    const subject = name.labels > 0 ? name.text : "this";
    const because =
      this.reason === MALFORMED
        ? "this is no host name"
        : decided === undefined
          ? `no rule names ${subject}`
          : `rule ${decided.name} denies ${subject}`;
    const message = decided?.message ?? config.message;
    return message === undefined ? because : `${because}: ${message}`;
  }

  /** An answer to the question that is kept at `queryAt` and ends after `end` octets: its addresses are pinned. */
  answered(view: DataView, queryAt: number, end: number, at: number, length: number): void {
    const { policy, answer, address } = this;
    if (!policy.rules.hasNames && !policy.config.audit) return;
    if ((flags(view, at) & RCODE_MASK) !== 0 || end === DNS_HEADER_OCTETS) return;
    if (!policy.name.readLabels(view, queryAt + DNS_HEADER_OCTETS, queryAt + end)) return;
    answer.read(view, at, length, end);
    const uptime = policy.uptimeMs();
    for (let i = 0; i < answer.count; i++) {
      for (let word = 0; word < WORDS; word++) address[word] = answer.words[i * WORDS + word];
      // Flows to an address that carries another are judged by the inner one.
      const inner = policy.inner(address, 0);
      if (inner > 1) continue;
      if (inner === 1) setMapped(address, 0, policy.flow.embedded[0]);
      policy.pins.add(policy.name, address, 0, answer.ttl[i], false, uptime);
    }
  }

  /** A name of ours was answered with an address of the guest's network: that is no secret of the host's. */
  answeredHere(view: DataView, at: number, end: number, address: number): void {
    const { policy } = this;
    if (!policy.name.readLabels(view, at + DNS_HEADER_OCTETS, at + end)) return;
    setMapped(this.address, 0, address);
    policy.pins.add(policy.name, this.address, 0, HOST_NAME_SECONDS, true, policy.uptimeMs());
  }
}

/**
 * Where the name begins whose service the question at `at` is about: `_8443._https.www.example.com` is one for www.example.com (RFC
 * 9460 section 2.3). The question is whole.
 */
function behindService(view: DataView, at: number): number {
  for (let labels = 0; labels < SERVICE_LABELS_MAX; labels++) {
    const next = at + 1 + view.getUint8(at);
    // Behind the last label nothing would be left.
    if (view.getUint8(at + 1) !== UNDERSCORE || view.getUint8(next) === 0) return at;
    at = next;
  }
  return at;
}
