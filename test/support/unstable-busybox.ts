/** A busybox with udhcpc6, which Debian 12's is built without. */
import { join } from "node:path";
import { kept, unpackUnstable } from "./debian-unstable.ts";

/** Debian unstable's static busybox: that of SLUICE_TEST_TREE, or one fetched. Throws when it cannot be had. */
export function unstableBusybox(): string {
  const tree =
    process.env["SLUICE_TEST_TREE"] ??
    kept("debian-unstable-busybox", (into) => unpackUnstable(into, "busybox-static"));
  return join(tree, "usr/bin/busybox");
}
