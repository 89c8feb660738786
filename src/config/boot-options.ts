/** The options of the table that a guest without a disk boots by. */
import { BOOT_FILE_NAME, TFTP_SERVER_NAME } from "../engine/wire/dhcp-options.ts";
import { parseIpv4 } from "./address.ts";
import { type Ipv6, parseHostAddress6 } from "./address6.ts";
import { parsePath } from "./link-grammar.ts";
import { type CommandName, dhcpText, option, parseFieldText } from "./option-definition.ts";
import { Unacceptable } from "./unacceptable.ts";

const ALL: readonly CommandName[] = ["run", "exec", "qemu", "replay"];
const LIVE: readonly CommandName[] = ["run", "exec", "qemu"];

function parseServer(text: string): number | Ipv6 {
  if (!text.includes(":")) return parseIpv4(text);
  const address = parseHostAddress6(text);
  if (address.every((word) => word === 0)) throw new Unacceptable("an address of one station", text);
  return address;
}

export const BOOT_OPTIONS = {
  "next-server": option({
    group: "DHCP",
    commands: ALL,
    placeholder: "ADDRESS",
    repeat: true,
    oneWithoutList: true,
    help: "The boot server: of IPv4 (siaddr and option 66), of IPv6 (in the URL of DHCPv6 option 59), or one of each.",
    parse: parseServer,
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
    help: "The boot file, in the file field too, and a URL in DHCPv6 option 59: one that is given, or the file's at the boot server.",
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
