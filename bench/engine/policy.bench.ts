/**
 * What a policy of 1,000 rules costs: a new connection judged by its address and by a pinned name, a name that is shown, over
 * QUIC too, and a DNS question judged and its answer pinned, with 8,000 pins in the table.
 */
import packet from "dns-packet";
import { readPolicy } from "../../src/config/policy/read.ts";
import { QUIC_KEYS_OCTETS, V4_MAPPED } from "../../src/engine/boundary.ts";
import { QUIC_CRYPTO_OCTETS } from "../../src/engine/limits.ts";
import { HANDLED } from "../../src/engine/metrics/drop-reasons.ts";
import { DnsPolicy } from "../../src/engine/policy/dns-policy.ts";
import { Name } from "../../src/engine/policy/name.ts";
import { Policy } from "../../src/engine/policy/policy.ts";
import { OVER_QUIC } from "../../src/engine/policy/targets.ts";
import { QuicOpener } from "../../src/engine/service/names/quic-opener.ts";
import { ClientHello, RECORD_HEADER_OCTETS } from "../../src/engine/wire/client-hello.ts";
import { CRYPTO_FRAME, InitialFrames, LongHeader } from "../../src/engine/wire/quic.ts";
import { HostQuicKeys } from "../../src/host/quic-keys.ts";
import { initialPackets } from "../../test/support/quic-client.ts";
import { clientHello } from "../client-hello.ts";
import { keep, runSuite } from "../suite.ts";

const RULES = 1000;
const PINS = 8000;
const HTTPS = 443;

const rules = Array.from({ length: RULES }, (_, n) =>
  n % 2 === 0 ? { allow: `host-${n}.example.com` } : { allow: `10.${n >> 8}.${n & 255}.0/24:5432` },
);
const QUIC_NAME = "n4321.quic.example";
const allowed = [{ allow: "*.cdn.example" }, { allow: `*.quic.example:${HTTPS}/quic` }];
const source = { label: "policy", value: { version: 1, rules: [...rules, ...allowed] } };
const config = readPolicy({ flags: [], source, fallback: undefined, audit: false }, [])?.config;
if (config === undefined) throw new Error("no policy");
const policy = new Policy({ config, uptimeMs: () => 0, narrower: null, udpTimeoutMs: 300_000, hasDns: true });
const dns = new DnsPolicy(policy);

const words = Int32Array.of(0, 0, V4_MAPPED, 0);
const name = new Name();
for (let n = 0; n < PINS; n++) {
  name.setText(`n${n}.cdn.example`);
  words[3] = (203 << 24) | n;
  policy.pins.add(name, words, 0, 3600, false, 0);
}

const byAddress = {
  guestAddress: 1,
  remoteAddress: (10 << 24) | (1 << 16) | (243 << 8) | 7,
  remotePort: 5432,
};
const byName = { guestAddress: 1, remoteAddress: (203 << 24) | 4321, remotePort: HTTPS };
const nobody = { guestAddress: 1, remoteAddress: (198 << 24) | 4321, remotePort: 25 };
words[3] = byName.remoteAddress;

const question = packet.encode({ type: "query", id: 7, questions: [{ type: "A", name: "n77.cdn.example" }] });
const answer = packet.encode({
  type: "response",
  id: 7,
  questions: [{ type: "A", name: "n77.cdn.example" }],
  answers: [{ type: "A", name: "n77.cdn.example", ttl: 60, data: "203.0.113.9" }],
});
const octets = new Uint8Array(4096);
octets.set(question, 0);
octets.set(answer, 2048);
const view = new DataView(octets.buffer);

name.setText(QUIC_NAME);
policy.pins.add(name, words, 0, 3600, false, 0);

/** TLS's record is none of QUIC's. */
const hello = (await clientHello(QUIC_NAME)).subarray(RECORD_HEADER_OCTETS);
const [initial] = initialPackets(hello);
if (initial === undefined) throw new Error("no packet");
const opener = new QuicOpener(new HostQuicKeys());
const keys = new Uint8Array(QUIC_KEYS_OCTETS);
const header = new LongHeader();
const frames = new InitialFrames();
const shown = new ClientHello();
const message = new Uint8Array(QUIC_CRYPTO_OCTETS);

/** Opens the packet with keys of its own connection id. */
function open(): void {
  keep(header.read(initial, 0, initial.length));
  opener.derive(header.version, initial.subarray(header.idAt, header.idAt + header.idOctets), keys);
  if (opener.open(keys, initial, 0, header, -1) !== 1) throw new Error("it does not open");
}

/** And judges the name in its ClientHello. */
function judge(): void {
  open();
  frames.begin(opener.plain, opener.length);
  while (frames.next() === CRYPTO_FRAME)
    message.set(opener.plain.subarray(frames.dataAt, frames.dataAt + frames.length), frames.offset);
  keep(shown.read(message, hello.length));
  policy.name.readText(message, shown.nameAt, shown.nameOctets);
  if (policy.shown(words, 0, HTTPS, null, OVER_QUIC) !== HANDLED) throw new Error("it is refused");
}
judge();

runSuite([
  ["decide: a connection by its address, 1,000 rules", () => keep(policy.tcp(byAddress))],
  ["decide: a connection by a pinned name, 1,000 rules", () => keep(policy.tcp(byName))],
  ["decide: one that no rule allows, 1,000 rules", () => keep(policy.tcp(nobody))],
  [
    "decide: a name that is shown, 1,000 rules",
    () => {
      policy.name.setText("n4321.cdn.example");
      keep(policy.shown(words, 0, HTTPS, null));
    },
  ],
  ["QUIC: an Initial packet opened, its keys derived", open],
  ["QUIC: the same, and the name it shows judged", judge],
  [
    "DNS: a question judged and its answer pinned, 8,000 pins",
    () => {
      keep(dns.question(view, 0, question.length));
      dns.answered(view, 0, question.length, 2048, answer.length);
    },
  ],
]);
