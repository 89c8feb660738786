/** A busybox with udhcpc6, which Debian 12's is built without. */
import { join } from "node:path";
import { kept, unpackUnstable } from "./unstable-packages.ts";

/** Debian unstable's static busybox: that of SLUICE_TEST_TREE, or one fetched. Throws when it cannot be had. */
export function unstableBusybox(): string {
  const tree =
    process.env["SLUICE_TEST_TREE"] ??
    kept("debian-unstable-busybox", (into) => unpackUnstable("busybox-static", into));
  return join(tree, "usr/bin/busybox");
}
