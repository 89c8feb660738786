/** Ports of `sluice ui` and `sluice metrics --listen`: open to this host, and closed to the guest whatever it is allowed. */
import { existsSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
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
        ...["--policy-default", "allow"],
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
    const rule = (to: string): string => `version: 1\ndefault: allow\nrules:\n  - { allow: ${to} }\n`;
    const to = place.file("to.yaml");
    writeFileSync(to, rule(`203.0.113.9:22, to: "127.0.0.1:${pagePort}"`));
    await place.ask("policy", "set", to);
    expect(await dial("203.0.113.9", 22)).toBe("ECONNREFUSED");
    writeFileSync(to, rule(`203.0.113.9:22, to: "unix:${place.path}"`));
    await expect(place.ask("policy", "set", to)).rejects.toThrow(
      `to: unix:${place.path} is the control socket, which the guest may not reach`,
    );
    const { drops } = JSON.parse(await place.ask("counters", "--json")) as CountersResource;
    expect(drops["control-refused"]).toBe(4);
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

  it("C2 is refused the control socket, by whatever name its path has", async () => {
    const link = place.file("link.sock");
    symlinkSync(place.path, link);
    const policy = place.file("policy.yaml");
    const start = (...options: string[]) =>
      run(process.execPath, [PROGRAM, "run", "--qemu-listen", `unix:${place.file("vm.sock")}`, ...options]);
    for (const path of [place.path, link]) {
      writeFileSync(policy, `version: 1\nrules:\n  - { allow: "203.0.113.9:22", to: "unix:${path}" }\n`);
      const { stderr, status } = await start("--policy", policy, ...place.options).ended;
      expect(stderr).toContain(`to: unix:${path}: is the control socket, which the guest may not reach`);
      expect(status).toBe(1);
      const forward = await start("--guestfwd", `tcp:10.0.2.100:80-unix:${path}`, ...place.options).ended;
      expect(forward.stderr).toContain(`guest forward to unix:${path}: is the control socket`);
    }
    expect(existsSync(place.path)).toBe(false);
    rmSync(link);
    // One that comes to lead there later does not help: who connects is the engine.
    guest = await NamespaceGuest.start({
      options: ["--guestfwd", `tcp:10.0.2.100:80-unix:${link}`, ...place.options],
    });
    symlinkSync(place.path, link);
    const { agent } = guest;
    const heard = await agent.do<string>("exchange", {
      host: "10.0.2.100",
      port: 80,
      message: "GET /v1/state HTTP/1.1\r\nHost: sluice\r\nConnection: close\r\n\r\n",
    });
    expect(heard).toMatch(/^HTTP\/1\.1 403 .*from the guest, by the engine/s);
  });
});
