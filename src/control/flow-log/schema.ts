/**
 * A line of the flow log: names of the Elastic Common Schema 9, nested; what it has no name for is under `sluice`.
 * docs/flow-log.schema.json is made from this.
 *
 * `event.duration` is nanoseconds, as ECS wants it; `bytes` are payload octets in order (no headers, nothing sent twice),
 * `packets` frames of the guest's link; whatever is under `sluice` has its unit in its name.
 */
import { z } from "zod";
import { FLOW_END_REASONS } from "../../engine/metrics/flow-end.ts";

export const ECS_VERSION = "9.0.0";

const count = z.int().nonnegative();
const port = z.int().min(0).max(65535);
const instant = z.iso.datetime({ precision: 3 });
const ip = z.union([z.ipv4(), z.ipv6()]);

const event = z.strictObject({
  kind: z.literal("event"),
  category: z.tuple([z.literal("network")]),
  type: z.array(z.enum(["connection", "start", "end", "allowed", "denied", "info", "protocol"])).min(1),
  action: z.enum([
    "flow-start",
    "flow-end",
    "flow-denied",
    "dns",
    "link",
    "forward",
    "policy-changed",
    "question",
    "question-answered",
    "records-lost",
  ]),
  outcome: z.enum(["success", "failure", "unknown"]),
  reason: z.string().optional().meta({ description: "of flow-denied: why, as in the drop counters" }),
  start: instant.optional(),
  end: instant.optional(),
  duration: count.optional().meta({ description: "nanoseconds" }),
});

const network = z.strictObject({
  transport: z.enum(["tcp", "udp"]),
  type: z.enum(["ipv4", "ipv6"]),
  iana_number: z.enum(["6", "17"]),
  protocol: z.literal("dns").optional(),
  direction: z.enum(["egress", "ingress"]).optional().meta({
    description: "egress: the guest began; ingress: a client of a forward",
  }),
  community_id: z
    .string()
    .regex(/^1:[A-Za-z0-9+/]{27}=$/)
    .optional()
    .meta({
      description: "of the ends as the guest's link shows them, seed 0",
    }),
  bytes: count.optional(),
  packets: count.optional(),
});

const nat = z.strictObject({ ip, port });
const source = z.strictObject({
  ip,
  port,
  bytes: count.optional(),
  packets: count.optional(),
  nat: nat
    .optional()
    .meta({ description: "of a client of a forward: what it looks like to the guest, if not itself" }),
});
const destination = z.strictObject({
  ip,
  port,
  bytes: count.optional(),
  packets: count.optional(),
  domain: z.string().optional().meta({ description: "the name lately answered with this address" }),
  nat: nat.optional().meta({ description: "where the host's socket really goes, if not there" }),
});

const dns = z.strictObject({
  type: z.literal("answer"),
  question: z.strictObject({ name: z.string(), type: z.string() }),
  response_code: z.string().optional().meta({ description: "absent: nobody answered" }),
  resolved_ip: z.array(ip),
});

const sluice = z.strictObject({
  instance: z.string(),
  flow: z.int().positive().optional().meta({ description: "numbers the flows of an instance" }),
  end: z.enum(FLOW_END_REASONS).optional(),
  ended_by: z.enum(["guest", "host", "sluice"]).optional(),
  connect_ms: count.nullable().optional(),
  retransmits: count.optional().meta({ description: "segments sent to the guest again" }),
  forward: z
    .int()
    .positive()
    .optional()
    .meta({ description: "the forward the client came by, or that changed" }),
  times: z
    .int()
    .positive()
    .optional()
    .meta({ description: "of flow-denied: tries since the last line of it" }),
  answered_by: z.enum(["resolver", "sluice", "nobody"]).optional(),
  ttl_s: count.optional(),
  link: z.strictObject({ up: z.boolean(), name: z.string() }).optional(),
  rule: z.string().optional(),
  change: z.enum(["added", "removed"]).optional(),
  policy: z
    .strictObject({
      generation: z.int().positive(),
      added: z.array(z.string()),
      removed: z.array(z.string()),
    })
    .optional()
    .meta({ description: "of policy-changed: names of rules" }),
  question: z
    .strictObject({
      id: z.int().positive(),
      host: z.string(),
      port,
      protocol: z.enum(["tcp", "udp"]),
      rule: z.string(),
    })
    .optional()
    .meta({ description: "what a flow waits for somebody to say, or waited for" }),
  answer: z
    .strictObject({
      id: z.int().positive(),
      verdict: z.enum(["allow", "deny"]),
      by: z.enum(["person", "program"]),
      reason: z.string().nullable(),
    })
    .optional()
    .meta({
      description: "of question-answered: to which question, by whom, and why, where a program said so",
    }),
  lost: z.int().positive().optional().meta({ description: "records that could not be told in time" }),
});

export const flowLogEntrySchema = z
  .strictObject({
    "@timestamp": instant,
    ecs: z.strictObject({ version: z.literal(ECS_VERSION) }),
    event,
    network: network.optional(),
    source: source.optional(),
    destination: destination.optional(),
    dns: dns.optional(),
    error: z
      .strictObject({ code: z.string() })
      .optional()
      .meta({ description: "what the host's socket said" }),
    sluice,
  })
  .meta({ title: "A line of sluice's flow log" });

export type FlowLogEntry = z.infer<typeof flowLogEntrySchema>;
