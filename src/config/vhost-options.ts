/** The options of the table about a card in shared memory. */
import { parseUnixAddress } from "./link-grammar.ts";
import { option } from "./option-definition.ts";

export const VHOST_OPTIONS = {
  "vhost-user": option({
    group: "Link",
    commands: ["run", "qemu"],
    flagIn: ["qemu"],
    placeholder: "unix:PATH",
    help: "A virtio card in memory that the VM shares (vhost-user), much faster than a socket: run listens on unix:PATH for QEMU's -netdev vhost-user, qemu needs no path and shares the memory itself.",
    parse: parseUnixAddress,
  }),
} as const;
