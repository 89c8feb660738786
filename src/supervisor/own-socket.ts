/** The control socket is no place for the guest: nothing that says where its connections go may lead there. */
import { statSync } from "node:fs";
import { resolve } from "node:path";
import { type EngineConfig, operatorSockets } from "../engine/config.ts";

/** Whether `path` is the socket `own`, by whatever name. */
export function isSocket(own: string, path: string): boolean {
  const [a, b] = [own, path].map((each) => statSync(each, { throwIfNoEntry: false }));
  if (a === undefined || b === undefined) return resolve(own) === resolve(path);
  return a.dev === b.dev && a.ino === b.ino;
}

/** What of a configuration leads to the socket `own`, as it is written; undefined: nothing does. */
export function wayToSocket(own: string, { policy, guestForwards }: EngineConfig): string | undefined {
  const to = operatorSockets(policy).find((path) => isSocket(own, path));
  if (to !== undefined) return `to: unix:${to}`;
  const targets = guestForwards.flatMap(({ target }) => (target.kind === "unix" ? [target.path] : []));
  const forwarded = targets.find((path) => isSocket(own, path));
  return forwarded === undefined ? undefined : `guest forward to unix:${forwarded}`;
}
