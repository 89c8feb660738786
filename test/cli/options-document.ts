/** docs/options.md, made from the option table: docs.test.ts keeps the file and the table together. */
import { COMMAND_NAMES, COMMANDS } from "../../src/cli/commands.ts";
import type { OptionGroup } from "../../src/config/option-definition.ts";
import { helpOf } from "../../src/config/option-help.ts";
import { isCommandOnly, propertyOf } from "../../src/config/option-property.ts";
import { definitionOf, OPTION_NAMES, type OptionName } from "../../src/config/option-table.ts";

const GROUP_NOTES: Readonly<Record<OptionGroup, string>> = {
  Link: "`sluice run` needs exactly one of `--tap`, `--tap-fd`, `--qemu-listen`, `--qemu-connect`, `--qemu-dgram`, `--vhost-user` and `--fd`.",
  Network:
    "Default addresses move with `--net`: gateway `.2`, DNS `.3`, first lease `.15`; in a /28 or /29 the first lease is `.4`, in a /30 the gateway is `.1` and the guest `.2`.",
  DHCP: "At most 16 addresses are leased, from `--dhcp-start` to the next address that has an owner or the end of the subnet.",
  IPv6: "What holds over IPv6 is in [ipv6.md](ipv6.md). Addresses move with `--net6`. A guest has it unless `--ipv6` says otherwise.",
  Ports: "Everything that is not declared here is refused.",
  Policy: "",
  Limits:
    "What a guest may hold at once; what happens then is in [security.md](security.md). The process's limit of descriptors (RLIMIT_NOFILE), raised to the hard one, may be lower: the start says so.",
  DNS: "",
  Process: "",
  Control: "What one can see and do while it runs is in [control.md](control.md).",
  Log: "",
};

/** A `|` would end a table's cell. */
function cell(text: string): string {
  return text.replaceAll("|", "\\|");
}

function row(name: OptionName): string {
  const { short, placeholder, commands } = definitionOf(name);
  const forms = `${short ? `\`-${short}\`, ` : ""}\`--${name}${placeholder ? ` ${placeholder}` : ""}\``;
  const library = isCommandOnly(name) ? "" : `\`${propertyOf(name)}\``;
  return `| ${cell(forms)} | ${cell(helpOf(name))} | ${commands.join(", ")} | ${library} |`;
}

/** The whole document. */
export function optionsDocument(): string {
  const groups = new Map<OptionGroup, OptionName[]>();
  for (const name of OPTION_NAMES) {
    const { group } = definitionOf(name);
    groups.set(group, [...(groups.get(group) ?? []), name]);
  }
  const out = [
    "# Options",
    "",
    "Made from the option table (`src/config/option-table.ts`), which also parses, validates and prints `--help`.",
    "The last column is the property of the library's `createEngine({ ... })`; options about the command's own processes and its log have none there.",
    "",
    "| command | |",
    "|---|---|",
    ...COMMAND_NAMES.map((name) => `| \`${COMMANDS[name].usage}\` | ${COMMANDS[name].summary} |`),
    "",
  ];
  for (const [group, names] of groups) {
    const note = GROUP_NOTES[group];
    out.push(
      `## ${group}`,
      "",
      ...(note ? [note, ""] : []),
      "| option | | commands | library |",
      "|---|---|---|---|",
    );
    out.push(...names.map(row), "");
  }
  return `${[...out, GRAMMARS].join("\n")}`;
}

const GRAMMARS = `## Grammars

### Ports: \`-p\`, \`--publish\`

\`[tcp:|udp:][ADDRESS[%INTERFACE]:]PORT[:GUESTPORT]\`, also with \`/tcp\` or \`/udp\` at the end. A port may be a range; a set of
them, behind commas, leads to the same ports of the guest.

| rule | host side | guest port |
|---|---|---|
| \`80\` | 127.0.0.1, TCP port 80 | 80 |
| \`2222:22\` | 127.0.0.1, TCP port 2222 | 22 |
| \`0:22\` | 127.0.0.1, any free TCP port, told in the ready line | 22 |
| \`udp:127.0.0.1:5353:53\` | 127.0.0.1, UDP port 5353 | 53 |
| \`0.0.0.0:8080:80\` | every IPv4 address, TCP port 8080 | 80 |
| \`[::1]:8080:80\` | ::1, TCP port 8080 | 80 |
| \`[::]:8080:80\` | every IPv6 address and no IPv4 one, TCP port 8080 | 80 |
| \`*:8080:80\` | every address of both families, on one port, or none | 80 |
| \`8000-8010:8000\` | eleven TCP ports | the same eleven |
| \`8000-8010:9000-9010\` | eleven TCP ports | eleven from 9000 on |
| \`80,443,8000-8010,~8005\` | twelve TCP ports | the same |
| \`*%eth0:80\`, \`[fe80::1%eth0]:80\` | by the interface eth0 alone, every address, or this one | 80 |
| \`all\`, \`~22\` | every TCP port, or all but 22, that this host has no use for: not taken, not privileged for who starts it, not among those of its own connections (net.ipv4.ip_local_port_range). None at all is an error | the same |
| \`auto\`, \`8000-8010,auto\` | every TCP port, or those named, that somebody in the guest's namespace listens on, within a second and as long as it does; of a loopback address alone does not count | the same |

\`all\` needs \`--max-forwards 65535\`, a descriptor for each port and family and about 2 KiB of the kernel's memory. \`auto\` is for
\`sluice run --tap --netns\` and \`sluice exec\`. The shell reads brackets, \`*\` and \`~\` too: quote them. Clients over IPv6 go to the guest's IPv6 address, and to its IPv4 one as
long as it has none, or when nothing listens there (TCP); clients over IPv4 go to its IPv4 address. A client that the guest could not answer (of the other
family, of the host itself, link-local) appears as the gateway.

### \`--hostfwd\` and \`--guestfwd\`

As in QEMU: \`[tcp|udp]:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT\`. **An empty host address means all addresses of IPv4**,
unlike with \`-p\`. IPv6 addresses stand in brackets on either side, and the families may differ:
\`tcp:[::1]:2222-[fd71:1ae0:d44d:2::15]:22\`, \`tcp:127.0.0.1:2222-[]:22\` for the IPv6 address the guest keeps,
\`tcp:[]:2222-:22\` for all IPv6 addresses of the host. \`--guestfwd [tcp]:ADDR:PORT-TARGET\` serves an address of the guest's
subnet, or of its prefix, by \`tcp:HOST:PORT\`, \`unix:PATH\` or \`cmd:COMMAND\` (run once per connection by \`/bin/sh\`, the
connection being its standard input and output): \`tcp:[fd71:1ae0:d44d:2::100]:7-tcp:[::1]:7777\`.

### \`--dhcp-option\`

\`CODE=VALUE\`. VALUE may say its form: \`ip:10.0.2.2,10.0.2.3\`, \`text:...\`, \`hex:0a00ff\`, \`u8:1,2\`, \`u16:1500\`, \`u32:3600\`. Otherwise
a code of RFC 2132 takes the form its definition gives it, and any other code takes addresses if all of VALUE is addresses,
else text. Code 51 sets the lease time. The protocol's own machinery (50, 52 to 55, 57, 61, 82) cannot be set.

### Resolvers

\`192.0.2.1\`, \`192.0.2.1:5353\`, \`2001:db8::1\`, \`[2001:db8::1]:5353\`. Without \`--resolver\` those of the host's
\`/etc/resolv.conf\` are asked, which is followed while it changes.

## Exit status

0 after a clean end (a signal, \`--exit-fd\`, a namespace that is gone, a guest that left with \`--one-off\`), 1 when something
failed (a port that is taken, a link that was lost), 2 for wrong arguments. \`exec\` and \`qemu\` end as their command does: its
status, or 128 plus the number of the signal that ended it; 127 when \`exec\`'s command was not found, 126 when it could not be run.

## Signals

SIGTERM, SIGINT, SIGHUP and SIGQUIT end \`sluice run\` cleanly, in under a second. SIGUSR2 prints the size of the heap, the counters and the flow table.
\`exec\` and \`qemu\` pass SIGTERM, SIGHUP and SIGUSR1 on to their command.
`;
