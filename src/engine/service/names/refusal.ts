/** What a guest is told whose connection may not go on: a TLS alert, or an HTTP answer that says why. */
import { DROP_REASONS, dropReason } from "../../metrics/drop-reasons.ts";
import type { Policy } from "../../policy/policy.ts";
import { NO_RULE } from "../../policy/rule-set.ts";

/** Fatal, access_denied (RFC 8446 section 6), in a record of its own. */
const ALERT = Uint8Array.of(21, 3, 3, 0, 2, 2, 49);

const MISMATCH = dropReason("policy-name-mismatch");
const DENIED = dropReason("policy-denied");
const NO_SUCH_RULE = dropReason("policy-no-rule");
const MISSING = dropReason("policy-name-missing");

/** Longest answer: name, rule and message are bounded by themselves, this bounds them together. */
const REFUSAL_OCTETS_MAX = 4096;

function sentence(reason: number, policy: Policy): string {
  const { name, rule, config } = policy;
  const decided = `(rule ${rule === NO_RULE ? "default" : config.rules[rule].name})`;
  if (reason === MISMATCH) return `${name.text} is not allowed at this address ${decided}`;
  if (reason === NO_SUCH_RULE) return `no rule names ${name.text} ${decided}`;
  if (reason === DENIED) return `${name.text} is denied ${decided}`;
  return reason === MISSING ? "the request names no host" : "the request's head cannot be read";
}

/** Writes it at `at`, for the name and the rule that `policy` has in hand. Returns its octets. */
export function writeRefusal(
  octets: Uint8Array,
  at: number,
  isTls: boolean,
  reason: number,
  policy: Policy,
): number {
  if (isTls) {
    octets.set(ALERT, at);
    return ALERT.length;
  }
  const { rule, config } = policy;
  const message = (rule === NO_RULE ? undefined : config.rules[rule].message) ?? config.message;
  const line = `sluice: denied: ${DROP_REASONS[reason]}: ${sentence(reason, policy)}\n`;
  const body = new TextEncoder().encode(message === undefined ? line : `${line}${message}\n`);
  const head = new TextEncoder().encode(
    "HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\n" +
      `Content-Length: ${body.length}\r\nConnection: close\r\n\r\n`,
  );
  const room = REFUSAL_OCTETS_MAX - head.length;
  octets.set(head, at);
  octets.set(body.length > room ? body.slice(0, room) : body, at + head.length);
  return head.length + Math.min(body.length, room);
}
