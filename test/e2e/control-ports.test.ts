/** Ports of `sluice ui` and `sluice metrics --listen`: open to this host, and closed to the guest whatever it is allowed. */
import { createServer } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { CountersResource } from "../../src/control/schema.ts";
import { ControlPlace } from "../support/control-command.ts";
import { freePort } from "../support/free-port.ts";
import { NAMESPACE_NEEDS, NamespaceGuest } from "../support/namespace-guest.ts";
import { PROGRAM, type Running, run, until } from "../support/program.ts";
import { needs } from "../support/requirements.ts";

let place: ControlPlace;
let guest: NamespaceGuest | undefined;
const servers: Running[] = [];

beforeEach((context) => {
  needs(context, NAMESPACE_NEEDS);
  place = new ControlPlace();
});
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.child.kill("SIGTERM");
    await server.ended;
  }
  await guest?.close();
  guest = undefined;
  place?.remove();
});

async function listen(...args: string[]): Promise<[Running, string]> {
  const server = run(process.execPath, [PROGRAM, ...args, ...place.options]);
  servers.push(server);
  const [address] = await server.says(/http:\S+/, "stdout");
  return [server, address];
}

describe("the guest", () => {
  it("is refused the page and the metrics, by every way there is", async () => {
    const port = await freePort();
    guest = await NamespaceGuest.start({
      options: [
        "--allow-host-loopback",
        "--guestfwd",
        `tcp:10.0.2.100:80-tcp:127.0.0.1:${port}`,
        ...place.options,
      ],
    });
    const { agent } = guest;
    const dial = async (host: string, to: number): Promise<string> =>
      (await agent.do<{ outcome: string }>("dial", { host, port: to })).outcome;
    // The same port is nobody's yet, and then another program's: the guest reaches what it may reach.
    const other = createServer((socket) => socket.end()).listen(port, "127.0.0.1");
    await new Promise((resolve) => other.once("listening", resolve));
    expect(await dial("10.0.2.2", port)).not.toBe("ECONNREFUSED");
    await new Promise((resolve) => other.close(resolve));
    const [metrics, address] = await listen("metrics", "--listen", String(port));
    const [, page] = await listen("ui");
    const scraped = await fetch(address);
    expect(scraped.headers.get("content-type")).toContain("openmetrics-text");
    expect(await scraped.text()).toMatch(/^sluice_link_octets_total\{.*# EOF\n$/ms);
    expect((await fetch(address.replace("/metrics", "/v1/state"))).status).toBe(404);
    const pagePort = Number(new URL(page).port);
    expect((await fetch(`http://127.0.0.1:${pagePort}/`)).status).toBe(200);
    for (const [host, to] of [
      ["10.0.2.2", port],
      ["10.0.2.100", 80],
      ["10.0.2.2", pagePort],
    ] as const)
      expect([host, to, await dial(host, to)]).toEqual([host, to, "ECONNREFUSED"]);
    const { drops } = JSON.parse(await place.ask("counters", "--json")) as CountersResource;
    expect(drops["control-refused"]).toBe(3);
    expect(await place.ask("why", `10.0.2.2:${port}`)).toMatch(
      /^denied .*\(control-refused\)\nbecause .*sluice ui/,
    );
    metrics.child.kill("SIGTERM");
    await metrics.ended;
    const again = createServer((socket) => socket.end()).listen(port, "127.0.0.1");
    await new Promise((resolve) => again.once("listening", resolve));
    await until(async () => (await dial("10.0.2.2", port)) !== "ECONNREFUSED", "the port is anybody's again");
    again.close();
    await expect(place.ask("metrics", "--listen", "x:1")).rejects.toThrow("PORT, IPV4:PORT or [IPV6]:PORT");
  });
});
