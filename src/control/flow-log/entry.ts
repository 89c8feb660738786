/** Records to lines of the flow log (schema.ts): pure functions. Those of flows: flow-lines.ts. */
import type { DnsQuestion, Dropped, Endpoint, EngineRecord, FlowEnded, FlowOpened } from "../records.ts";
import { communityId, PROTOCOL_NUMBERS } from "./community-id.ts";
import { ECS_VERSION, type FlowLogEntry } from "./schema.ts";

const NS_PER_MS = 1_000_000;

/** What lines are told besides the record. */
export interface EntryContext {
  readonly instance: string;
  /** Names lately answered with an address, the newest first. */
  readonly namesOf: (address: string) => readonly { readonly name: string }[];
}

type Event = FlowLogEntry["event"];
type Network = NonNullable<FlowLogEntry["network"]>;

const instant = (ms: number): string => new Date(ms).toISOString();

/** The parts all lines have. `sluice` is added to the instance's name. */
function entry(
  context: EntryContext,
  atMs: number,
  event: Omit<Event, "kind" | "category">,
  sluice: Omit<FlowLogEntry["sluice"], "instance">,
): FlowLogEntry {
  return {
    "@timestamp": instant(atMs),
    ecs: { version: ECS_VERSION },
    event: { kind: "event", category: ["network"], ...event },
    sluice: { instance: context.instance, ...sluice },
  };
}

function networkOf(protocol: "tcp" | "udp", guest: Endpoint, remote: Endpoint): Network {
  return {
    transport: protocol,
    type: guest.address.includes(":") ? "ipv6" : "ipv4",
    iana_number: protocol === "tcp" ? `${PROTOCOL_NUMBERS.tcp}` : `${PROTOCOL_NUMBERS.udp}`,
    community_id: communityId(protocol, guest, remote),
  };
}

const end = ({ address, port }: Endpoint): { ip: string; port: number } => ({ ip: address, port });

/** A denial, told `times` times since the last line about it. */
export function denial(
  record: Dropped & { readonly protocol: "tcp" | "udp"; readonly guest: Endpoint; readonly remote: Endpoint },
  times: number,
  context: EntryContext,
): FlowLogEntry {
  const { atMs, protocol, guest, remote, reason } = record;
  const [name] = context.namesOf(remote.address);
  const event = {
    type: ["connection", "denied"],
    action: "flow-denied",
    outcome: "failure",
    reason,
  } satisfies Omit<Event, "kind" | "category">;
  return {
    ...entry(context, atMs, event, { times }),
    network: { ...networkOf(protocol, guest, remote), direction: "egress" },
    source: end(guest),
    destination: { ...end(remote), ...(name === undefined ? {} : { domain: name.name }) },
  };
}

function dnsEntry(record: DnsQuestion, context: EntryContext): FlowLogEntry {
  const { atMs, guest, transport, rcode, durationMs } = record;
  const event = {
    type: ["protocol", "info"],
    action: "dns",
    outcome: rcode === "NOERROR" ? "success" : "failure",
    start: instant(atMs - durationMs),
    end: instant(atMs),
    duration: Math.round(durationMs * NS_PER_MS),
  } satisfies Omit<Event, "kind" | "category">;
  return {
    ...entry(context, atMs, event, { answered_by: record.answeredBy, ttl_s: record.ttlSeconds }),
    network: {
      transport,
      type: guest.address.includes(":") ? "ipv6" : "ipv4",
      iana_number: transport === "tcp" ? `${PROTOCOL_NUMBERS.tcp}` : `${PROTOCOL_NUMBERS.udp}`,
      protocol: "dns",
    },
    source: end(guest),
    dns: {
      type: "answer",
      question: { name: record.name, type: record.questionType },
      ...(rcode === null ? {} : { response_code: rcode }),
      resolved_ip: [...record.addresses],
    },
  };
}

const INFO = { type: ["info"], outcome: "unknown" } as const;

/** The line of a record; a drop has none of its own (see denials.ts). */
export function entryOf(
  record: Exclude<EngineRecord, Dropped | FlowOpened | FlowEnded>,
  context: EntryContext,
): FlowLogEntry {
  switch (record.type) {
    case "dns":
      return dnsEntry(record, context);
    case "link": {
      const { up, name } = record;
      return entry(context, record.atMs, { ...INFO, type: ["info"], action: "link" }, { link: { up, name } });
    }
    case "forward": {
      const { id: forward, rule, action: change } = record;
      const event = { ...INFO, type: ["info" as const], action: "forward" as const };
      return entry(context, record.atMs, event, { forward, rule, change });
    }
    case "policy": {
      const { generation, added, removed } = record;
      const event = { ...INFO, type: ["info" as const], action: "policy-changed" as const };
      const policy = { generation, added: [...added], removed: [...removed] };
      return entry(context, record.atMs, event, { policy });
    }
    case "question": {
      const { id, host, port, protocol, rule } = record;
      const event = { ...INFO, type: ["info" as const], action: "question" as const };
      return entry(context, record.atMs, event, { question: { id, host, port, protocol, rule } });
    }
    case "question-answered": {
      const { id, host, port, protocol, rule, verdict, by, reason } = record;
      const event = { ...INFO, type: ["info" as const], action: "question-answered" as const };
      const question = { id, host, port, protocol, rule };
      return entry(context, record.atMs, event, { question, answer: { id, verdict, by, reason } });
    }
    case "records-lost":
      return entry(
        context,
        record.atMs,
        { ...INFO, type: ["info"], action: "records-lost" },
        { lost: record.count },
      );
  }
}
