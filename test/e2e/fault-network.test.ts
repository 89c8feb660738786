/** The host loses its network or its resolver: the guest is told what can be told, and goes on when they are back. */
import packet, { type DecodedPacket } from "dns-packet";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { HostNamespace, NAMESPACE_NEEDS, NamespaceGuest } from "../support/namespace-guest.ts";
import { missing, needs } from "../support/requirements.ts";

/** A veth pair joins two network namespaces of one owner. */
const NEEDS = { ...NAMESPACE_NEEDS, root: true };
const INSIDE = "198.18.0.2/24";
const OUTSIDE = "198.18.0.1";
const RESOLVER = "10.0.2.3";
/** Where a resolver is that sends every query back as it came, and where one is that begins later. */
const ECHO_PORT = 5301;
const LATER_PORT = 5302;
const NAMED_ADDRESS = "192.0.2.80";
/** The guest's stub is more patient than the engine. */
const PATIENCE_MS = 20_000;

describe("a host that", () => {
  let host: HostNamespace;
  let outside: HostNamespace;
  let guest: NamespaceGuest;
  let echo: number;
  let udpEcho: number;

  function plug(): void {
    const pid = outside.enter[outside.enter.indexOf("-t") + 1];
    host.ip("link", "add", "up0", "type", "veth", "peer", "name", "down0", "netns", pid);
    host.ip("address", "add", INSIDE, "dev", "up0");
    host.ip("link", "set", "up0", "up");
    host.ip("route", "add", "default", "via", OUTSIDE);
    outside.ip("address", "add", `${OUTSIDE}/24`, "dev", "down0");
    outside.ip("link", "set", "down0", "up");
  }

  beforeAll(async () => {
    if (missing(NEEDS).length > 0) return;
    host = await HostNamespace.make();
    outside = await HostNamespace.make();
    plug();
    echo = await outside.agent.do("tcpServer", { kind: "echo", host: OUTSIDE });
    udpEcho = await outside.agent.do("udpServer", { kind: "echo", host: OUTSIDE });
    await outside.agent.do("udpServer", { kind: "echo", host: OUTSIDE, port: ECHO_PORT });
    const resolvers = [ECHO_PORT, LATER_PORT].flatMap((port) => ["--resolver", `${OUTSIDE}:${port}`]);
    guest = await NamespaceGuest.start({ host, options: resolvers });
  });
  afterAll(async () => {
    await guest?.close();
    await host?.close();
    await outside?.close();
  });

  /** One query, one answer: the address, or the code of the failure. */
  async function resolve(name: string): Promise<string | undefined> {
    const query = packet.encode({
      id: 4711,
      flags: packet.RECURSION_DESIRED,
      questions: [{ type: "A", name }],
    });
    const answer = await guest.agent.do<{ text: string } | undefined>("udpAsk", {
      host: RESOLVER,
      port: 53,
      message: query.toString("hex"),
      encoding: "hex",
      tries: 1,
      timeoutMs: PATIENCE_MS,
    });
    if (answer === undefined) return undefined;
    const { answers, rcode } = packet.decode(Buffer.from(answer.text, "hex")) as DecodedPacket & {
      rcode: string;
    };
    const [first] = answers ?? [];
    return first?.type === "A" ? first.data : rcode;
  }
  const askUdp = (tries: number): Promise<unknown> =>
    guest.agent.do("udpAsk", { host: OUTSIDE, port: udpEcho, message: "x", tries, timeoutMs: 1000 });

  it("has no resolver that answers tells the guest so, and answers when one does", async (context) => {
    needs(context, NEEDS);
    expect(await resolve("nobody.test")).toBe("SERVFAIL");
    await outside.agent.do("dnsServer", { host: OUTSIDE, address: NAMED_ADDRESS, port: LATER_PORT });
    expect(await resolve("somebody.test")).toBe(NAMED_ADDRESS);
  });

  it("loses its interface refuses what is new, keeps what is old, and has both when it is back", async (context) => {
    needs(context, NEEDS);
    await guest.agent.do("hold", { host: OUTSIDE, port: echo, name: "old", message: "" });
    expect(await guest.agent.do("askHeld", { name: "old", message: "before" })).toBe(true);
    const before = await guest.report();
    host.ip("link", "delete", "up0");

    const meanwhile = guest.agent.do("askHeld", { name: "old", message: "meanwhile" });
    const dialled = await guest.agent.do<{ outcome: string }>("dial", { host: OUTSIDE, port: echo });
    expect(dialled.outcome).toBe("ECONNREFUSED");
    expect(await askUdp(1)).toBeUndefined();
    expect(await resolve("cut-off.test")).toBe("SERVFAIL");
    const cut = await guest.report();
    expect(cut.drops["host-send-refused"]).toBeGreaterThan(before.drops["host-send-refused"] ?? 0);

    plug();
    expect(await meanwhile).toBe(true);
    expect(await guest.agent.do("exchange", { host: OUTSIDE, port: echo, message: "new" })).toBe("new");
    expect(await askUdp(10)).toMatchObject({ text: "x" });
    expect(await resolve("back.test")).toBe(NAMED_ADDRESS);
  });
});
