/**
 * The resources of the control API, version 1: what requests may say and what answers say. Requests are checked by these
 * schemas, docs/openapi.json is made from them, and the client's types are theirs.
 *
 * Times are ISO 8601 with milliseconds in UTC; durations are milliseconds. Unknown members are errors.
 */
import { z } from "zod";
import { DROP_REASONS } from "../engine/metrics/drop-reasons.ts";
import { questionFields } from "./dns-schema.ts";
import { at, count, endpointSchema, id, instant, port, protocolSchema } from "./schema-parts.ts";

export * from "./capture-schema.ts";
export * from "./dns-schema.ts";
export { endpointSchema, protocolSchema } from "./schema-parts.ts";

/** Flows of one page, and by default. */
export const PAGE_ROWS_MAX = 1000;

export const directionSchema = z.enum(["out", "in"]);
export const logLevelSchema = z.enum(["error", "warn", "info", "debug"]);

// --- state -----------------------------------------------------------------------------------------------------------

const poolSchema = z.strictObject({ used: count, size: count });

export const stateSchema = z
  .strictObject({
    version: z.string(),
    name: z.string().meta({ description: "of the instance: --name, or its process id" }),
    command: z
      .enum(["run", "exec", "qemu", "library"])
      .meta({ description: "that serves it; library: a program's own engine" }),
    pid: id.meta({ description: "of the supervisor" }),
    enginePid: id,
    startedAt: instant,
    uptimeMs: count,
    link: z.strictObject({
      name: z.string().meta({ description: "such as tap tap0" }),
      up: z.boolean().meta({ description: "a guest is attached" }),
      pulled: z.boolean().meta({ description: "its cable was pulled by PUT /v1/link" }),
    }),
    network: z.strictObject({
      mtu: count,
      subnet: z.string().meta({ description: "such as 10.0.2.0/24" }),
      gateway: z.string(),
      dns: z.string().nullable(),
      guest: z.string().meta({ description: "where forwards go that name no guest" }),
      ipv6: z
        .strictObject({ prefix: z.string(), gateway: z.string(), dns: z.string().nullable() })
        .nullable(),
    }),
    logLevel: logLevelSchema,
    forwards: count,
    pools: z.strictObject({
      tcpFlows: poolSchema,
      udpMappings: poolSchema,
      dnsQuestions: poolSchema,
      smallChunks: poolSchema,
      largeChunks: poolSchema,
      transmitQueue: poolSchema,
      reassembly: poolSchema,
    }),
    records: z.strictObject({
      lost: count.meta({ description: "records of flows, drops and DNS that nobody read in time" }),
    }),
  })
  .meta({ id: "State" });

// --- flows -----------------------------------------------------------------------------------------------------------

export const flowSchema = z
  .strictObject({
    id: id.meta({ description: "never given twice by an instance" }),
    protocol: protocolSchema,
    direction: directionSchema,
    state: z.string().meta({ description: "TCP: of RFC 9293; UDP: MAPPED" }),
    guest: endpointSchema,
    remote: endpointSchema.meta({ description: "the other end as the guest sees it" }),
    target: endpointSchema.meta({ description: "where the host's socket really goes" }),
    names: z.array(z.string()).meta({ description: "DNS names lately answered with the target's address" }),
    forward: id.nullable().meta({ description: "the forward its client came by" }),
    octetsFromGuest: count,
    octetsToGuest: count,
    ageMs: count,
    idleMs: count,
  })
  .meta({ id: "Flow" });

export const flowQuerySchema = z.strictObject({
  host: z.string().min(1).max(300).optional().meta({
    description: "ADDRESS, ADDRESS:PORT, [ADDRESS6]:PORT or NAME of the remote, or the guest's end",
  }),
  protocol: protocolSchema.optional(),
  state: z.string().max(32).optional(),
  limit: z.coerce.number().int().min(1).max(PAGE_ROWS_MAX).default(PAGE_ROWS_MAX),
  after: z.coerce.number().int().nonnegative().default(0).meta({ description: "`next` of the page before" }),
});

export const flowPageSchema = z
  .strictObject({
    flows: z.array(flowSchema),
    next: id.nullable().meta({ description: "`after` of the next page; null on the last" }),
  })
  .meta({ id: "FlowPage" });

export const killQuerySchema = z.strictObject({ host: z.string().min(1).max(300) });
export const killedSchema = z.strictObject({ killed: count }).meta({ id: "Killed" });

// --- forwards --------------------------------------------------------------------------------------------------------

export const forwardSchema = z
  .strictObject({
    id: id.meta({ description: "never given twice by an instance" }),
    rule: z.string().meta({ description: "in -p's grammar, or hostfwd's where it names a guest" }),
    protocol: protocolSchema,
    hostAddress: z.string().meta({ description: "of either family; * for all of both" }),
    hostPort: port.meta({ description: "the first, as bound" }),
    guestAddress: z
      .string()
      .nullable()
      .meta({ description: "null: the guest of forwards that name none; []: its own of IPv6" }),
    guestPort: port,
    ports: z.int().min(1).max(65535).meta({ description: "how many, in a row" }),
    origin: z.enum(["start", "added"]),
  })
  .meta({ id: "Forward" });

export const forwardRequestSchema = z
  .strictObject({
    rule: z
      .string()
      .min(1)
      .max(300)
      .meta({ description: "in -p's grammar (2222:22) or hostfwd's (tcp::2222-:22)" }),
  })
  .meta({ id: "ForwardRequest" });
export const forwardListSchema = z
  .strictObject({ forwards: z.array(forwardSchema) })
  .meta({ id: "ForwardList" });
export const forwardRemovalQuerySchema = z.strictObject({
  cut: z
    .enum(["true", "false"])
    .default("false")
    .meta({ description: "reset the connections it has let in, too" }),
});

// --- leases, counters, drops -----------------------------------------------------------------------------------------

export const leaseSchema = z
  .strictObject({
    address: z.string(),
    mac: z.string(),
    expiresInMs: count.nullable().meta({ description: "null: never" }),
  })
  .meta({ id: "Lease" });
export const leaseListSchema = z.strictObject({ leases: z.array(leaseSchema) }).meta({ id: "LeaseList" });

const dropReasonSchema = z.enum(DROP_REASONS);
export const dropsSchema = z
  .partialRecord(dropReasonSchema, count)
  .meta({ description: "frames and datagrams not carried, by reason; without those that are 0" });
export const countersSchema = z
  .strictObject({
    counters: z.record(z.string(), count).meta({ description: "by name; without those that are 0" }),
    drops: dropsSchema,
  })
  .meta({ id: "Counters" });

// --- why -------------------------------------------------------------------------------------------------------------

export const WHY_LABELS = [
  "denied",
  "failed",
  "waiting",
  "open",
  "unknown",
  "because",
  "names",
  "also",
  "to allow",
  "to change",
] as const;
export const whyRequestSchema = z
  .strictObject({
    target: z.string().max(300).default("").meta({
      description:
        "an address, a name, either with a port, or a flow's number; empty: the last denial or failure",
    }),
  })
  .meta({ id: "WhyRequest" });
export const whySchema = z
  .strictObject({
    lines: z.array(
      z.strictObject({
        label: z
          .enum(WHY_LABELS)
          .meta({ description: "the first line says what happened, the others explain" }),
        text: z.string().meta({ description: "printable ASCII" }),
      }),
    ),
  })
  .meta({ id: "Why" });

// --- policy ----------------------------------------------------------------------------------------------------------

const verdictSchema = z.enum(["allow", "deny", "ask"]);
const verdictCounts = {
  allowed: count.meta({ description: "flows that it let through" }),
  denied: count.meta({ description: "flows, questions and names shown that it did not" }),
};

export const policyRuleSchema = z
  .strictObject({
    id: id.meta({ description: "never given twice by an instance" }),
    name: z.string(),
    verdict: verdictSchema,
    targets: z.array(z.string()).meta({ description: "as in a policy's file" }),
    private: z.boolean(),
    check: z.enum(["tls", "http", "none"]).nullable().meta({ description: "null: by the port" }),
    message: z.string().nullable(),
    expiresInMs: count.nullable().meta({ description: "null: it stays" }),
    ...verdictCounts,
  })
  .meta({ id: "PolicyRule" });

export const policySchema = z
  .strictObject({
    generation: id.meta({ description: "grows with each change; also the ETag" }),
    default: verdictSchema,
    mode: z.enum(["enforce", "audit"]),
    rules: z.array(policyRuleSchema).meta({ description: "in order: the first that matches decides" }),
    ...verdictCounts,
    text: z.string().meta({
      description: "the whole as YAML, as PUT takes it; allowed and denied above are the default's",
    }),
  })
  .meta({ id: "Policy" });

/** Characters of a policy's text. */
export const POLICY_TEXT_MAX = 4_194_304;
export const policyRequestSchema = z
  .strictObject({
    text: z.string().max(POLICY_TEXT_MAX).meta({ description: "YAML or JSON, as a policy's file" }),
    label: z
      .string()
      .min(1)
      .max(4096)
      .default("policy")
      .meta({ description: "what messages call it, such as policy.yaml" }),
    directory: z
      .string()
      .regex(/^\//, { error: "an absolute path" })
      .max(4096)
      .optional()
      .meta({ description: "on the instance's host, where the lists of targets lie that it names" }),
    keepOpen: z.boolean().default(false).meta({ description: "leave open what it does not allow any more" }),
  })
  .meta({ id: "PolicyRequest" });

export const policyChangeSchema = z
  .strictObject({
    generation: id.meta({ description: "of the policy that holds now" }),
    added: z.array(z.string()).meta({ description: "names of rules" }),
    removed: z.array(z.string()),
    kept: count.meta({ description: "rules that say what they said, with their counts" }),
    tests: count.meta({ description: "its tests, which all passed" }),
    warnings: z.array(z.string()).meta({ description: "what is legal and not what it seems" }),
  })
  .meta({ id: "PolicyChange" });

/** Two weeks. */
const RULE_SECONDS_MAX = 1_209_600;
/** Characters of what a program says of its decision. */
const REASON_MAX = 300;
export const ruleRequestSchema = z
  .strictObject({
    verdict: verdictSchema,
    target: z.string().min(1).max(1000).meta({ description: "as in a policy's file" }),
    for: z
      .int()
      .min(1)
      .max(RULE_SECONDS_MAX)
      .optional()
      .meta({ description: "seconds; by default it stays" }),
    private: z.boolean().default(false).meta({ description: "the name may lead to private addresses" }),
  })
  .meta({ id: "RuleRequest" });

export const policyDenialSchema = z
  .strictObject({
    host: z.string().meta({ description: "a name as it was asked for or shown, or an address" }),
    port: port.meta({ description: "0 for a question" }),
    protocol: z.enum(["tcp", "udp", "dns"]),
    reason: z.enum(DROP_REASONS),
    rule: z.string().nullable().meta({ description: "the rule that decided; null: the default" }),
    count,
    isPrivate: z
      .boolean()
      .meta({ description: "it is a name that led to a private address: its rule has to say private" }),
  })
  .meta({ id: "PolicyDenial" });
export const policyDenialListSchema = z
  .strictObject({ denials: z.array(policyDenialSchema).meta({ description: "most tries first" }) })
  .meta({ id: "PolicyDenialList" });

export const questionSchema = z
  .strictObject({
    id: id.meta({ description: "never given twice by an instance" }),
    host: z.string().meta({ description: "the name that led there, or the address" }),
    port,
    protocol: protocolSchema,
    rule: z.string().meta({ description: "the one that asks" }),
    state: z.enum(["open", "allowed", "denied", "expired"]),
    count: count.meta({ description: "flows that asked" }),
    endsInMs: count
      .nullable()
      .meta({ description: "of an open one until it expires, of an answer until it ends; null: never" }),
  })
  .meta({ id: "Question" });
export const questionListSchema = z
  .strictObject({ questions: z.array(questionSchema).meta({ description: "the open ones first" }) })
  .meta({ id: "QuestionList" });
export const answerSchema = z
  .strictObject({
    verdict: z.enum(["allow", "deny"]),
    for: z
      .union([z.literal("once"), z.literal("always"), z.int().min(1).max(RULE_SECONDS_MAX)])
      .default("once")
      .meta({ description: "once: those that wait; seconds; always: until the instance ends" }),
  })
  .meta({ id: "Answer" });
/** Of a program, which may say why. Not part of the API. */
export const decisionSchema = z.union([
  answerSchema.shape.verdict,
  z.strictObject({
    ...answerSchema.shape,
    reason: z
      .string()
      .max(REASON_MAX)
      .optional()
      .meta({ description: "for the log, and for whoever follows questions" }),
  }),
]);

// --- ports of our own ---------------------------------------------------------------------------------------------------

/** A listener of a program of ours. */
export const controlPortSchema = z
  .strictObject({
    address: z
      .union([z.ipv4(), z.ipv6()])
      .meta({ description: "that it listens on; 0.0.0.0 and :: are all of this host's" }),
    port: port.min(1),
  })
  .meta({ id: "ControlPort" });

// --- log, link, stop -------------------------------------------------------------------------------------------------

export const logSchema = z.strictObject({ level: logLevelSchema }).meta({ id: "LogLevel" });
export const linkSchema = z.strictObject({ up: z.boolean() }).meta({ id: "Link" });
export const stopSchema = z.strictObject({}).meta({ id: "Stop" });

// --- events ----------------------------------------------------------------------------------------------------------

export const EVENT_TYPES = [
  "flow-opened",
  "flow-ended",
  "drop",
  "dns",
  "link",
  "forward",
  "policy",
  "question",
  "question-answered",
  "records-lost",
] as const;
const endsSchema = at.extend({
  flow: id,
  protocol: protocolSchema,
  direction: directionSchema,
  guest: endpointSchema,
  remote: endpointSchema,
  target: endpointSchema,
  forward: id.nullable(),
});

/** The records of records.ts with their times as text. */
export const eventSchema = z
  .discriminatedUnion("type", [
    endsSchema.extend({ type: z.literal("flow-opened") }),
    endsSchema.extend({
      type: z.literal("flow-ended"),
      start: instant,
      octetsFromGuest: count,
      octetsToGuest: count,
      packetsFromGuest: count,
      packetsToGuest: count,
      connectMs: count.nullable(),
      retransmits: count,
      reason: z.string(),
      endedBy: z.enum(["guest", "host", "sluice"]),
      hostError: z.string().nullable(),
    }),
    at.extend({
      type: z.literal("drop"),
      reason: dropReasonSchema,
      times: count,
      from: z.enum(["guest", "host"]),
      sample: z.string().meta({ description: "the frame's first octets, in hexadecimal" }),
      length: count,
      protocol: protocolSchema.nullable(),
      guest: endpointSchema.nullable(),
      remote: endpointSchema.nullable(),
    }),
    at.extend({ type: z.literal("dns"), ...questionFields }),
    at.extend({ type: z.literal("link"), up: z.boolean(), name: z.string() }),
    at.extend({ type: z.literal("forward"), action: z.enum(["added", "removed"]), id, rule: z.string() }),
    at.extend({
      type: z.literal("policy"),
      generation: id,
      added: z.array(z.string()),
      removed: z.array(z.string()),
    }),
    at.extend({
      type: z.literal("question"),
      id,
      host: z.string(),
      port,
      protocol: protocolSchema,
      rule: z.string(),
      endsInMs: count,
    }),
    at.extend({
      type: z.literal("question-answered"),
      ...questionSchema.pick({ id: true, host: true, port: true, protocol: true, rule: true }).shape,
      verdict: answerSchema.shape.verdict,
      by: z.enum(["person", "program"]).meta({ description: "program: the one of --decide" }),
      reason: z.string().nullable().meta({ description: "a program's" }),
    }),
    at.extend({ type: z.literal("records-lost"), count }),
  ])
  .meta({ id: "Event" });
export const eventQuerySchema = z.strictObject({
  types: z
    .string()
    .transform((text) => text.split(","))
    .pipe(z.array(z.enum(EVENT_TYPES)))
    .default([...EVENT_TYPES])
    .meta({ description: "comma-separated; all of them by default" }),
});

// --- errors ----------------------------------------------------------------------------------------------------------

/** RFC 9457, media type application/problem+json. */
export const problemSchema = z
  .strictObject({
    type: z.string().meta({ description: "about:blank" }),
    title: z.string(),
    status: z.int().min(400).max(599),
    detail: z.string(),
    problems: z
      .array(z.strictObject({ place: z.string(), found: z.string().optional(), allowed: z.string() }))
      .optional()
      .meta({ description: "everything wrong with the request, all at once" }),
  })
  .meta({ id: "Problem" });

export type State = z.infer<typeof stateSchema>;
export type Flow = z.infer<typeof flowSchema>;
export type FlowQuery = z.input<typeof flowQuerySchema>;
export type FlowPage = z.infer<typeof flowPageSchema>;
export type Killed = z.infer<typeof killedSchema>;
export type ForwardResource = z.infer<typeof forwardSchema>;
export type LeaseResource = z.infer<typeof leaseSchema>;
export type CountersResource = z.infer<typeof countersSchema>;
export type ControlEvent = z.infer<typeof eventSchema>;
export type EventType = ControlEvent["type"];
export type ControlProblem = z.infer<typeof problemSchema>;
export type PolicyResource = z.infer<typeof policySchema>;
export type PolicyRuleResource = z.infer<typeof policyRuleSchema>;
export type PolicyRequest = z.output<typeof policyRequestSchema>;
export type PolicyChangeResource = z.infer<typeof policyChangeSchema>;
export type RuleRequest = z.output<typeof ruleRequestSchema>;
export type Question = z.infer<typeof questionSchema>;
export type Answer = z.output<typeof answerSchema>;
export type Decision = z.input<typeof decisionSchema>;
export type PolicyDenial = z.infer<typeof policyDenialSchema>;
export type ControlPortRequest = z.infer<typeof controlPortSchema>;
export type Why = z.infer<typeof whySchema>;
export type LogLevelName = z.infer<typeof logLevelSchema>;
