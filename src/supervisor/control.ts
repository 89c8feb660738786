/**
 * The conversation between the supervisor and the engine process: one JSON object per line over a socket pair. The
 * engine is the less trusted side (it reads what a guest sends), so what comes from it is checked, bounded, and can
 * only choose among things the supervisor already has.
 */
import type { Readable } from "node:stream";
import type { LogPlan } from "../config/host-plan.ts";
import type { EngineConfig } from "../engine/config.ts";
import type { QuestionEnd, QuestionRow } from "../engine/policy/questions.ts";
import type { EngineEnd, LinkSpec, OutboundOptions } from "../host/engine-options.ts";
import { areDenials, type Call, type EngineDenial, isQuestion } from "./calls.ts";

/** Descriptors of the engine process. */
export const CONTROL_FD = 3;
/** A stream socket over which descriptors travel: the link and the capture to the engine, guestfwd connections back. */
export const COMMAND_FD = 4;
/** In the process of a replay: the capture, and the file for the frames of both sides. */
export const CAPTURE_FD = COMMAND_FD;
export const OUTPUT_FD = 6;
/** Where the engine's log goes. Standard error is for what Node itself has to say; the supervisor reads it. */
export const LOG_FD = 5;
/** The engine's first word, as a line: its modules are loaded. */
export const LOADED = '{"type":"loaded"}';
/** Stands in a plan's link for a descriptor that the engine gets over the command socket. */
export const LINK_FD = -1;

/** What the engine process is to serve. */
export interface EnginePlan {
  readonly config: EngineConfig;
  readonly link: LinkSpec;
  readonly log: Pick<LogPlan, "level" | "format">;
  /** The descriptor of a capture file is on the command socket, behind the link's. */
  readonly pcap: boolean;
  /** In pcapng. */
  readonly pcapng?: boolean;
  /** The folder that TFTP serves, which the process sees. */
  readonly tftp?: string;
  /** The text of the host's resolv.conf, which the process cannot see; a `resolv-conf` order follows when it changes. */
  readonly resolvConf: string;
  /** Add the seccomp filter. */
  readonly sandbox: boolean;
  readonly outbound?: OutboundOptions;
  readonly oneOff: boolean;
  /** Remember lately dropped frames, failed flows and DNS questions. */
  readonly records?: boolean;
  /** A program decides about questions before people do. */
  readonly decides?: boolean;
}

/** The link with what `receive` gives in place of LINK_FD, where there is one. */
export function receivedLink(link: LinkSpec, receive: () => number): LinkSpec {
  switch (link.kind) {
    case "tap-fd":
    case "fd":
      return { ...link, fd: receive() };
    case "qemu-listen":
    case "vhost-user":
      return link.listener === undefined ? link : { ...link, listener: receive() };
    default:
      return link;
  }
}

/** Supervisor to engine. */
export type Order =
  | { readonly type: "start"; readonly plan: EnginePlan }
  | { readonly type: "resolv-conf"; readonly text: string }
  | { readonly type: "report" }
  /** Answered by a `reply` with the same id. */
  | { readonly type: "call"; readonly id: number; readonly call: Call }
  /** Answered by `pong`. */
  | { readonly type: "ping" }
  | { readonly type: "stop" };

/** Engine to supervisor. */
export type News =
  | {
      readonly type: "ready";
      readonly linkName: string;
      /** Port a TCP listener got. */
      readonly listenPort: number;
      /** Host ports in the order of the configuration's forwards. */
      readonly forwardPorts: readonly number[];
    }
  | { readonly type: "failed"; readonly message: string }
  | { readonly type: "link"; readonly up: boolean }
  /** A policy asks. */
  | { readonly type: "question"; readonly question: QuestionRow }
  /** The program that decides need not answer this one any more. */
  | { readonly type: "question-over"; readonly id: number; readonly end: QuestionEnd }
  | { readonly type: "pong" }
  /** The answer to a call, or why there is none; checked where the call is known (calls.ts). */
  | { readonly type: "reply"; readonly id: number; readonly answer?: unknown; readonly failure?: string }
  /** A guestfwd connection's descriptor is on the command socket; run the command of this guest forward. */
  | { readonly type: "command"; readonly index: number }
  /** `denials`: what the policy denied, or would have; absent without one. */
  | ({ readonly type: "ended"; readonly denials?: readonly EngineDenial[] } & EngineEnd);

interface Octets {
  readonly $octets: string;
}

/** JSON with octet strings. */
export function encodeLine(message: object): string {
  const text = JSON.stringify(message, (_key, value: unknown) =>
    value instanceof Uint8Array ? ({ $octets: Buffer.from(value).toString("hex") } satisfies Octets) : value,
  );
  return `${text}\n`;
}

/** The counterpart of encodeLine. Throws SyntaxError. */
export function decodeLine(line: string): unknown {
  return JSON.parse(line, (_key, value: unknown) => {
    if (typeof value !== "object" || value === null || !("$octets" in value)) return value;
    return Uint8Array.from(Buffer.from(String(value.$octets), "hex"));
  });
}

const QUESTION_ENDS: readonly string[] = ["answered", "gone", "late", "policy"] satisfies QuestionEnd[];
const END_REASONS: readonly string[] = ["stopped", "link-lost", "guest-left"] satisfies EngineEnd["reason"][];

const isPort = (value: unknown): value is number =>
  Number.isInteger(value) && Number(value) >= 0 && Number(value) < 65536;

/** What the engine said, or undefined when it is not something an engine says. */
export function asNews(value: unknown): News | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const news = value as Record<string, unknown>;
  switch (news["type"]) {
    case "ready":
      return typeof news["linkName"] === "string" &&
        isPort(news["listenPort"]) &&
        Array.isArray(news["forwardPorts"]) &&
        news["forwardPorts"].every(isPort)
        ? (news as unknown as News)
        : undefined;
    case "failed":
      return typeof news["message"] === "string" ? (news as unknown as News) : undefined;
    case "link":
      return typeof news["up"] === "boolean" ? (news as unknown as News) : undefined;
    case "question":
      return isQuestion(news["question"]) ? (news as unknown as News) : undefined;
    case "question-over":
      return Number.isSafeInteger(news["id"]) && QUESTION_ENDS.includes(String(news["end"]))
        ? (news as unknown as News)
        : undefined;
    case "reply":
      return Number.isSafeInteger(news["id"]) ? (news as unknown as News) : undefined;
    case "pong":
      return news as unknown as News;
    case "command":
      return Number.isInteger(news["index"]) ? (news as unknown as News) : undefined;
    case "ended":
      return END_REASONS.includes(String(news["reason"])) &&
        typeof news["message"] === "string" &&
        (news["denials"] === undefined || areDenials(news["denials"]))
        ? (news as unknown as News)
        : undefined;
    default:
      return undefined;
  }
}

/** What an engine says stays far below this. */
const LINE_LENGTH_MAX = 4_194_304;
/** What it is told, too, but for a policy with all the targets that one may have. */
export const ORDER_LENGTH_MAX = 67_108_864;

/** Calls `onLine` for every line; a stream that sends one of more than `most` characters is destroyed. */
export function readLines(stream: Readable, onLine: (line: string) => void, most = LINE_LENGTH_MAX): void {
  // A long line comes in many pieces: each is looked at once.
  let held: string[] = [];
  let length = 0;
  stream.setEncoding("utf8");
  stream.on("data", (chunk: string) => {
    const lines = chunk.split("\n");
    const rest = lines.pop() ?? "";
    for (const line of lines) {
      held.push(line);
      const whole = held.join("");
      held = [];
      length = 0;
      onLine(whole);
    }
    held.push(rest);
    length += rest.length;
    if (length > most) stream.destroy(new Error(`a control line over ${most >> 20} MiB`));
  });
}
