/** What a policy file may say. Each part's error is what would be right there, as half a sentence. */
import { z } from "zod";
import { POLICY_RULES_MAX, POLICY_TARGETS_MAX } from "../../engine/limits.ts";
import { DURATION } from "./duration.ts";

const OCTETS = /^[1-9]\d{0,8}(B|kB|MB|GB|KiB|MiB|GiB)$/;
const OCTETS_PER_SECOND = /^[1-9]\d{0,8}(B|kB|MB|GB|KiB|MiB|GiB)\/s$/;
const OCTET_COUNT = "octets such as 500MB or 2GiB";
const OCTET_RATE = "octets a second such as 10MB/s or 512KiB/s";
const TARGET = "a target such as packages.example.com, *.example.com:443,8443 or 10.20.0.0/16:5432";
const MESSAGE_MAX = 200;
const NAME_MAX = 64;
const WITHIN = "a time up to 120s, such as 60s";
const RULE_NAME = /^[\w.:*/@ -]+$/;

const target = z.string({ error: TARGET }).describe("HOST[:PORTS][/tcp, /udp or /quic]");
const targets = z
  .union(
    [
      target,
      z.array(target, { error: TARGET }).min(1, { error: "at least one target" }),
      z
        .strictObject({ file: z.string({ error: "the path of a file with one target a line" }) })
        .describe("a file with one target a line"),
    ],
    { error: `${TARGET}, a list of them, or {file: PATH}` },
  )
  .describe("where flows go");
const message = z
  .string({ error: `text of at most ${MESSAGE_MAX} characters in one line` })
  .max(MESSAGE_MAX, { error: `at most ${MESSAGE_MAX} characters` })
  // biome-ignore lint/suspicious/noControlCharactersInRegex: none of them.
  .regex(/^[^\u0000-\u001f\u007f]*$/, { error: "text in one line" })
  .describe("told to the guest beside the reason");

/** Whether a file may call a rule so: those of the command line have longer ones. */
export function isRuleName(name: string): boolean {
  return name.length <= NAME_MAX && RULE_NAME.test(name);
}

const via = z
  .string({ error: "a proxy such as socks5://127.0.0.1:1080 or http://127.0.0.1:3128" })
  .describe("socks5://[USER:PASSWORD@]ADDRESS:PORT or http://[USER:PASSWORD@]ADDRESS:PORT");

const perSecond = (what: string) =>
  z
    .string({ error: `${what} a second, such as 20/s` })
    .regex(/^[1-9]\d{0,6}\/s$/, { error: `${what} a second, such as 20/s` });

const ruleLimit = z
  .strictObject(
    {
      rate: z
        .string({ error: OCTET_RATE })
        .regex(OCTETS_PER_SECOND, { error: OCTET_RATE })
        .optional()
        .describe("octets of payload a second, each way: 10MB/s, 512KiB/s"),
      bytes: z
        .string({ error: OCTET_COUNT })
        .regex(OCTETS, { error: OCTET_COUNT })
        .optional()
        .describe("octets of payload, both ways together, until it is used up: 2GB, 500MiB"),
      connections: z
        .int({ error: "a number of TCP connections from 1 on" })
        .min(1, { error: "a number of TCP connections from 1 on" })
        .optional()
        .describe("TCP connections at a time"),
      new: perSecond("flows").optional().describe("flows that may begin in a second"),
    },
    { error: "rate, bytes, connections or new" },
  )
  .describe("what the flows of the rule may take together");

export const RULE_LIMIT_KEYS = ["rate", "bytes", "connections", "new"] as const;
export const GUEST_LIMIT_KEYS = ["new", "dns"] as const;

export const RULE_KEYS = [
  "allow",
  "deny",
  "ask",
  "name",
  "private",
  "check",
  "message",
  "within",
  "to",
  "proxy-protocol",
  "via",
  "limit",
] as const;

const rule = z
  .strictObject(
    {
      allow: targets.optional(),
      deny: targets.optional(),
      ask: targets.optional(),
      name: z
        .string({ error: "a name for the rule" })
        .regex(RULE_NAME, { error: "letters, digits, blanks and . _ - : * / @" })
        .max(NAME_MAX, { error: `at most ${NAME_MAX} characters` })
        .optional()
        .describe("names the rule in messages and records; rule-N by its position otherwise"),
      private: z
        .boolean({ error: "true or false" })
        .optional()
        .describe("the names of this rule may lead to private addresses"),
      check: z
        .enum(["tls", "http", "none"], { error: "tls, http or none" })
        .optional()
        .describe(
          "what a connection must show; by the port otherwise: tls on 443 and 8443, http on 80 and 8080",
        ),
      message: message.optional(),
      to: z
        .string({ error: "ADDRESS:PORT or unix:PATH" })
        .optional()
        .describe("where its TCP connections go instead: ADDRESS:PORT or unix:PATH"),
      "proxy-protocol": z
        .literal("v2", { error: "v2" })
        .optional()
        .describe("the target of to is told first where a connection wanted to go"),
      via: via.optional(),
      within: z
        .string({ error: WITHIN })
        .regex(DURATION, { error: WITHIN })
        .optional()
        .describe("of ask: how long a flow waits for an answer; 60s, at most 120s"),
      limit: ruleLimit.optional(),
    },
    { error: "a rule: allow, deny or ask, and what it is for" },
  )
  .describe("the first rule that matches a flow decides about it");

const test = z
  .strictObject(
    {
      flow: z.string({
        error: "a flow such as packages.example.com, 203.0.113.9:443 or ntp.example.net:123/udp",
      }),
      expect: z.enum(["allowed", "denied", "asked"], { error: "allowed, denied or asked" }),
      rule: z.string({ error: "the name of a rule" }).optional(),
    },
    { error: "a test: flow and expect" },
  )
  .describe("run at every load; one that fails refuses the policy");

export const POLICY_KEYS = [
  "version",
  "default",
  "mode",
  "rules",
  "answers",
  "ech",
  "pin-grace",
  "unattended",
  "message",
  "via",
  "stand-ins",
  "limit",
  "tests",
] as const;

export const policySchema = z
  .strictObject(
    {
      $schema: z.string({ error: "the schema's address" }).optional().describe("the schema, for editors"),
      version: z.literal(1, { error: "1" }).describe("of the form of this document"),
      default: z
        .enum(["deny", "allow", "ask"], { error: "deny, allow or ask" })
        .optional()
        .describe(
          "for flows that no rule matches; deny where a rule allows, allow where there are only rules that deny",
        ),
      mode: z
        .enum(["enforce", "audit"], { error: "enforce or audit" })
        .optional()
        .describe("audit: nothing is denied, and what would have been is told"),
      rules: z
        .array(rule, { error: "a list of rules" })
        .max(POLICY_RULES_MAX, { error: `at most ${POLICY_RULES_MAX} rules` })
        .optional(),
      answers: z
        .enum(["nxdomain", "refused", "explain"], { error: "nxdomain, refused or explain" })
        .optional()
        .describe(
          "what a question for a denied name gets; explain: an address where connections are told why",
        ),
      ech: z
        .enum(["allow", "refuse"], { error: "allow or refuse" })
        .optional()
        .describe("refuse a ClientHello with an encrypted one inside; current browsers all send one"),
      "pin-grace": z
        .string({ error: "a time such as 60s or 5m" })
        .regex(DURATION, { error: "a time such as 60s or 5m" })
        .optional()
        .describe("how long an address counts beyond the TTL it was answered with; 60s"),
      message: message.optional(),
      via: via
        .optional()
        .describe("the proxy that all TCP goes by whose rule says no other way; nothing goes straight then"),
      limit: z
        .strictObject(
          {
            new: perSecond("flows").optional().describe("flows that may begin in a second"),
            dns: perSecond("questions").optional().describe("questions that may be asked in a second"),
          },
          { error: "new or dns" },
        )
        .optional()
        .describe("what the whole guest may"),
      "stand-ins": z
        .string({ error: "an IPv4 network such as 198.19.0.0/16" })
        .optional()
        .describe("addresses that stand for the names of rules with to or via; 198.19.0.0/16"),
      unattended: z
        .enum(["wait", "deny"], { error: "wait or deny" })
        .optional()
        .describe("deny: what asks is refused at once while nobody is there to answer"),
      tests: z.array(test, { error: "a list of tests" }).optional(),
    },
    { error: "a policy: version, rules and what else there is to say" },
  )
  .describe(`sluice policy; at most ${POLICY_RULES_MAX} rules and ${POLICY_TARGETS_MAX} targets`);

export type PolicyDocument = z.infer<typeof policySchema>;
export type RuleDocument = z.infer<typeof rule>;

/** The schema for editors: docs/policy.schema.json. */
export function policyJsonSchema(): object {
  return z.toJSONSchema(policySchema, { io: "input" });
}
