/** The control API, version 1: each request once, with what it may say, what it answers, and the verb that makes it. */
import type { z } from "zod";
import { parseForwardRule } from "../config/forward-rule.ts";
import { Unacceptable } from "../config/problem.ts";
import { StartError } from "../host/start-error.ts";
import { ControlRefusal, type FlowFilter, type Instance, type Target } from "./instance.ts";
import { metricsOf } from "./metrics.ts";
import * as schema from "./schema.ts";
import { parseAddress, parseTarget } from "./target.ts";

/** What a handler is given: everything has been checked by the route's schemas. */
export interface RouteRequest {
  readonly instance: Instance;
  /** The path's `{id}`, 0 where it has none. */
  readonly id: number;
  readonly query: unknown;
  readonly body: unknown;
  /** The generation in If-Match, if there is one. */
  readonly expected?: number;
}

export interface Route {
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  /** `{id}` stands for a number. */
  readonly path: string;
  readonly summary: string;
  /** The command that makes this request. */
  readonly verb: string;
  readonly query?: z.ZodType;
  readonly body?: z.ZodType;
  /** Octets of the body; 1 MiB by default. */
  readonly bodyMax?: number;
  /** What it answers has a generation, which is its ETag. */
  readonly isTagged?: true;
  /** Absent: the answer has no body. */
  readonly response?: z.ZodType;
  /** Of an answer that is not JSON. */
  readonly mediaType?: string;
  /** `run` returns LentOctets that are JSON already. */
  readonly isLent?: true;
  readonly status: 200 | 201 | 202 | 204;
  readonly run: (request: RouteRequest) => Promise<unknown>;
}

function targetOf(text: string): Target {
  try {
    return parseTarget(text);
  } catch (error) {
    throw refusalOf(error, "host", text);
  }
}

function addressOf(text: string): string {
  try {
    return parseAddress(text);
  } catch (error) {
    throw refusalOf(error, "address", text);
  }
}

/** What a grammar or the kernel said, as an answer; other errors stay what they are. */
function refusalOf(error: unknown, place: string, found: string): unknown {
  if (error instanceof Unacceptable) {
    const problem = { place, found: error.found ?? found, allowed: error.allowed };
    return new ControlRefusal(400, `${place}: ${error.allowed}`, [problem]);
  }
  return error instanceof StartError ? new ControlRefusal(409, error.message) : error;
}

async function addForward(instance: Instance, rule: string): Promise<schema.ForwardResource> {
  try {
    return await instance.forwards.add(...parseForwardRule(rule));
  } catch (error) {
    throw refusalOf(error, "rule", rule);
  }
}

async function addRule(
  instance: Instance,
  request: schema.RuleRequest,
  expected: number | undefined,
): Promise<schema.PolicyRuleResource> {
  try {
    return await instance.policy.addRule(request, expected);
  } catch (error) {
    throw refusalOf(error, "target", request.target);
  }
}

async function explain(instance: Instance, target: string): Promise<schema.Why> {
  try {
    return await instance.why(target);
  } catch (error) {
    throw refusalOf(error, "target", target);
  }
}

/** The text of a policy, and what JSON makes of it. */
const POLICY_BODY_MAX = 2 * schema.POLICY_TEXT_MAX;

export const ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/v1/state",
    summary: "What this instance is and how it is",
    verb: "sluice state",
    response: schema.stateSchema,
    status: 200,
    run: ({ instance }) => instance.state(),
  },
  {
    method: "GET",
    path: "/v1/flows",
    summary: "The flow table, by pages",
    verb: "sluice flows [TARGET]",
    query: schema.flowQuerySchema,
    response: schema.flowPageSchema,
    isLent: true,
    status: 200,
    run: ({ instance, query }) => {
      const { host, protocol, state, limit, after } = query as z.output<typeof schema.flowQuerySchema>;
      const filter: FlowFilter = {
        ...(host === undefined ? {} : { hosts: [targetOf(host)] }),
        ...(protocol === undefined ? {} : { protocol }),
        ...(state === undefined ? {} : { state }),
      };
      return instance.flowPage(filter, after, limit);
    },
  },
  {
    method: "DELETE",
    path: "/v1/flows/{id}",
    summary: "Reset a flow on both sides",
    verb: "sluice kill ID",
    response: schema.killedSchema,
    status: 200,
    run: async ({ instance, id }) => {
      if (!(await instance.killFlow(id))) throw new ControlRefusal(404, `there is no flow ${id}`);
      return { killed: 1 };
    },
  },
  {
    method: "DELETE",
    path: "/v1/flows",
    summary: "Reset every flow with a host",
    verb: "sluice kill TARGET",
    query: schema.killQuerySchema,
    response: schema.killedSchema,
    status: 200,
    run: async ({ instance, query }) => {
      const { host } = query as z.output<typeof schema.killQuerySchema>;
      return { killed: await instance.killFlows({ hosts: [targetOf(host)] }) };
    },
  },
  {
    method: "GET",
    path: "/v1/forwards",
    summary: "What others reach the guest by",
    verb: "sluice forward ls",
    response: schema.forwardListSchema,
    status: 200,
    run: async ({ instance }) => ({ forwards: instance.forwards.list() }),
  },
  {
    method: "POST",
    path: "/v1/forwards",
    summary: "Forward more ports",
    verb: "sluice forward add RULE",
    body: schema.forwardRequestSchema,
    response: schema.forwardSchema,
    status: 201,
    run: ({ instance, body }) =>
      addForward(instance, (body as z.output<typeof schema.forwardRequestSchema>).rule),
  },
  {
    method: "DELETE",
    path: "/v1/forwards/{id}",
    summary: "Stop forwarding; connections stay unless cut",
    verb: "sluice forward rm ID",
    query: schema.forwardRemovalQuerySchema,
    status: 204,
    run: ({ instance, id, query }) => {
      const { cut } = query as z.output<typeof schema.forwardRemovalQuerySchema>;
      return instance.forwards.remove(id, cut === "true");
    },
  },
  {
    method: "GET",
    path: "/v1/policy",
    summary: "The policy as it holds, with what its rules have decided",
    verb: "sluice policy show",
    response: schema.policySchema,
    isTagged: true,
    status: 200,
    run: ({ instance }) => instance.policy.show(),
  },
  {
    method: "PUT",
    path: "/v1/policy",
    summary: "Another policy in its place; flows that it does not allow are reset",
    verb: "sluice policy set FILE",
    body: schema.policyRequestSchema,
    bodyMax: POLICY_BODY_MAX,
    response: schema.policyChangeSchema,
    isTagged: true,
    status: 200,
    run: ({ instance, body, expected }) => instance.policy.set(body as schema.PolicyRequest, expected),
  },
  {
    method: "POST",
    path: "/v1/policy/check",
    summary: "What is wrong with a policy, or what it would change",
    verb: "sluice policy set --dry-run FILE",
    body: schema.policyRequestSchema,
    bodyMax: POLICY_BODY_MAX,
    response: schema.policyChangeSchema,
    status: 200,
    run: ({ instance, body }) => instance.policy.check(body as schema.PolicyRequest),
  },
  {
    method: "GET",
    path: "/v1/policy/denials",
    summary: "What was denied, or under audit would have been",
    verb: "sluice policy suggest",
    response: schema.policyDenialListSchema,
    status: 200,
    run: async ({ instance }) => ({ denials: await instance.policy.denials() }),
  },
  {
    method: "POST",
    path: "/v1/rules",
    summary: "A rule in front of all others, for good or for a time",
    verb: "sluice allow TARGET",
    body: schema.ruleRequestSchema,
    response: schema.policyRuleSchema,
    status: 201,
    run: ({ instance, body, expected }) => addRule(instance, body as schema.RuleRequest, expected),
  },
  {
    method: "DELETE",
    path: "/v1/rules/{id}",
    summary: "Take a rule out of the policy",
    verb: "sluice policy rm ID",
    status: 204,
    run: ({ instance, id, expected }) => instance.policy.removeRule(id, expected),
  },
  {
    method: "POST",
    path: "/v1/rules/{id}/reset-budget",
    summary: "Give a rule its limit of bytes anew; 409 when it has none",
    verb: "sluice policy reset-budget ID",
    status: 204,
    run: ({ instance, id }) => instance.policy.resetBudget(id),
  },
  {
    method: "GET",
    path: "/v1/questions",
    summary: "What flows wait for somebody to say",
    verb: "sluice approve",
    response: schema.questionListSchema,
    status: 200,
    run: async ({ instance }) => ({ questions: await instance.policy.questions() }),
  },
  {
    method: "POST",
    path: "/v1/questions/{id}",
    summary: "Answer a question; 409 when somebody was quicker",
    verb: "sluice approve ID",
    body: schema.answerSchema,
    status: 204,
    run: ({ instance, id, body }) => instance.policy.answer(id, body as schema.Answer),
  },
  {
    method: "GET",
    path: "/v1/dns",
    summary: "What the guest asked for lately, and which names a policy takes to lead where",
    verb: "sluice dns",
    query: schema.dnsQuerySchema,
    response: schema.dnsSchema,
    status: 200,
    run: ({ instance, query }) => {
      const { address } = query as z.output<typeof schema.dnsQuerySchema>;
      return instance.dns(address === undefined ? undefined : addressOf(address));
    },
  },
  {
    method: "GET",
    path: "/v1/leases",
    summary: "Addresses that guests have by DHCP and DHCPv6",
    verb: "sluice leases",
    response: schema.leaseListSchema,
    status: 200,
    run: async ({ instance }) => ({ leases: await instance.leases() }),
  },
  {
    method: "GET",
    path: "/v1/counters",
    summary: "Every counter and drop reason that is not 0",
    verb: "sluice counters",
    response: schema.countersSchema,
    status: 200,
    run: ({ instance }) => instance.counters(),
  },
  {
    method: "POST",
    path: "/v1/why",
    summary: "Why something does not work, or what became of it",
    verb: "sluice why [TARGET]",
    body: schema.whyRequestSchema,
    response: schema.whySchema,
    status: 200,
    run: ({ instance, body }) => explain(instance, (body as z.output<typeof schema.whyRequestSchema>).target),
  },
  {
    method: "GET",
    path: "/metrics",
    summary: "The same and more for Prometheus",
    verb: "sluice metrics",
    mediaType: "application/openmetrics-text; version=1.0.0; charset=utf-8",
    status: 200,
    run: ({ instance }) => metricsOf(instance),
  },
  {
    method: "GET",
    path: "/v1/captures",
    summary: "Captures there are",
    verb: "sluice pcap ls",
    response: schema.captureListSchema,
    status: 200,
    run: async ({ instance }) => ({ captures: await instance.captures.list() }),
  },
  {
    method: "POST",
    path: "/v1/captures",
    summary: "Write the guest's frames to a file, in pcapng, from now on",
    verb: "sluice pcap start FILE",
    body: schema.captureRequestSchema,
    response: schema.captureSchema,
    status: 201,
    run: ({ instance, body }) => instance.captures.start(body as schema.CaptureRequest),
  },
  {
    method: "GET",
    path: "/v1/captures/stream",
    summary: "The guest's frames as pcapng, until whoever asks hangs up",
    verb: "sluice pcap start -",
    query: schema.captureStreamQuerySchema,
    mediaType: "application/x-pcapng",
    status: 200,
    run: ({ instance, query }) =>
      instance.captures.stream(query as z.output<typeof schema.captureStreamQuerySchema>),
  },
  {
    method: "DELETE",
    path: "/v1/captures/{id}",
    summary: "End a capture",
    verb: "sluice pcap stop [ID]",
    response: schema.captureSchema,
    status: 200,
    run: ({ instance, id }) => instance.captures.stop(id),
  },
  {
    method: "POST",
    path: "/v1/control-ports",
    summary: "Keep a TCP port of this host's from the guest for as long as the answer is read",
    verb: "sluice ui, sluice metrics --listen",
    body: schema.controlPortSchema,
    mediaType: "text/plain; charset=utf-8",
    status: 200,
    run: ({ instance, body }) => instance.keepPort(body as schema.ControlPortRequest),
  },
  {
    method: "PUT",
    path: "/v1/log",
    summary: "How much is logged, from now on",
    verb: "sluice log LEVEL",
    body: schema.logSchema,
    status: 204,
    run: ({ instance, body }) => instance.setLogLevel((body as z.output<typeof schema.logSchema>).level),
  },
  {
    method: "PUT",
    path: "/v1/link",
    summary: "Pull the guest's cable, or plug it in",
    verb: "sluice link up|down",
    body: schema.linkSchema,
    status: 204,
    run: ({ instance, body }) => instance.setLink((body as z.output<typeof schema.linkSchema>).up),
  },
  {
    method: "POST",
    path: "/v1/stop",
    summary: "End the instance",
    verb: "sluice stop",
    body: schema.stopSchema,
    status: 202,
    run: async ({ instance }) => instance.stop(),
  },
];
