/** Every grammar of the configuration: text in, a value or an Unacceptable out, and values that mean what they say. */
import assert from "node:assert/strict";
import { parseCommandArguments } from "../../src/cli/arguments.ts";
import {
  formatMac,
  parseInteger,
  parseIpv4,
  parseMac,
  parseNetwork,
  parsePort,
  parseResolver,
} from "../../src/config/address.ts";
import { parseDhcpOption } from "../../src/config/dhcp-option.ts";
import { parseDomainName } from "../../src/config/domain-name.ts";
import { parseGuestfwd, parseHostfwd, parseSocketPath } from "../../src/config/forward-grammar.ts";
import {
  parseDatagramAddresses,
  parseDescriptor,
  parseDeviceName,
  parseNamespace,
  parseStreamAddress,
  parseUser,
} from "../../src/config/link-grammar.ts";
import { planEngine, planHost, planLink } from "../../src/config/plan.ts";
import { formatProblem, Unacceptable } from "../../src/config/problem.ts";
import { parsePublish } from "../../src/config/publish-grammar.ts";
import { formatIpv4 } from "../../src/engine/wire/address-text.ts";
import { parseResolvConf } from "../../src/host/resolv-conf.ts";
import { validateText } from "../../src/kubevirt/spec/validate.ts";
import { type FuzzTarget, words } from "./target.ts";

function isPort(port: number): void {
  assert.ok(Number.isInteger(port) && port >= 0 && port <= 65_535, `port ${port}`);
}

function forwards(list: ReturnType<typeof parsePublish>): void {
  assert.ok(list.length > 0);
  for (const { hostPort, guestPort, hostAddress } of list) {
    isPort(hostPort);
    isPort(guestPort);
    assert.equal(hostAddress, hostAddress | 0);
  }
}

/** By the first octet of an input. */
const GRAMMARS: ((text: string) => void)[] = [
  (text) => assert.equal(parseIpv4(formatIpv4(parseIpv4(text))), parseIpv4(text)),
  (text) => assert.deepEqual(parseMac(formatMac(parseMac(text))), parseMac(text)),
  (text) => parseNetwork(text),
  (text) => isPort(parsePort(text)),
  (text) => isPort(parseResolver(text).port),
  (text) => assert.ok(parseInteger(text, 0, 100) <= 100),
  (text) => assert.ok(parseDhcpOption(text).value.length <= 65_535),
  (text) => assert.ok(parseDomainName(text).length <= 255),
  (text) => forwards(parsePublish(text)),
  (text) => forwards([parseHostfwd(text)]),
  (text) => isPort(parseGuestfwd(text).port),
  (text) => parseSocketPath(text),
  (text) => parseStreamAddress(text),
  (text) => parseDatagramAddresses(text),
  (text) => assert.ok(parseDeviceName(text).length < 16),
  (text) => parseNamespace(text),
  (text) => assert.ok(parseDescriptor(text) >= 0),
  (text) => parseUser(text),
  (text) => {
    const { options } = parseCommandArguments("run", text.split("\n"));
    planLink(options);
    planHost(options, "run");
    planEngine(options);
    for (const problem of options.problems) {
      // biome-ignore lint/suspicious/noControlCharactersInRegex: exactly these must not reach a terminal
      assert.doesNotMatch(formatProblem(problem), /[\u0000-\u001f\u007f-\u009f]/);
    }
  },
  (text) => {
    for (const problem of validateText("any.yaml", text).problems) assert.notEqual(problem.allowed, "");
  },
  (text) => {
    for (const { port } of parseResolvConf(text).resolvers) isPort(port);
  },
];

function run(input: Uint8Array): void {
  const text = Buffer.from(input.subarray(1)).toString();
  try {
    GRAMMARS[(input[0] ?? 0) % GRAMMARS.length](text);
  } catch (error) {
    if (!(error instanceof Unacceptable)) throw error;
  }
}

const EXAMPLES = [
  ["10.0.2.2"],
  ["52:54:00:12:34:56"],
  ["10.0.2.0/24"],
  ["8080"],
  ["8.8.8.8", "8.8.8.8:5353", "[fe80::1%lo]:53", "::1"],
  ["42"],
  ["42=10.0.2.2", "224=hex:0102", "119=text:abc", "57=u16:576"],
  ["example.org"],
  ["2222:22", "udp:127.0.0.1:5353:53", "8000-8010:8000", "0:22"],
  ["tcp:127.0.0.1:2222-:22", "udp::53-10.0.2.15:53", "tcp::0x16-:22"],
  ["tcp:10.0.2.100:80-tcp:127.0.0.1:8080", "tcp:10.0.2.100:80-cmd:cat", "tcp:10.0.2.100:80-unix:/run/x"],
  ["/run/x.sock"],
  ["unix:/run/x.sock", "tcp:127.0.0.1:1234", "tcp:[::1]:1234"],
  ["unix:/a,unix:/b", "udp:127.0.0.1:1,udp:127.0.0.1:2"],
  ["tap0"],
  ["/proc/1/ns/net", "123"],
  ["3"],
  ["nobody", "1000:1000"],
  [
    "--qemu-listen=unix:/run/x\n--mtu=9000\n--net\n10.1.0.0/16",
    "--tap\nx\n--reserve=52:54:00:00:00:01=10.0.2.20",
  ],
  ["interfaces:\n  - name: red\n    bridge: {}\nnetworks:\n  - name: red\n    pod: {}\n", "a: &x [*x]\n"],
  ["nameserver 8.8.8.8\nsearch a b\noptions ndots:1\n", "nameserver fe80::1%2\n"],
];

export const grammarTarget: FuzzTarget = {
  name: "grammar",
  seeds: () => EXAMPLES.flatMap((texts, i) => texts.map((text) => new Uint8Array([i, ...Buffer.from(text)]))),
  dictionary: words(
    ...[
      ":",
      "-",
      "/",
      "=",
      ",",
      ".",
      "\n",
      "--",
      "tcp:",
      "udp:",
      "unix:",
      "hex:",
      "text:",
      "u32:",
      "cmd:",
      "[::1]",
    ],
    ...[
      "65535",
      "65536",
      "4294967296",
      "1e3",
      "0x",
      "255.255.255.255",
      "__proto__",
      "constructor",
      "\u0000",
      "\u001b[",
    ],
    ...[
      "- ",
      ": ",
      "{}",
      "[]",
      "&a ",
      "*a",
      "!!",
      "<<: ",
      "%",
      "#",
      "nameserver ",
      "interfaces",
      "networks",
      "--mtu",
    ],
  ),
  lengthMax: 400,
  run,
  reset: () => {},
};
