/** Which network namespace the work is done in. */
import { existsSync, readFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import { Unacceptable } from "../../config/problem.ts";
import { RESOURCES_PREFIX } from "../plan/device-plugin.ts";

/**
 * Whether this is the machine's first network namespace: only there net.core.dev_weight exists, which is for the
 * whole machine. Where /proc is not to be seen it counts as the first, which is the careful answer.
 */
export function inFirstNamespace(): boolean {
  return existsSync("/proc/sys/net/core/dev_weight") || !existsSync("/proc/sys/net/core/somaxconn");
}

export interface Pod {
  /** Arguments of nsenter. */
  readonly enter: readonly string[];
  readonly resolvConf: string | undefined;
  readonly env: Readonly<Record<string, string>>;
}

/** What `--pod-netns` names: a process of the pod, or the path of a network namespace. Throws Unacceptable. */
export function podOf(text: string): Pod {
  if (/^\d+$/.test(text)) {
    if (!existsSync(`/proc/${text}/ns/net`)) {
      throw new Unacceptable("the PID of a process that runs", text);
    }
    return {
      enter: [`--net=/proc/${text}/ns/net`, `--uts=/proc/${text}/ns/uts`],
      resolvConf: `/proc/${text}/root/etc/resolv.conf`,
      env: resourceVariables(text),
    };
  }
  if (!existsSync(text)) {
    throw new Unacceptable("a PID, or a path such as /run/netns/NAME", text);
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
