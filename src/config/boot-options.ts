/** The options of the table that a guest without a disk boots by. */
import { BOOT_FILE_NAME, TFTP_SERVER_NAME } from "../engine/wire/dhcp-options.ts";
import { parseIpv4 } from "./address.ts";
import { parsePath } from "./link-grammar.ts";
import { type CommandName, dhcpText, option, parseFieldText } from "./option-definition.ts";

const ALL: readonly CommandName[] = ["run", "exec", "qemu", "replay"];
const LIVE: readonly CommandName[] = ["run", "exec", "qemu"];

export const BOOT_OPTIONS = {
  "next-server": option({
    group: "DHCP",
    commands: ALL,
    placeholder: "ADDRESS",
    help: "The boot server (siaddr and option 66).",
    parse: parseIpv4,
    defaultWords: "with --tftp the gateway, else none",
  }),
  "tftp-server-name": option({
    group: "DHCP",
    commands: ALL,
    placeholder: "NAME",
    help: "The boot server's name, in place of its address.",
    parse: parseFieldText(64),
    dhcp: dhcpText(TFTP_SERVER_NAME),
  }),
  "boot-file": option({
    group: "DHCP",
    commands: ALL,
    placeholder: "FILE",
    help: "The boot file, in the file field too.",
    parse: parseFieldText(128),
    dhcp: dhcpText(BOOT_FILE_NAME),
  }),
  tftp: option({
    group: "DHCP",
    commands: LIVE,
    placeholder: "DIR",
    help: "Serve the files of DIR, to read, by TFTP at the gateway's address.",
    parse: parsePath,
  }),
} as const;
