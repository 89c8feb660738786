/**
 * Questions: flows whose rule says `ask`, each target once, with who waits for an answer and what was answered.
 *
 *   open      flows wait, until somebody answers or the rule's time has passed; a program that decides has it first
 *   answered  allowed or denied, for as long as the answer says
 *   expired   nobody answered, or all that waited for a program's answer have gone; it stays listed for an hour, and an answer
 *             then counts for the next try
 *
 * A target is the name by whose pin the flow goes, or else its address, with port and protocol. Bounded; what finds no place is
 * refused. The ticket of an open question is that of every flow that waits for it (network/destinations.ts).
 */
import { QUESTIONS_MAX, QUESTIONS_OPEN_MAX } from "../limits.ts";
import { dropReason } from "../metrics/drop-reasons.ts";
import { QUESTION_TICKETS, refuse, wait } from "../network/destinations.ts";
import { formatAddress } from "../wire/address-text.ts";
import type { FlowInHand } from "./denials.ts";
import { Name } from "./name.ts";
import { OVER_TCP } from "./targets.ts";

const WORDS = 4;
const NAME_SLOT_OCTETS = 256;
const NOT_THERE = -1;

const FREE = 0;
const OPEN = 1;
const ALLOWED = 2;
const DENIED = 3;
const EXPIRED = 4;
const STATES = ["free", "open", "allowed", "denied", "expired"] as const;

/** How long an answer for those that wait now is one for who comes right behind them; and a late one for the next try. */
const ONCE_MS = 10_000;
const LATE_ONCE_MS = 120_000;
const LISTED_MS = 3_600_000;

/** Who has an open question: people; a program, for datagrams alone or for connections that wait. */
const PEOPLE = 0;
const PROGRAM = 1;
const PROGRAM_WAITED = 2;
/** How often it is looked whether anybody still waits for a program. */
const LOOK_MS = 250;

const OUT_OF_TIME = dropReason("policy-question-expired");
const NO = dropReason("policy-question-refused");
const HOOK_FAILED = dropReason("policy-hook-failed");
const FULL = refuse(dropReason("policy-question-full"));
const UNATTENDED = dropReason("policy-question-unattended");
/** A datagram, or a name that was shown: nothing of it waits. */
const WAITS = refuse(dropReason("policy-question-open"));

/** For people. */
export interface QuestionRow {
  /** Never given twice. */
  readonly id: number;
  readonly host: string;
  readonly port: number;
  readonly protocol: "tcp" | "udp";
  /** The rule that asks. */
  readonly rule: string;
  readonly state: "open" | "allowed" | "denied" | "expired";
  /** Flows that asked. */
  readonly count: number;
  /** Of an open one until it expires, of an answer until it ends: null for never. */
  readonly endsInMs: number | null;
}

/** What became of an answer: it counts; somebody was quicker; there is no such question. */
export type AnswerResult = "taken" | "answered" | "unknown";

/** Why a program's answer to a question does not count any more. */
export type QuestionEnd = "answered" | "gone" | "late" | "policy";

/** How a flow is asked about. */
export interface Terms {
  /** The one that asks. */
  readonly rule: number;
  readonly withinMs: number;
  /** It may be asked while nobody is there to answer. */
  readonly canBeUnattended: boolean;
  /** Of the flow, once it is allowed. */
  readonly verdict: number;
  /** It can wait until somebody has answered. */
  readonly canWait: boolean;
}

/** What a question is about. */
export interface AskedFlow {
  readonly flow: FlowInHand;
  readonly name: Name | null;
  readonly rule: number;
  /** Of those that wait, once they are allowed: GO, or CHECK where they have yet to show a name. */
  readonly verdict: number;
}

export interface QuestionsParts {
  readonly uptimeMs: () => number;
  /** Flows to this target that wait under this ticket go on, or are told no for `reason`, a drop reason. */
  readonly decided: (asked: AskedFlow, ticket: number, isAllowed: boolean, reason: number) => void;
  /** Somebody should be told. */
  readonly opened: (row: QuestionRow) => void;
  readonly nameOfRule: (rule: number) => string;
  /** Somebody is there to answer, of people. */
  readonly isAttended: () => boolean;
  /** A program decides before people do. */
  readonly hasProgram: () => boolean;
  /** The program's answer is waited for no more. */
  readonly over: (id: number, end: QuestionEnd) => void;
  /** Whether flows wait under this ticket. */
  readonly waits: (ticket: number) => boolean;
}

export class Questions {
  /** Grows with every answer: what was refused before may be allowed now. */
  generation = 0;
  private lastId = 0;
  private openCount = 0;
  /** When it is looked next whether anybody waits for a program. */
  private lookAtMs = 0;
  private readonly state = new Uint8Array(QUESTIONS_MAX);
  private readonly id = new Float64Array(QUESTIONS_MAX);
  private readonly until = new Float64Array(QUESTIONS_MAX);
  private readonly words = new Int32Array(QUESTIONS_MAX * WORDS);
  private readonly octets = new Uint8Array(QUESTIONS_MAX * NAME_SLOT_OCTETS);
  private readonly nameLength = new Uint8Array(QUESTIONS_MAX);
  private readonly port = new Int32Array(QUESTIONS_MAX);
  private readonly protocol = new Uint8Array(QUESTIONS_MAX);
  private readonly rule = new Int32Array(QUESTIONS_MAX);
  private readonly verdict = new Int32Array(QUESTIONS_MAX);
  private readonly count = new Float64Array(QUESTIONS_MAX);
  private readonly holder = new Uint8Array(QUESTIONS_MAX);
  /** Of what is denied: the drop reason. */
  private readonly reason = new Int32Array(QUESTIONS_MAX);

  constructor(private readonly parts: QuestionsParts) {}

  /**
   * The flow in hand, whose rule asks. Returns `terms.verdict` where it is allowed, a refusal, or for what can wait the same once the question
   * has been answered. What cannot wait is refused for the time being.
   */
  ask(flow: FlowInHand, name: Name | null, terms: Terms): number {
    const { rule, verdict, canWait } = terms;
    const now = this.parts.uptimeMs();
    let slot = this.find(flow, name);
    if (slot !== NOT_THERE && now < this.until[slot]) {
      if (this.state[slot] !== EXPIRED) this.count[slot]++;
      if (this.state[slot] === ALLOWED) return verdict;
      if (this.state[slot] === DENIED) return refuse(this.reason[slot]);
      if (this.state[slot] === OPEN) return canWait ? this.join(slot, verdict) : WAITS;
    }
    const isDecided = this.parts.hasProgram();
    if (!terms.canBeUnattended && !isDecided && !this.parts.isAttended()) return refuse(UNATTENDED);
    if (this.openCount >= QUESTIONS_OPEN_MAX) return FULL;
    if (slot === NOT_THERE) slot = this.make(flow, name, now);
    if (slot === NOT_THERE) return FULL;
    this.state[slot] = OPEN;
    this.rule[slot] = rule;
    this.verdict[slot] = verdict;
    this.until[slot] = now + terms.withinMs;
    this.count[slot]++;
    this.openCount++;
    this.holder[slot] = isDecided ? PROGRAM : PEOPLE;
    this.parts.opened(this.rowOf(slot, now));
    return canWait ? this.join(slot, verdict) : WAITS;
  }

  /** A connection waits for what becomes of the open question. */
  private join(slot: number, verdict: number): number {
    if (this.holder[slot] === PROGRAM) this.holder[slot] = PROGRAM_WAITED;
    return wait(ticketOfSlot(slot), verdict);
  }

  private find({ words, port, protocol }: FlowInHand, name: Name | null): number {
    for (let slot = 0; slot < QUESTIONS_MAX; slot++) {
      if (this.state[slot] === FREE || this.port[slot] !== port || this.protocol[slot] !== protocol) continue;
      const length = this.nameLength[slot];
      if (name !== null) {
        if (length > 0 && name.hasSuffix(name.labels, this.octets, slot * NAME_SLOT_OCTETS, length))
          return slot;
        continue;
      }
      let isSame = length === 0;
      for (let i = 0; i < WORDS && isSame; i++) isSame = this.words[slot * WORDS + i] === words[i];
      if (isSame) return slot;
    }
    return NOT_THERE;
  }

  /** A place: a free one, or that of what is over longest. */
  private make({ words, port, protocol }: FlowInHand, name: Name | null, now: number): number {
    let slot = this.state.indexOf(FREE);
    for (let other = 0; slot === NOT_THERE && other < QUESTIONS_MAX; other++) {
      if (this.state[other] !== OPEN && now >= this.until[other]) slot = other;
    }
    if (slot === NOT_THERE) return NOT_THERE;
    this.id[slot] = ++this.lastId;
    this.count[slot] = 0;
    for (let i = 0; i < WORDS; i++) this.words[slot * WORDS + i] = words[i];
    this.nameLength[slot] = name === null ? 0 : name.length;
    for (let i = 0; name !== null && i < name.length; i++) {
      this.octets[slot * NAME_SLOT_OCTETS + i] = name.octets[i];
    }
    this.port[slot] = port;
    this.protocol[slot] = protocol;
    return slot;
  }

  private slotOf(id: number): number {
    const slot = id > 0 ? this.id.indexOf(id) : NOT_THERE;
    return slot === NOT_THERE || this.state[slot] === FREE ? NOT_THERE : slot;
  }

  /**
   * Somebody answers question `id`: for `forMs`, for those that wait (0), or until the end (null). `hasFailed`: it is the
   * failure of a program that denies.
   */
  answer(id: number, isAllowed: boolean, forMs: number | null, hasFailed: boolean): AnswerResult {
    const slot = this.slotOf(id);
    if (slot === NOT_THERE) return "unknown";
    const wasOpen = this.state[slot] === OPEN;
    if (!wasOpen && this.state[slot] !== EXPIRED) return "answered";
    const once = wasOpen ? ONCE_MS : LATE_ONCE_MS;
    const lasts = forMs === null ? Number.POSITIVE_INFINITY : forMs === 0 ? once : forMs;
    this.state[slot] = isAllowed ? ALLOWED : DENIED;
    this.until[slot] = this.parts.uptimeMs() + lasts;
    this.reason[slot] = hasFailed ? HOOK_FAILED : NO;
    if (wasOpen) this.close(slot, isAllowed, this.reason[slot], "answered");
    this.generation = (this.generation + 1) | 0;
    return "taken";
  }

  /**
   * The program leaves question `id` to people. False where none of them has it: it is over, or the policy does not let it wait
   * for those that are not there, and it is refused.
   */
  leave(id: number, canBeUnattended: boolean): boolean {
    const slot = this.slotOf(id);
    if (slot === NOT_THERE || this.state[slot] !== OPEN) return false;
    this.holder[slot] = PEOPLE;
    if (canBeUnattended || this.parts.isAttended()) return true;
    this.state[slot] = DENIED;
    this.until[slot] = this.parts.uptimeMs() + ONCE_MS;
    this.reason[slot] = UNATTENDED;
    this.close(slot, false, UNATTENDED, "answered");
    return false;
  }

  private close(slot: number, isAllowed: boolean, reason: number, end: QuestionEnd): void {
    this.openCount--;
    this.takeFromProgram(slot, end);
    this.parts.decided(this.flowOf(slot), ticketOfSlot(slot), isAllowed, reason);
  }

  private takeFromProgram(slot: number, end: QuestionEnd): void {
    if (this.holder[slot] === PEOPLE) return;
    this.holder[slot] = PEOPLE;
    this.parts.over(this.id[slot], end);
  }

  private flowOf(slot: number): AskedFlow {
    const words = this.words.slice(slot * WORDS, (slot + 1) * WORDS);
    const length = this.nameLength[slot];
    const name = length > 0 ? new Name() : null;
    name?.copy(this.octets, slot * NAME_SLOT_OCTETS, length);
    const flow = { words, port: this.port[slot], protocol: this.protocol[slot] };
    return { flow, name, rule: this.rule[slot], verdict: this.verdict[slot] };
  }

  /** Ends what is out of time, and what a program has that nobody waits for any more: it is asked anew with the next try. */
  work(): void {
    if (this.openCount === 0) return;
    const now = this.parts.uptimeMs();
    const isLooking = now >= this.lookAtMs;
    if (isLooking) this.lookAtMs = now + LOOK_MS;
    for (let slot = 0; slot < QUESTIONS_MAX; slot++) {
      if (this.state[slot] !== OPEN) continue;
      const isLate = now >= this.until[slot];
      if (!isLate && !(isLooking && this.isGivenUp(slot))) continue;
      this.state[slot] = EXPIRED;
      this.until[slot] = now + LISTED_MS;
      if (isLate) this.close(slot, false, OUT_OF_TIME, "late");
      else {
        this.openCount--;
        this.takeFromProgram(slot, "gone");
      }
    }
  }

  private isGivenUp(slot: number): boolean {
    return this.holder[slot] === PROGRAM_WAITED && !this.parts.waits(ticketOfSlot(slot));
  }

  /** Milliseconds until the first is out of time, or it is to be looked who waits, or -1. */
  nextDeadlineMs(): number {
    if (this.openCount === 0) return -1;
    let first = Number.POSITIVE_INFINITY;
    for (let slot = 0; slot < QUESTIONS_MAX; slot++) {
      if (this.state[slot] !== OPEN) continue;
      first = Math.min(first, this.until[slot]);
      if (this.holder[slot] === PROGRAM_WAITED) first = Math.min(first, this.lookAtMs);
    }
    return Math.max(0, Math.ceil(first - this.parts.uptimeMs()));
  }

  /** Rules have other numbers: open questions end, for the new policy to judge the next try; answers stay with their rules. */
  renumber(before: readonly number[]): void {
    for (let slot = 0; slot < QUESTIONS_MAX; slot++) {
      if (this.state[slot] === FREE) continue;
      const wasOpen = this.state[slot] === OPEN;
      this.rule[slot] = before.indexOf(this.rule[slot]);
      if (wasOpen) this.close(slot, false, OUT_OF_TIME, "policy");
      if (wasOpen || this.rule[slot] < 0) this.state[slot] = FREE;
    }
    this.generation = (this.generation + 1) | 0;
  }

  /** For people: the open ones first, then the newest. */
  rows(): QuestionRow[] {
    const now = this.parts.uptimeMs();
    const listed: QuestionRow[] = [];
    for (let slot = 0; slot < QUESTIONS_MAX; slot++) {
      if (this.state[slot] !== FREE && now < this.until[slot]) listed.push(this.rowOf(slot, now));
    }
    return listed.sort((a, b) => Number(b.state === "open") - Number(a.state === "open") || b.id - a.id);
  }

  private rowOf(slot: number, now: number): QuestionRow {
    const length = this.nameLength[slot];
    const name = new Name();
    if (length > 0) name.copy(this.octets, slot * NAME_SLOT_OCTETS, length);
    const left = this.until[slot] - now;
    return {
      id: this.id[slot],
      host: length > 0 ? name.text : formatAddress(this.words, slot * WORDS),
      port: this.port[slot],
      protocol: this.protocol[slot] === OVER_TCP ? "tcp" : "udp",
      rule: this.parts.nameOfRule(this.rule[slot]),
      state: STATES[this.state[slot]] as QuestionRow["state"],
      count: this.count[slot],
      endsInMs: left === Number.POSITIVE_INFINITY ? null : Math.max(0, Math.round(left)),
    };
  }
}

function ticketOfSlot(slot: number): number {
  return QUESTION_TICKETS + slot;
}
