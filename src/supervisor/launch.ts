/** What an engine process is started with, and what it is given to serve. */
import type { LinkPlan } from "../config/host-plan.ts";
import type { Logger } from "../engine/boundary.ts";
import type { EngineConfig } from "../engine/config.ts";
import type { QuestionEnd, QuestionRow } from "../engine/policy/questions.ts";
import { isPcapng, openCaptureFile } from "../host/captures/pcap-file.ts";
import type { EnginePlan } from "./control.ts";

export interface EngineLaunch {
  readonly config: EngineConfig;
  /** What decides which directories of Unix sockets the engine sees; absent: none. */
  readonly link?: LinkPlan;
  /** The folder that TFTP serves: the engine sees it. */
  readonly tftp?: string;
  /** Where the engine's log goes. */
  readonly logFd: number;
  readonly sandbox: boolean;
  /** Run the engine as this user (numbers), when started as root. */
  readonly user?: { readonly uid: number; readonly gid: number };
  readonly log: Logger;
  /** The resolv.conf to follow; the host's by default. */
  readonly resolvConf?: string;
  /** The guest's link came up or went down. */
  readonly onLink?: (up: boolean) => void;
  /** A policy asks. */
  readonly onQuestion?: (question: QuestionRow) => void;
  /** A program decides about questions before people do: it need not answer this one any more. */
  readonly onQuestionOver?: (id: number, end: QuestionEnd) => void;
}

/** Creates or overwrites the file of `--pcap`, where there is to be one. */
export function openCapture(path: string | undefined): Pick<EngineService, "pcapFd" | "pcapng"> {
  if (path === undefined) return {};
  return { pcapFd: openCaptureFile(path), ...(isPcapng(path) ? { pcapng: true } : {}) };
}

/** What an engine is to serve, once it is known and open. */
export interface EngineService
  extends Omit<EnginePlan, "config" | "resolvConf" | "pcap" | "sandbox" | "tftp" | "decides"> {
  /** What LINK_FD stands for in the link, already open; handed over and then closed here. */
  readonly linkFd?: number;
  /** An open capture file; likewise. */
  readonly pcapFd?: number;
}
