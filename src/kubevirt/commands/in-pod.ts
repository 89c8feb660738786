/**
 * A command whose work is done inside a pod. A process with threads cannot change its network namespace safely, so
 * this program is started again inside (nsenter of util-linux).
 */
import { spawn } from "node:child_process";
import { podOf } from "../machine/pod-namespace.ts";
import { sluiceCommand } from "../machine/service-process.ts";
import { SignalRouter } from "../machine/signal-router.ts";
import { EXIT_FAILED } from "./exit-status.ts";
import { UsageError } from "./usage-error.ts";
import { checked, type VmArguments } from "./vm-arguments.ts";
import type { VmIo } from "./vm-io.ts";

/** Runs the same command inside the pod and returns its exit status. Signals are passed on. */
export async function runInPod(command: string, args: VmArguments, io: VmIo): Promise<number> {
  const pod = checked("--pod-netns", args.options.get("pod-netns") ?? "", podOf);
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
    ...[...args.lists].flatMap(([name, values]) => values.map((value) => `--${name}=${value}`)),
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
