/**
 * slirp4netns(1) 1.3: `slirp4netns [OPTION]... PID|PATH [TAP]`, which serves the namespace of a process in the foreground.
 * Addresses are the second (gateway), third (DNS), fifteenth (first lease) and hundredth (guest) of the subnet.
 */
import { isIpv4, netmask, parseIpv4 } from "../config/address.ts";
import { readIpv6 } from "../config/address6.ts";
import { parseSocketPath } from "../config/forward-grammar.ts";
import { Unacceptable } from "../config/problem.ts";
import { formatIpv4 } from "../engine/wire/address-text.ts";
import { Slirp4netnsApi, serveApi } from "./slirp4netns-api.ts";
import {
  MTU_LEAST,
  type Program,
  type Question,
  Refusal,
  readNumber,
  readWords,
  type Surroundings,
  setter,
  type Translation,
  type Word,
} from "./words.ts";

/** The newest that has its options. */
const VERSION = "1.3.3";
const MTU_DEFAULT = 1500;
const MTU_MAX = 65_521;
const PREFIX_MAX = 25;
const OFFSETS = { gateway: 2, dns: 3, dhcp: 15, guest: 100 } as const;
const LEASES = 16;

interface Words {
  question?: Question;
  configure: boolean;
  readyFd?: number;
  exitFd?: number;
  mtu: number;
  network: number;
  prefixLength: number;
  hostLoopback: boolean;
  dns: boolean;
  ipv6: boolean;
  userns?: string;
  netnsType: "pid" | "path" | "tapfd";
  outbound?: string;
  outbound6?: string;
  mac?: string;
  apiSocket?: string;
}

function readCidr(words: Words, text: string): void {
  const [, address = "", prefix = ""] = /^([\d.]+)\/(\d{1,2})$/.exec(text) ?? [];
  if (!isIpv4(address)) throw new Refusal(`invalid CIDR: ${text}`);
  const prefixLength = Number(prefix);
  if (prefixLength < 1 || prefixLength > PREFIX_MAX) {
    throw new Refusal(`prefix length needs to be 1-${PREFIX_MAX}, not ${prefix}`);
  }
  const network = parseIpv4(address);
  if ((network & ~netmask(prefixLength)) !== 0) {
    throw new Refusal(`CIDR needs to be a network address like 10.0.2.0/24, not like 10.0.2.100/24: ${text}`);
  }
  words.network = network;
  words.prefixLength = prefixLength;
}

function readApiSocket(words: Words, text: string): void {
  try {
    words.apiSocket = parseSocketPath(text);
  } catch (error) {
    if (!(error instanceof Unacceptable)) throw error;
    throw new Refusal(`--api-socket: ${error.allowed} is needed`);
  }
}

function readNetnsType(words: Words, text: string): void {
  if (text !== "pid" && text !== "path" && text !== "tapfd") {
    throw new Refusal(`invalid --netns-type "${text}": pid, path or tapfd`);
  }
  words.netnsType = text;
}

const sets = setter<Words>();

const WORDS: readonly Word<Words>[] = [
  sets(
    ["-c", "--configure"],
    undefined,
    "--configure: sets address, route and MTU, brings the interface up.",
    "configure",
    () => true,
    "setup",
  ),
  sets(
    ["-e", "--exit-fd"],
    "FD",
    "--exit-fd: ends with status 0 when this descriptor is hung up.",
    "exitFd",
    (text) => readNumber("--exit-fd", text, 0, 1_048_575),
  ),
  sets(
    ["-r", "--ready-fd"],
    "FD",
    "--ready-fd: writes 1 there and closes it once the guest is served.",
    "readyFd",
    (text) => readNumber("--ready-fd", text, 0, 1_048_575),
  ),
  sets(
    ["-m", "--mtu"],
    "MTU",
    `--mtu (default ${MTU_DEFAULT}, at most ${MTU_MAX}; less than ${MTU_LEAST} counts as that).`,
    "mtu",
    (text) => Math.max(readNumber("--mtu", text, 1, MTU_MAX), MTU_LEAST),
  ),
  sets(
    ["-6", "--enable-ipv6"],
    undefined,
    "--ipv6 auto --net6 fd00::/64, gateway fd00::2, DNS fd00::3.",
    "ipv6",
    () => true,
  ),
  {
    forms: ["-a", "--api-socket"],
    placeholder: "PATH",
    help: "Serves add_hostfwd, list_hostfwd and remove_hostfwd on this Unix socket; forwards over IPv4.",
    kind: "place",
    note: readApiSocket,
  },
  {
    forms: ["--cidr"],
    placeholder: "CIDR",
    help: "--net, --gateway, --dns, --dhcp-start and --guest-addr (default 10.0.2.0/24).",
    note: readCidr,
  },
  sets(
    ["--disable-host-loopback"],
    undefined,
    "No --allow-host-loopback: the gateway is not the host's 127.0.0.1. What is refused is said by --refuse-with unreachable, with it and without.",
    "hostLoopback",
    () => false,
  ),
  {
    forms: ["--netns-type"],
    placeholder: "TYPE",
    help: "pid (default) or path: --netns; tapfd: --tap-fd.",
    note: readNetnsType,
  },
  sets(["--userns-path"], "PATH", "--userns.", "userns", (text) => text, "user"),
  {
    forms: ["--enable-sandbox"],
    help: "Always: the process that reads packets sees no files and has no rights. With it, but for root and -c, the one that is started sees /etc, /run and what is of programs.",
    kind: "sandbox",
    note: () => {},
  },
  {
    forms: ["--enable-seccomp"],
    help: "Always: that process has a filter on system calls.",
    note: () => {},
  },
  sets(["--outbound-addr"], "IPV4|INTERFACE", "--outbound-addr.", "outbound", (text) => text),
  {
    forms: ["--outbound-addr6"],
    placeholder: "IPV6",
    help: "--outbound-addr of IPv6; an interface by --outbound-addr, which is for both.",
    note: (words, text) => {
      if (readIpv6(text) === null) {
        throw new Refusal(
          `--outbound-addr6 ${text} is not offered: an IPv6 address; --outbound-addr takes an interface`,
        );
      }
      words.outbound6 = text;
    },
  },
  sets(
    ["--disable-dns"],
    undefined,
    "--no-dns, and the DNS address says nothing: --host-alias of nobody.",
    "dns",
    () => false,
  ),
  sets(["--macaddress"], "MAC", "--guest-mac; only with -c.", "mac", (text) => text),
  {
    forms: ["--target-type"],
    placeholder: "TYPE",
    help: "netns, the default; bess is refused.",
    note: (_, text) => {
      if (text !== "netns") throw new Refusal(`--target-type=${text} is not offered: netns`);
    },
  },
  sets(["-h", "--help"], undefined, "This text.", "question", () => "help", "help"),
  sets(["-v", "--version"], undefined, "The version.", "question", () => "version", "version"),
];

/** The link's options: the target, and the TAP's name. */
function linkArguments(words: Words, rest: readonly string[], { exists }: Surroundings): string[] {
  const [target, tap] = rest;
  if (target === undefined) throw new Refusal(`the target is missing: PID|PATH TAP`);
  if (words.netnsType === "tapfd") {
    return ["--tap-fd", String(readNumber("tap descriptor", target, 3, 1_048_575))];
  }
  if (tap === undefined) throw new Refusal("the name of the TAP is missing: PID|PATH TAP");
  const { userns, netnsType } = words;
  if (userns !== undefined && !exists(userns)) throw new Refusal(`--userns-path: there is no ${userns}`);
  if (netnsType === "pid") readNumber("PID", target, 1, 4_194_304);
  // A PID brings its own user namespace, unless one is named.
  const byPath = netnsType === "pid" && userns !== undefined;
  const netns = byPath ? `/proc/${target}/ns/net` : target;
  if (!exists(byPath || netnsType === "path" ? netns : `/proc/${netns}`)) {
    throw new Refusal(`there is no network namespace at ${netns}`);
  }
  return ["--tap", tap, "--netns", netns, ...(userns === undefined ? [] : ["--userns", userns])];
}

function translate(argv: readonly string[], surroundings: Surroundings): Translation | Question {
  const words: Words = {
    configure: false,
    mtu: MTU_DEFAULT,
    network: parseIpv4("10.0.2.0"),
    prefixLength: 24,
    hostLoopback: true,
    dns: true,
    ipv6: false,
    netnsType: "pid",
  };
  const rest = readWords(WORDS, argv, words);
  if (words.question !== undefined) return words.question;
  if (words.mac !== undefined && !words.configure) throw new Refusal("--macaddress needs -c");
  const { apiSocket } = words;
  const at = (offset: number): string => formatIpv4(words.network + offset);
  const given = (option: string, value: string | number | undefined): string[] =>
    value === undefined ? [] : [option, String(value)];
  return {
    argv: [
      ...linkArguments(words, rest, surroundings),
      ...["--net", `${at(0)}/${words.prefixLength}`, "--gateway", at(OFFSETS.gateway)],
      ...(words.dns ? ["--dns", at(OFFSETS.dns)] : ["--no-dns", "--host-alias", `${at(OFFSETS.dns)}=nobody`]),
      ...["--dhcp-start", at(OFFSETS.dhcp), "--guest-addr", `${at(OFFSETS.guest)},any`],
      ...["--mtu", String(words.mtu), "--allow-link-local", "--answer-ping"],
      ...["--refuse-with", "unreachable"],
      ...(words.configure ? ["--configure"] : []),
      ...(words.hostLoopback ? ["--allow-host-loopback"] : []),
      ...(words.ipv6 ? ["--ipv6", "auto", "--net6", "fd00::/64"] : ["--ipv6", "off"]),
      ...given("--outbound-addr", words.outbound),
      ...given("--outbound-addr", words.outbound6),
      ...given("--guest-mac", words.mac),
      ...given("--ready-fd", words.readyFd),
      ...given("--exit-fd", words.exitFd),
      ...["--outlive-parent", "--control", "none", "--log-level", "warn"],
    ],
    background: false,
    ...(apiSocket === undefined
      ? {}
      : { serveApi: (forwards) => serveApi(apiSocket, new Slirp4netnsApi(forwards, at(OFFSETS.guest))) }),
    greeting: greeting(words, at),
    warnings: rest.slice(2).map((word) => `"${word}" is one word too many; it is ignored`),
  };
}

/** What slirp4netns itself says of its network. */
function greeting(words: Words, at: (offset: number) => string): string {
  const lines: [string, string][] = [
    ["MTU", String(words.mtu)],
    ["Network", at(0)],
    ["Netmask", formatIpv4(netmask(words.prefixLength))],
    ["Gateway", at(OFFSETS.gateway)],
    ...(words.dns ? [["DNS", at(OFFSETS.dns)] as [string, string]] : []),
    ["DHCP begin", at(OFFSETS.dhcp)],
    ["DHCP end", at(OFFSETS.dhcp + LEASES - 1)],
    ["Recommended IP", at(OFFSETS.guest)],
    ...(words.apiSocket === undefined ? [] : [["API Socket", words.apiSocket] as [string, string]]),
  ];
  const shown = lines.map(([name, value]) => `* ${`${name}:`.padEnd(17)}${value}\n`).join("");
  if (!words.hostLoopback) return `Starting slirp\n${shown}`;
  const warning = `127.0.0.1:* on the host is accessible as ${at(OFFSETS.gateway)} (set --disable-host-loopback to prohibit connecting to 127.0.0.1:*)`;
  return `Starting slirp\n${shown}WARNING: ${warning}\n`;
}

export const SLIRP4NETNS: Program = {
  name: "slirp4netns",
  usage: "slirp4netns [OPTION]... PID|PATH [TAPNAME]",
  background: false,
  positional: ["net", "tap"],
  words: WORDS as readonly Word<never>[],
  version: (own) =>
    `slirp4netns version ${VERSION}+sluice\ncommit: sluice-${own}\nSLIRP_CONFIG_VERSION_MAX: 6\n`,
  translate,
};
