/** The wall that a confined process builds itself, once all its modules are loaded. */
import type { Logger } from "../engine/boundary.ts";
import { native } from "../host/native/native.ts";
import { describeErrno } from "../host/start-error.ts";

/** From here on: no programs, no namespaces, no mounts, on every thread. */
export function closeLastWall(log: Logger): void {
  const result = native.applySeccomp();
  if (result < 0) log.warn(`the engine runs without a seccomp filter: ${describeErrno(result)}`);
}
