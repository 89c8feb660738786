/** What is asked of an instance that runs, one command each, and what people see of the answer. */
import { parseDuration } from "../config/policy/duration.ts";
import { Unacceptable } from "../config/problem.ts";
import { formatEnd } from "../control/end-text.ts";
import { printable } from "../control/printable.ts";
import {
  EVENT_TYPES,
  type EventType,
  type Flow,
  type LogLevelName,
  logLevelSchema,
} from "../control/schema.ts";
import { formatWhy } from "../control/why/rules.ts";
import { formatOctets } from "../supervisor/octets.ts";
import { runningInstances } from "./instances.ts";
import { table } from "./table.ts";
import type { VerbName } from "./verb-descriptions.ts";
import { idOf, jsonLine, VerbError, type VerbRequest } from "./verb-request.ts";

export function duration(ms: number): string {
  if (ms < 1000) return `${ms} ms`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}

async function ls({ json, out }: VerbRequest): Promise<void> {
  const running = await runningInstances();
  if (json) {
    for (const { state } of running) out(jsonLine(state));
    return;
  }
  const rows = running.map(({ state }) => [
    state.name,
    state.command,
    String(state.pid),
    duration(state.uptimeMs),
    `${state.link.name}${state.link.up ? "" : " (down)"}`,
    String(state.pools.tcpFlows.used + state.pools.udpMappings.used),
    String(state.forwards),
  ]);
  out(table(["NAME", "COMMAND", "PID", "UPTIME", "LINK", "FLOWS", "FORWARDS"], rows, "no instance runs"));
}

async function state({ json, out, client }: VerbRequest): Promise<void> {
  const found = await (await client()).state();
  if (json) {
    out(jsonLine(found));
    return;
  }
  const { link, network } = found;
  const pools = Object.entries(found.pools).map(([name, { used, size }]) => [name, `${used} of ${size}`]);
  const rows = [
    ["name", found.name],
    ["version", found.version],
    ["command", `${found.command}, process ${found.pid}, engine ${found.enginePid}`],
    ["up for", duration(found.uptimeMs)],
    ["link", `${link.name}, ${link.pulled ? "cable pulled" : link.up ? "up" : "down"}`],
    [
      "guest",
      `${network.guest} in ${network.subnet}, gateway ${network.gateway}, DNS ${network.dns ?? "none"}`,
    ],
    ...(network.ipv6 === null ? [] : [["IPv6", `${network.ipv6.prefix}, gateway ${network.ipv6.gateway}`]]),
    ["mtu", String(network.mtu)],
    ["log level", found.logLevel],
    ["forwards", String(found.forwards)],
    ["records lost", String(found.records.lost)],
    ...pools,
  ];
  const width = Math.max(...rows.map(([name = ""]) => name.length));
  out(rows.map(([name = "", text = ""]) => `${name.padEnd(width)}  ${printable(text)}\n`).join(""));
}

async function flows({ words, flags, json, out, client }: VerbRequest): Promise<void> {
  const [host] = words;
  const { state: wanted } = flags;
  const query = {
    ...(host === undefined ? {} : { host }),
    ...(typeof wanted === "string" ? { state: wanted } : {}),
  };
  const found: Flow[] = [];
  for await (const flow of (await client()).flows(query)) {
    if (json) out(jsonLine(flow));
    else found.push(flow);
  }
  if (json) return;
  const rows = found.map((flow) => [
    String(flow.id),
    flow.protocol,
    flow.direction,
    flow.state,
    formatEnd(flow.guest),
    formatEnd(flow.remote),
    flow.names[0] ?? "",
    formatOctets(flow.octetsFromGuest),
    formatOctets(flow.octetsToGuest),
    duration(flow.ageMs),
    duration(flow.idleMs),
  ]);
  const headings = [
    "ID",
    "PROTO",
    "DIR",
    "STATE",
    "GUEST",
    "REMOTE",
    "NAME",
    "FROM GUEST",
    "TO GUEST",
    "AGE",
    "IDLE",
  ];
  out(table(headings, rows, "no flows"));
}

async function kill({ words, json, out, client }: VerbRequest): Promise<void> {
  const [which = ""] = words;
  const asked = await client();
  const { killed } = /^\d+$/.test(which) ? await asked.killFlow(Number(which)) : await asked.killHost(which);
  out(json ? jsonLine({ killed }) : `${killed === 1 ? "1 flow" : `${killed} flows`} reset\n`);
}

async function forward(request: VerbRequest): Promise<void> {
  const { words, flags, json, out, client } = request;
  const [action = "ls", argument] = words;
  const needs = (what: string): string => {
    if (argument === undefined)
      throw new VerbError({ place: `forward ${action}`, allowed: `${what} after it` });
    return argument;
  };
  const asked = await client();
  switch (action) {
    case "ls": {
      const found = await asked.forwards();
      if (json) for (const each of found) out(jsonLine(each));
      else {
        const rows = found.map(({ id, rule, origin }) => [String(id), rule, origin]);
        out(table(["ID", "RULE", "ORIGIN"], rows, "no forwards"));
      }
      return;
    }
    case "add": {
      const added = await asked.addForward(needs("a rule such as 2222:22"));
      out(json ? jsonLine(added) : `forward ${added.id}: ${added.rule}\n`);
      return;
    }
    case "rm": {
      const id = idOf("forward rm", needs("the id that sluice forward ls tells"), "an id");
      await asked.removeForward(id, flags["cut"] === true);
      if (json) out(jsonLine({ removed: id }));
      return;
    }
    default:
      throw new VerbError({ place: "forward", found: action, allowed: "ls, add or rm" });
  }
}

const addRule =
  (verdict: "allow" | "deny") =>
  async ({ words, flags, json, out, client }: VerbRequest): Promise<void> => {
    const [target = ""] = words;
    const time = typeof flags["for"] === "string" ? secondsOf(flags["for"]) : undefined;
    const asked = await client();
    const rule = await asked.addRule({
      verdict,
      target,
      ...(time === undefined ? {} : { for: time }),
      ...(flags["private"] === true ? { private: true } : {}),
    });
    const { id, targets, expiresInMs } = rule;
    const end = expiresInMs === null ? "" : `, for ${duration(expiresInMs)}`;
    out(json ? jsonLine(rule) : `rule ${id}: ${verdict} ${targets.join(" ")}${end}\n`);
  };

export function secondsOf(text: string): number {
  try {
    return Math.ceil(parseDuration(text) / 1000);
  } catch (error) {
    if (!(error instanceof Unacceptable)) throw error;
    throw new VerbError({ place: "--for", found: text, allowed: error.allowed });
  }
}

async function dns({ flags, json, out, client }: VerbRequest): Promise<void> {
  const { address } = flags;
  const found = await (await client()).dns(typeof address === "string" ? address : undefined);
  if (json) {
    out(jsonLine(found));
    return;
  }
  const questions = found.questions.map(({ at, name, questionType, rcode, answeredBy, addresses }) => [
    at.slice(11, 19),
    name,
    questionType,
    rcode ?? "no answer",
    answeredBy,
    addresses.join(" "),
  ]);
  out(table(["TIME", "NAME", "TYPE", "ANSWER", "BY", "ADDRESSES"], questions, "nothing was asked for"));
  if (found.pins.length === 0) return;
  const pins = found.pins.map((pin) => [
    pin.address,
    pin.name,
    `in ${duration(pin.endsInMs)}`,
    pin.isStandIn ? "stands for it" : "",
  ]);
  out(`\n${table(["ADDRESS", "LEADS TO", "ENDS", ""], pins, "")}`);
}

async function leases({ json, out, client }: VerbRequest): Promise<void> {
  const found = await (await client()).leases();
  if (json) {
    for (const lease of found) out(jsonLine(lease));
    return;
  }
  const rows = found.map(({ address, mac, expiresInMs }) => [
    address,
    mac,
    expiresInMs === null ? "never" : `in ${duration(expiresInMs)}`,
  ]);
  out(table(["ADDRESS", "MAC", "EXPIRES"], rows, "no leases"));
}

async function counters({ json, out, client }: VerbRequest): Promise<void> {
  const found = await (await client()).counters();
  if (json) {
    out(jsonLine(found));
    return;
  }
  const rows = (counts: Readonly<Record<string, number | undefined>>): string[][] =>
    Object.entries(counts).map(([name, count = 0]) => [name, String(count)]);
  out(table(["COUNTER", "COUNT"], rows(found.counters), "no counter has counted"));
  out(table(["DROP", "COUNT"], rows(found.drops), "nothing was dropped"));
}

async function why({ words, json, out, client }: VerbRequest): Promise<void> {
  const { lines } = await (await client()).why(words[0] ?? "");
  if (json) out(jsonLine({ lines }));
  else out(formatWhy(lines));
}

const top = async (request: VerbRequest): Promise<void> =>
  (await import("./top/command.ts")).topCommand(request);
const pcap = async (request: VerbRequest): Promise<void> => (await import("./pcap.ts")).pcapCommand(request);
const metrics = async (request: VerbRequest): Promise<void> =>
  (await import("./metrics.ts")).metricsCommand(request);
const ui = async (request: VerbRequest): Promise<void> => (await import("./ui.ts")).uiCommand(request);

async function log({ words, json, out, client }: VerbRequest): Promise<void> {
  const [level = ""] = words;
  if (!logLevelSchema.safeParse(level).success) {
    throw new VerbError({ place: "log", found: level, allowed: logLevelSchema.options.join(", ") });
  }
  await (await client()).setLogLevel(level as LogLevelName);
  if (json) out(jsonLine({ level }));
}

async function link({ words, json, out, client }: VerbRequest): Promise<void> {
  const [way = ""] = words;
  if (way !== "up" && way !== "down")
    throw new VerbError({ place: "link", found: way, allowed: "up or down" });
  await (await client()).setLink(way === "up");
  if (json) out(jsonLine({ up: way === "up" }));
}

async function events({ words, out, client }: VerbRequest): Promise<void> {
  const types = words.flatMap((word) => word.split(",")) as EventType[];
  const wrong = types.find((type) => !EVENT_TYPES.includes(type));
  if (wrong !== undefined)
    throw new VerbError({ place: "events", found: wrong, allowed: EVENT_TYPES.join(", ") });
  const asked = await client();
  for await (const event of asked.events(types.length === 0 ? undefined : types)) out(jsonLine(event));
}

async function stop({ json, out, client }: VerbRequest): Promise<void> {
  await (await client()).stop();
  if (json) out(jsonLine({ stopping: true }));
}

/** What each verb does. */
export const VERB_RUNS: Readonly<Record<VerbName, (request: VerbRequest) => Promise<void>>> = {
  ls,
  state,
  flows,
  kill,
  forward,
  why,
  top,
  ui,
  allow: addRule("allow"),
  deny: addRule("deny"),
  approve: async (request) => (await import("./approve.ts")).approveCommand(request),
  refuse: async (request) => (await import("./approve.ts")).refuseCommand(request),
  dns,
  leases,
  counters,
  metrics,
  pcap,
  log,
  link,
  events,
  stop,
};
