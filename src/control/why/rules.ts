/**
 * `sluice why`: from facts to a few lines that say what happened, because of what, and what would change it. Pure: no rule
 * asks for anything. The first that knows something about the target has the word; names and other drops are added.
 */

import { formatEnd, formatTargetEnd } from "../end-text.ts";
import type { AskedName, Denial } from "../instance.ts";
import { printable } from "../printable.ts";
import { type Flow, WHY_LABELS, type Why } from "../schema.ts";
import { type DroppedFlow, dropText } from "./drop-texts.ts";
import type { TargetFailure, WhyFacts } from "./facts.ts";
import { hostErrorText } from "./host-errors.ts";
import { formatTarget } from "./target.ts";

/** One line: a word of WHY_LABELS, and what there is to say. */
export type WhyLine = Why["lines"][number];

type Rule = (facts: WhyFacts) => WhyLine[] | undefined;

/** In order: what is going on now, then what was denied or failed last, then what would happen. */
const RULES: readonly Rule[] = [
  asked,
  nothingAtAll,
  openFlow,
  deniedOrFailed,
  failedQuestion,
  forwarded,
  wouldBeRefused,
  nothingKnown,
];

/** The answer; never empty. */
export function explain(facts: WhyFacts): WhyLine[] {
  for (const rule of RULES) {
    const lines = rule(facts);
    if (lines === undefined) continue;
    const all = [...lines, ...namesLine(facts), ...alsoLine(facts)];
    return all.map(({ label, text }) => ({ label, text: printable(text) }));
  }
  return [];
}

/** As text: labels in a column of their own. */
export function formatWhy(lines: readonly WhyLine[]): string {
  return lines.map(({ label, text }) => `${label.padEnd(LABEL_WIDTH)} ${text}\n`).join("");
}

export const LABEL_WIDTH = Math.max(...WHY_LABELS.map((label) => label.length));

// --- rules -----------------------------------------------------------------------------------------------------------

function nothingAtAll({ target, drops, linkUp }: WhyFacts): WhyLine[] | undefined {
  if (target.kind !== "last") return undefined;
  const lines: WhyLine[] = [
    { label: "unknown", text: "nothing was denied, and nothing failed, that is remembered" },
  ];
  if (!linkUp) lines.push({ label: "because", text: "no guest is attached" });
  else if ((drops["icmp"] ?? 0) > 0) lines.push(icmpLine(drops));
  return lines;
}

function icmpLine(drops: WhyFacts["drops"]): WhyLine {
  const count = drops["icmp"] ?? 0;
  return {
    label: "also",
    text: `${count} ICMP packets of the guest were dropped: sluice carries TCP and UDP, so pings go unanswered`,
  };
}

/** A policy's rule asks, and the guest's connection waits. */
function asked({ unanswered }: WhyFacts): WhyLine[] | undefined {
  if (unanswered === undefined) return undefined;
  const { id, rule, endsInMs } = unanswered;
  const left = endsInMs === null ? "" : `; after ${ago(endsInMs)} more it is refused`;
  return [
    { label: "waiting", text: formatTargetEnd(unanswered) },
    { label: "because", text: `the policy asks about it (${rule}), and nobody has answered yet${left}` },
    { label: "to allow", text: `sluice approve ${id}` },
  ];
}

/** A flow that is there is asked for by its number, or because something about it may be odd. */
function openFlow(facts: WhyFacts): WhyLine[] | undefined {
  const { target, flows, nowMs } = facts;
  const [flow] = flows;
  if (flow === undefined) {
    if (target.kind !== "flow") return undefined;
    return [{ label: "unknown", text: `there is no flow ${target.id}: it has ended, or never was` }];
  }
  const silent = silence(flow);
  if (silent !== undefined) return silent;
  const newestMs = Math.max(facts.denials[0]?.lastMs ?? 0, facts.failures[0]?.atMs ?? 0);
  // What went wrong since the flow began is what is asked about.
  if (target.kind !== "flow" && newestMs > nowMs - flow.ageMs) return undefined;
  const others = flows.length > 1 ? ", and others" : "";
  return [
    { label: "open", text: `${describeFlow(flow)}${others}` },
    { label: "because", text: `nothing is wrong with it that sluice could see: ${carried(flow)}` },
  ];
}

/** A flow on which one side has not said anything yet. */
function silence(flow: Flow): WhyLine[] | undefined {
  const { state, ageMs, octetsToGuest, octetsFromGuest, protocol, direction } = flow;
  const head: WhyLine = { label: "waiting", text: describeFlow(flow) };
  if (state === "CONNECTING") {
    return [
      head,
      {
        label: "because",
        text: `this host has been trying to connect for ${ago(ageMs)} and had no answer yet`,
      },
    ];
  }
  if (state === "SYN-SENT") {
    return [
      head,
      {
        label: "because",
        text: `a client of a forward was accepted ${ago(ageMs)} ago, and the guest does not answer its SYN`,
      },
    ];
  }
  if (protocol === "udp" && direction === "out" && octetsToGuest === 0 && octetsFromGuest > 0) {
    return [
      head,
      {
        label: "because",
        text: `the guest sent ${octets(octetsFromGuest)}, which left this host, and nothing came back; UDP does not tell why`,
      },
    ];
  }
  return undefined;
}

function deniedOrFailed(facts: WhyFacts): WhyLine[] | undefined {
  const [denial] = facts.denials;
  const [failure] = facts.failures;
  if (failure !== undefined && failure.atMs >= (denial?.lastMs ?? 0)) return failed(failure, facts);
  return denial === undefined ? undefined : denied(denial, facts);
}

function denied(denial: Denial, { config, nowMs }: WhyFacts): WhyLine[] {
  const { protocol, guest, remote, reason, lastMs, times } = denial;
  const { because, change } = dropText(denial, config);
  const text = `${protocol} ${formatEnd(guest)} -> ${formatEnd(remote)}, ${when(nowMs - lastMs, times)} (${reason})`;
  return [{ label: "denied", text }, { label: "because", text: because }, ...changeLine("to allow", change)];
}

function failed(failure: TargetFailure, { nowMs }: WhyFacts): WhyLine[] {
  const { hostError, atMs, times } = failure;
  const { because, change } = hostErrorText(hostError);
  const text = `tcp to ${formatEnd(failure)}, ${when(nowMs - atMs, times)} (${hostError})`;
  return [{ label: "failed", text }, { label: "because", text: because }, ...changeLine("to change", change)];
}

/** A name that did not lead anywhere. */
function failedQuestion({ target, question, addresses, nowMs, config }: WhyFacts): WhyLine[] | undefined {
  if (target.kind !== "name") return undefined;
  if (question === undefined) {
    if (addresses.length > 0) return undefined;
    return [
      { label: "unknown", text: `${target.name}: the guest has not asked for this name, that is remembered` },
      config.dns === 0
        ? { label: "because", text: "--no-dns: nobody answers questions in the guest's network" }
        : {
            label: "because",
            text: "a guest that asks a resolver of its own, or knows the address, asks nothing here",
          },
    ];
  }
  const { rcode, questionType, atMs, times } = question;
  if (rcode === "NOERROR" && addresses.length > 0) return undefined;
  const text = `DNS ${target.name} ${questionType}, ${when(nowMs - atMs, times)} (${rcode ?? "no answer"})`;
  return [{ label: "failed", text }, ...questionTexts(question, config.restrict)];
}

function questionTexts({ rcode, answeredBy, questionType }: AskedName, restrict: boolean): WhyLine[] {
  const because = (text: string): WhyLine => ({ label: "because", text });
  if (answeredBy === "sluice" && rcode === "REFUSED" && restrict) {
    return [
      because("--restrict keeps the guest from everything outside, DNS included"),
      ...changeLine("to allow", "start without --restrict"),
    ];
  }
  switch (rcode) {
    case null:
    case "SERVFAIL":
      return [
        because(
          answeredBy === "resolver"
            ? "the last of this host's resolvers said that it failed"
            : "none of this host's resolvers answered in time, or there is none",
        ),
        ...changeLine("to change", "this host's /etc/resolv.conf, or --resolver ADDRESS"),
      ];
    case "NXDOMAIN":
      return [because("this host's resolver says that no such name exists")];
    case "NOERROR":
      return [because(`the name exists, and has no ${questionType} record`)];
    case "REFUSED":
      return [
        because("this host's resolvers will not answer this question"),
        ...changeLine("to change", "--resolver ADDRESS names another one"),
      ];
    default:
      return [because(`this host's resolver says ${rcode}`)];
  }
}

function forwarded({ forwards }: WhyFacts): WhyLine[] | undefined {
  const [forward] = forwards;
  if (forward === undefined) return undefined;
  const { id, rule, protocol, guestPort } = forward;
  return [
    { label: "open", text: `forward ${id}, ${protocol}: ${rule}` },
    {
      label: "because",
      text: `clients of it reach the guest's port ${guestPort}; one that is refused was refused by the guest, where nothing listens`,
    },
  ];
}

function wouldBeRefused(facts: WhyFacts): WhyLine[] | undefined {
  const { refusedNow, target, addresses, config } = facts;
  if (refusedNow === null) return undefined;
  const port = target.kind === "address" || target.kind === "name" ? (target.port ?? 0) : 0;
  const remote = { address: addresses[0] ?? "", port };
  const flow: DroppedFlow = { reason: refusedNow, protocol: "tcp", guest: { address: "", port: 0 }, remote };
  const { because, change } = dropText(flow, config);
  return [
    {
      label: "denied",
      text: `${formatTarget(target)}: the guest has not tried, and would be refused (${refusedNow})`,
    },
    { label: "because", text: because },
    ...changeLine("to allow", change),
  ];
}

function nothingKnown({ target, linkUp, addresses }: WhyFacts): WhyLine[] {
  const head: WhyLine = {
    label: "unknown",
    text: `${formatTarget(target)}: no flow, no denial and no failure is remembered`,
  };
  if (!linkUp) return [head, { label: "because", text: "no guest is attached" }];
  const text =
    addresses.length === 0
      ? "nothing leads there"
      : "no packet for it came from the guest, or all went well; nothing keeps the guest from it";
  return [head, { label: "because", text }];
}

// --- parts -----------------------------------------------------------------------------------------------------------

function changeLine(label: "to allow" | "to change", change: string | undefined): WhyLine[] {
  return change === undefined ? [] : [{ label, text: change }];
}

const NAMES_SHOWN = 3;

/** Which names led to the address. */
function namesLine({ target, names, addresses, nowMs }: WhyFacts): WhyLine[] {
  if (target.kind === "name") {
    return addresses.length === 0
      ? []
      : [{ label: "names", text: `${target.name} is ${addresses.slice(0, NAMES_SHOWN).join(", ")}` }];
  }
  if (names.length === 0) return [];
  const told = names
    .slice(0, NAMES_SHOWN)
    .map(({ name, answeredAtMs }) => `${name} (answered ${ago(nowMs - answeredAtMs)} ago)`);
  return [{ label: "names", text: told.join(", ") }];
}

/** Drops that no target can be told of, and that people ask about. */
function alsoLine({ target, drops, denials, failures, flows }: WhyFacts): WhyLine[] {
  const isExplained = denials.length + failures.length + flows.length > 0;
  if (isExplained || target.kind === "last" || (drops["icmp"] ?? 0) === 0) return [];
  return [icmpLine(drops)];
}

function describeFlow({ id, protocol, state, guest, remote, direction }: Flow): string {
  const arrow = direction === "out" ? "->" : "<-";
  return `flow ${id}, ${protocol} ${formatEnd(guest)} ${arrow} ${formatEnd(remote)}, ${state}`;
}

function carried({ octetsFromGuest, octetsToGuest, ageMs, idleMs }: Flow): string {
  return (
    `${octets(octetsFromGuest)} from the guest and ${octets(octetsToGuest)} to it in ${ago(ageMs)}, ` +
    `the last from the guest ${ago(idleMs)} ago`
  );
}

const octets = (count: number): string => (count === 1 ? "1 octet" : `${count} octets`);

function when(ms: number, times: number): string {
  return `${ago(ms)} ago, ${times === 1 ? "once" : `${times} times`}`;
}

/** `3 s`, `5 min`, `2 h`: rounded down, one second at least. */
function ago(ms: number): string {
  const seconds = Math.max(1, Math.floor(ms / 1000));
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7200 ? `${Math.floor(seconds / 60)} min` : `${Math.floor(seconds / 3600)} h`;
}
