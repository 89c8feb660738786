/** What one end of a TCP connection does, the other end sees: ends, halves, resets, refusals, urgent octets. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Agent } from "../support/agent.ts";
import { NAMESPACE_NEEDS, NamespaceGuest } from "../support/namespace-guest.ts";
import { run, until } from "../support/program.ts";
import { findCommand, missing, needs } from "../support/requirements.ts";

const GATEWAY = "10.0.2.2";
const GUEST_PORTS = [8001, 8002, 8003, 8004] as const;
const [SINK, RESET, FAREWELL, URGENT] = GUEST_PORTS;

let guest: NamespaceGuest;
let host: Agent;
beforeEach((context) => needs(context, NAMESPACE_NEEDS));
beforeAll(async () => {
  if (missing(NAMESPACE_NEEDS).length > 0) return;
  const forwards = GUEST_PORTS.flatMap((port) => ["-p", `0:${port}`]);
  guest = await NamespaceGuest.start({ options: ["--allow-host-loopback", ...forwards] });
  host = new Agent();
});
afterAll(async () => {
  await guest?.close();
  await host?.close();
});

/** The client in one place and the server in the other, both ways round. */
const DIRECTIONS = [
  { name: "from the guest", outbound: true },
  { name: "to the guest", outbound: false },
] as const;

/** Starts a server; gives the client and how it reaches the server. */
async function pair(outbound: boolean, kind: string, guestPort: number) {
  if (outbound) {
    const port = await host.do<number>("tcpServer", { kind });
    return { client: guest.agent, server: host, to: { host: GATEWAY, port }, serverPort: port };
  }
  await guest.agent.do("tcpServer", { kind, host: "0.0.0.0", port: guestPort });
  const to = { host: "127.0.0.1", port: guest.hostPort(guestPort) };
  return { client: host, server: guest.agent, to, serverPort: guestPort };
}

describe.for(DIRECTIONS)("a connection $name", ({ outbound }) => {
  it("goes on in the other direction when the client has closed its own", async () => {
    const { client, to } = await pair(outbound, "sink", SINK);
    const octets = 3_000_000;
    const sent = await client.do<{ sha256: string; server: unknown }>("upload", { ...to, octets, seed: 5 });
    expect(sent.server).toEqual({ octets, sha256: sent.sha256 });
  });

  it("goes on in the other direction when the server has closed its own", async () => {
    const { client, server, to, serverPort } = await pair(outbound, "farewell", FAREWELL);
    expect(await client.do("listenThenTalk", { ...to, message: "after the end" })).toBe("farewell");
    await until(async () => (await server.do("collected", { port: serverPort })) !== undefined, "the words");
    expect(await server.do("collected", { port: serverPort })).toBe("after the end");
  });

  it("that the server resets is reset for the client", async () => {
    const { client, to } = await pair(outbound, "reset", RESET);
    expect(await client.do("failureAfter", to)).toBe("ECONNRESET");
  });

  it("that the client resets is reset for the server", async () => {
    const port = outbound ? await host.do<number>("tcpServer", { kind: "hold" }) : SINK;
    const [client, server] = outbound ? [guest.agent, host] : [host, guest.agent];
    const to = outbound ? { host: GATEWAY, port } : { host: "127.0.0.1", port: guest.hostPort(SINK) };
    await client.do("hold", { ...to, name: "held" });
    await new Promise((resolve) => setTimeout(resolve, 200));
    await client.do("resetHeld", { name: "held" });
    await until(async () => (await server.do("failure", { port })) === "ECONNRESET", "the reset arrives");
  });
});

describe("a connection to nobody", () => {
  it("is refused when it leads out", async () => {
    const closed = await host.do<number>("tcpServer", { kind: "hold" });
    await host.do("closeServer", { port: closed });
    const { outcome } = await guest.agent.do<{ outcome: string }>("dial", { host: GATEWAY, port: closed });
    expect(outcome).toBe("ECONNREFUSED");
    expect((await guest.report()).counters["tcp-refused"]).toBeGreaterThan(0);
  });

  it("is reset when it leads in: the host's kernel has accepted it before the guest could refuse", async () => {
    expect(await host.do("failureAfter", { host: "127.0.0.1", port: guest.hostPort(URGENT) })).toBe(
      "ECONNRESET",
    );
  });
});

describe("urgent octets", () => {
  const directory = mkdtempSync(join(tmpdir(), "sluice-test-urgent-"));
  const program = join(directory, "urgent");
  beforeAll(() => {
    const source = fileURLToPath(new URL("../support/guest-programs/urgent.c", import.meta.url));
    execFileSync(findCommand("cc") ?? "cc", ["-O1", "-Wall", "-o", program, source], { stdio: "inherit" });
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  it("of a client in the guest arrive in line", async () => {
    const port = await host.do<number>("tcpServer", { kind: "farewell" });
    const sender = await guest.run(program, "connect", GATEWAY, String(port));
    expect(sender).toMatchObject({ status: 0, stderr: "" });
    await until(async () => (await host.do("collected", { port })) !== undefined, "the octets");
    expect(await host.do("collected", { port })).toBe("ab!cd");
  });

  it("of a server on the host arrive in line", async () => {
    const port = await host.do<number>("tcpServer", { kind: "hold" });
    await host.do("closeServer", { port });
    const sender = run(program, ["listen", String(port)]);
    await sender.says(/listening/, "stdout");
    expect(await guest.agent.do("exchange", { host: GATEWAY, port })).toBe("ab!cd");
    expect((await sender.ended).status).toBe(0);
  });

  it("of a server in the guest arrive in line", async () => {
    const sender = guest.spawn(program, "listen", String(URGENT));
    await sender.says(/listening/, "stdout");
    const port = guest.hostPort(URGENT);
    expect(await host.do("exchange", { host: "127.0.0.1", port })).toBe("ab!cd");
    expect((await sender.ended).status).toBe(0);
  });
});
