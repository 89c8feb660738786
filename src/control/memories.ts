/** What a supervisor remembers of the records, so that it can say why: bounded, the least recently used gives way. */
import { LRUCache } from "lru-cache";
import { isDenying } from "../engine/metrics/drop-reasons.ts";
import type { AskedName, Denial, HostFailure, KnownName, Memories } from "./instance.ts";
import type { DnsQuestion, Dropped, Endpoint, EngineRecord, FlowEnded } from "./records.ts";

const ADDRESSES_MAX = 8192;
const NAMES_PER_ADDRESS = 8;
const NAMES_MAX = 4096;
const ADDRESSES_PER_NAME = 32;
const FAILURES_MAX = 1024;
const DENIALS_MAX = 1024;
const DROPS_MAX = 1024;
const QUESTIONS_MAX = 256;

/** Ends that say something about the target. */
const FAILURES: ReadonlySet<FlowEnded["reason"]> = new Set([
  "refused",
  "timed-out",
  "host-reset",
  "no-resources",
]);

const endText = (address: string, port: number): string => `${address} ${port}`;

/** As records have names. */
function plainName(name: string): string {
  return name.toLowerCase().replace(/\.$/, "");
}

export class BoundedMemories implements Memories {
  private readonly names = new LRUCache<string, readonly KnownName[]>({ max: ADDRESSES_MAX });
  private readonly addresses = new LRUCache<string, readonly string[]>({ max: NAMES_MAX });
  private readonly asked = new LRUCache<string, AskedName>({ max: NAMES_MAX });
  private readonly failed = new LRUCache<string, HostFailure & Endpoint>({ max: FAILURES_MAX });
  private readonly denied = new LRUCache<string, Denial>({ max: DENIALS_MAX });
  private readonly dropped = new LRUCache<number, Dropped>({ max: DROPS_MAX });
  private readonly lastQuestions = new LRUCache<number, DnsQuestion>({ max: QUESTIONS_MAX });
  private lastDrop = 0;
  private lastQuestion = 0;

  note(record: EngineRecord): void {
    if (record.type === "dns") this.noteAnswer(record);
    else if (record.type === "flow-ended") this.noteEnd(record);
    else if (record.type === "drop") this.noteDrop(record);
  }

  private noteAnswer(question: DnsQuestion): void {
    this.lastQuestions.set(++this.lastQuestion, question);
    const { name, addresses, atMs, rcode, answeredBy, questionType } = question;
    const times = (this.asked.get(name)?.times ?? 0) + 1;
    this.asked.set(name, { atMs, rcode, answeredBy, questionType, times });
    if (addresses.length === 0) return;
    const before = this.addresses.get(name) ?? [];
    const all = [...addresses, ...before.filter((address) => !addresses.includes(address))];
    this.addresses.set(name, all.slice(0, ADDRESSES_PER_NAME));
    for (const address of addresses) {
      const others = (this.names.get(address) ?? []).filter((known) => known.name !== name);
      this.names.set(address, [{ name, answeredAtMs: atMs }, ...others].slice(0, NAMES_PER_ADDRESS));
    }
  }

  private noteEnd({ reason, hostError, target, atMs, endedBy }: FlowEnded): void {
    if (!FAILURES.has(reason) || endedBy === "guest") return;
    const key = endText(target.address, target.port);
    const times = (this.failed.get(key)?.times ?? 0) + 1;
    this.failed.set(key, { ...target, atMs, hostError: hostError ?? reason, times });
  }

  private noteDrop(record: Dropped): void {
    this.dropped.set(++this.lastDrop, record);
    const { reason, protocol, guest, remote, atMs, times } = record;
    if (!isDenying(reason) || protocol === null || guest === null || remote === null) return;
    const key = [reason, protocol, guest.address, endText(remote.address, remote.port)].join(" ");
    const known = this.denied.get(key);
    this.denied.set(key, {
      reason,
      protocol,
      guest,
      remote,
      firstMs: known?.firstMs ?? atMs,
      lastMs: atMs,
      times: (known?.times ?? 0) + times,
    });
  }

  namesOf(address: string): readonly KnownName[] {
    return this.names.get(address) ?? [];
  }

  known(most: number): { address: string; name: string }[] {
    const known: { address: string; name: string }[] = [];
    for (const [address, [newest]] of this.names.entries()) {
      if (known.length >= most) break;
      if (newest !== undefined) known.push({ address, name: newest.name });
    }
    return known;
  }

  addressesOf(name: string): readonly string[] {
    return this.addresses.get(plainName(name)) ?? [];
  }

  failures(): readonly (HostFailure & Endpoint)[] {
    return [...this.failed.values()];
  }

  questionOf(name: string): AskedName | undefined {
    return this.asked.get(plainName(name));
  }

  questions(): readonly DnsQuestion[] {
    return [...this.lastQuestions.values()];
  }

  denials(): readonly Denial[] {
    return [...this.denied.values()];
  }

  drops(): readonly Dropped[] {
    return [...this.dropped.values()];
  }
}
