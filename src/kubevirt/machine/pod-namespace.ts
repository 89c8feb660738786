/**
 * Which network namespace the work is done in. A process with threads cannot change its own safely, so work inside
 * a pod from outside is done by this program started again inside (nsenter of util-linux).
 */
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import { EXIT_FAILED, UsageError, type VmIo } from "../commands/spec-commands.ts";
import type { VmArguments } from "../commands/vm-arguments.ts";
import { RESOURCES_PREFIX } from "../plan/device-plugin.ts";
import { sluiceCommand } from "./service-process.ts";
import { SignalRouter } from "./signal-router.ts";

/**
 * Whether this is the machine's first network namespace: only there net.core.dev_weight exists, which is for the
 * whole machine. Where /proc is not to be seen it counts as the first, which is the careful answer.
 */
export function inFirstNamespace(): boolean {
  return existsSync("/proc/sys/net/core/dev_weight") || !existsSync("/proc/sys/net/core/somaxconn");
}

interface Pod {
  /** Arguments of nsenter. */
  readonly enter: readonly string[];
  readonly resolvConf: string | undefined;
  readonly env: Readonly<Record<string, string>>;
}

/** What `--pod-netns` names: a process of the pod, or the path of a network namespace. */
function podOf(text: string): Pod {
  if (/^\d+$/.test(text)) {
    if (!existsSync(`/proc/${text}/ns/net`)) {
      throw new UsageError([
        { place: "--pod-netns", found: text, allowed: "the PID of a process that runs" },
      ]);
    }
    return {
      enter: [`--net=/proc/${text}/ns/net`, `--uts=/proc/${text}/ns/uts`],
      resolvConf: `/proc/${text}/root/etc/resolv.conf`,
      env: resourceVariables(text),
    };
  }
  if (!existsSync(text)) {
    throw new UsageError([
      { place: "--pod-netns", found: text, allowed: "a PID, or a path such as /run/netns/NAME" },
    ]);
  }
  // ip-netns(8): a namespace by name has its files in /etc/netns/NAME.
  const own = `/etc/netns/${basename(text)}/resolv.conf`;
  const named = dirname(text).endsWith("/netns") && existsSync(own);
  return { enter: [`--net=${text}`], resolvConf: named ? own : undefined, env: {} };
}

/** What the pod's device plugins say, from the environment of one of its processes. */
function resourceVariables(pid: string): Record<string, string> {
  const text = readFileSync(`/proc/${pid}/environ`, "utf8");
  const pairs = text.split("\0").filter((pair) => pair.startsWith(RESOURCES_PREFIX));
  return Object.fromEntries(
    pairs.map((pair) => [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)]),
  );
}

/** Runs the same command inside the pod and returns its exit status. Signals are passed on. */
export async function runInPod(command: string, args: VmArguments, io: VmIo): Promise<number> {
  const pod = podOf(args.options.get("pod-netns") ?? "");
  const options = [...args.options].filter(([name]) => name !== "pod-netns");
  if (!args.options.has("resolv-conf")) {
    if (pod.resolvConf === undefined) {
      const allowed =
        "--resolv-conf FILE beside the path of a namespace: a namespace has no name servers of its own";
      throw new UsageError([{ place: "--pod-netns", allowed }]);
    }
    options.push(["resolv-conf", pod.resolvConf]);
  }
  const argv = [
    ...options.map(([name, value]) => (value === "" ? `--${name}` : `--${name}=${value}`)),
    ...args.words,
    ...(args.rest === undefined ? [] : ["--", ...args.rest]),
  ];
  const inside = sluiceCommand(["vm", command, ...argv]);
  const child = spawn("nsenter", [...pod.enter, "--", ...inside], {
    stdio: ["inherit", "pipe", "pipe"],
    env: { ...io.env, ...pod.env },
  });
  child.stdout.setEncoding("utf8").on("data", (text: string) => io.stdout.write(text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => io.stderr.write(text));
  const signals = new SignalRouter();
  signals.forward(child);
  try {
    return await new Promise((resolve) => {
      child.once("error", (error) => {
        io.stderr.write(`sluice vm ${command}: nsenter (package util-linux): ${error.message}\n`);
        resolve(EXIT_FAILED);
      });
      child.once("close", (code) => resolve(code ?? EXIT_FAILED));
    });
  } finally {
    signals.close();
  }
}
