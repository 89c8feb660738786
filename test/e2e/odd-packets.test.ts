/** A guest whose kernel sends what a raw socket gives it: each packet is counted, none answered, and a neighbour unharmed. */
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { ip } from "../support/frames.ts";
import { HostNamespace, NAMESPACE_NEEDS, NamespaceGuest, type Report } from "../support/namespace-guest.ts";
import { type OddPacket, oddPackets } from "../support/odd-packets.ts";
import { run } from "../support/program.ts";
import { buildRawSocket, RAW_SENDER } from "../support/raw-socket.ts";
import { missing, needs } from "../support/requirements.ts";

const GATEWAY = "10.0.2.2";
const PACKETS = oddPackets({ guest: ip("10.0.2.15"), gateway: ip(GATEWAY), outside: ip("203.0.113.9") });
const OCTETS = 20_000_000;

let host: HostNamespace;
let guest: NamespaceGuest;
let unbuilt: string | undefined;

beforeEach((context) => {
  needs(context, NAMESPACE_NEEDS);
  if (unbuilt === undefined) return;
  process.stderr.write(`SKIPPED ${context.task.name}: raw-socket could not be built: ${unbuilt}\n`);
  context.skip(unbuilt);
});
beforeAll(async () => {
  if (missing(NAMESPACE_NEEDS).length > 0) return;
  unbuilt = buildRawSocket();
  if (unbuilt !== undefined) return;
  host = await HostNamespace.make();
  guest = await NamespaceGuest.start({ host, options: ["--allow-host-loopback"] });
  // A router that is known: nothing below waits for ARP.
  guest.ip("neighbour", "replace", GATEWAY, "lladdr", "52:55:0a:00:02:02", "dev", guest.device);
});
afterAll(async () => {
  await guest?.close();
  await host?.close();
});

async function send(packets: readonly OddPacket[]): Promise<void> {
  const [command, ...args] = [...guest.enter, process.execPath, RAW_SENDER];
  const sender = run(command, args, { cwd: "/", stdio: "pipe" });
  sender.child.stdin!.end(packets.map(({ octets }) => `${octets.toString("hex")}\n`).join(""));
  const { stdout, stderr, status } = await sender.ended;
  expect({ stdout, stderr, status }).toEqual({ stdout: `${packets.length}\n`, stderr: "", status: 0 });
}

const answers = ({ counters }: Report): number =>
  (counters["link-frames-to-guest"] ?? 0) - (counters["arp-replies"] ?? 0);

it("are counted one by one, and not answered", async () => {
  const before = await guest.report();
  await send(PACKETS);
  const after = await guest.report();
  const reasons = [...new Set(PACKETS.map(({ dropped }) => dropped))];
  const counted = reasons.map((reason) => [reason, (after.drops[reason] ?? 0) - (before.drops[reason] ?? 0)]);
  const expected = reasons.map((reason) => [
    reason,
    PACKETS.filter(({ dropped }) => dropped === reason).length,
  ]);
  expect(counted).toEqual(expected);
  expect(answers(after) - answers(before)).toBe(0);
  expect(after.flows).toContain("no flows");
});

it("do no harm to what goes on beside them", async () => {
  const sink = await host.agent.do<number>("tcpServer", { kind: "sink" });
  const udp = await host.agent.do<number>("udpServer", { kind: "echo" });
  const upload = { host: GATEWAY, port: sink, octets: OCTETS, seed: 8 };
  const flood = send(Array.from({ length: 10 }, () => PACKETS).flat());
  const [sent, lost] = await Promise.all([
    guest.agent.do<{ sha256: string; server: unknown }>("upload", upload),
    guest.agent.do("udpEcho", { host: GATEWAY, port: udp, sizes: [0, 100, 1472, 4000] }),
    flood,
  ]);
  expect(sent.server).toEqual({ octets: OCTETS, sha256: sent.sha256 });
  expect(lost).toEqual([]);
});
