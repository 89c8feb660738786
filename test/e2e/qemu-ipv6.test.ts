/** `sluice qemu` with IPv6: a Linux machine that takes its address from advertisements, with IPv4 beside it and without. */
import { beforeEach, describe, expect, it } from "vitest";
import { guestLab, READY } from "../support/guest-lab.ts";
import { HostNamespace, NAMESPACE_NEEDS } from "../support/namespace-guest.ts";
import { PROGRAM } from "../support/program.ts";
import { needsGuest, type QemuGuest, shellScript } from "../support/qemu-guest.ts";
import { needs } from "../support/requirements.ts";
import { WITHOUT_VECTORS } from "../support/vhost-guest.ts";

const PREFIX = "fd71:1ae0:d44d:2:";
const ROUTER = `${PREFIX}:2`;
const RESOLVER = `${PREFIX}:3`;
/** By RFC 4291 of QEMU's MAC, 52:54:00:12:34:56. */
const SLAAC = `${PREFIX}5054:ff:fe12:3456`;
/** Addresses of the host's, outside of the guest's network. */
const OUTSIDE = "2001:db8:9::1";
const OUTSIDE4 = "198.51.100.1";
const NAMED = "2001:db8:9::7";
const RESOLVER_PORT = 5353;
const OCTETS = 2_000_000;

/** A page that is the client's address, on port 80 of both families. */
const WEB = `mkdir -p /www/cgi-bin
printf '#!/bin/sh\\necho; echo "$REMOTE_ADDR"\\n' > /www/cgi-bin/who
chmod 755 /www/cgi-bin/who
httpd -p 80 -h /www`;

/** The kernel asks for a router as soon as the card is up, and tries for a second whether anybody has its address. */
const SLAAC_AND_WEB = `ip link set eth0 up
until ip -6 address show dev eth0 scope global | grep -v tentative | grep inet6; do usleep 100000; done
${WEB}`;

const { boot } = guestLab("qemu6");

beforeEach((context) => {
  needs(context, { ...NAMESPACE_NEEDS, tun: false });
  needsGuest(context);
});

/** A host with a way out over IPv6, and with servers. */
async function makeHost(): Promise<HostNamespace> {
  const host = await HostNamespace.make();
  host.ip("link", "add", "up0", "type", "veth", "peer", "name", "far0");
  for (const device of ["up0", "far0"]) host.ip("link", "set", device, "up");
  host.ip("-6", "address", "add", "2001:db8::5/64", "dev", "up0", "nodad");
  host.ip("-6", "route", "add", "default", "via", "2001:db8::1", "dev", "up0");
  host.ip("-6", "address", "add", `${OUTSIDE}/128`, "dev", "lo");
  host.ip("address", "add", `${OUTSIDE4}/32`, "dev", "lo");
  await host.agent.do("dnsServer", { host: "::1", port: RESOLVER_PORT, address: NAMED });
  return host;
}

function bootBehind(host: HostNamespace, script: string, ...options: string[]): QemuGuest {
  const forwards = ["-p", "[::1]:8080:80", "-p", "8081:80", "--hostfwd", `tcp:[::1]:8082-[${SLAAC}]:80`];
  const sluice = [process.execPath, PROGRAM, "qemu", "--resolver", `[::1]:${RESOLVER_PORT}`, ...forwards];
  return boot({
    command: [...host.enter, ...sluice, ...options, "--", "qemu-system-x86_64"],
    netdev: options.includes("--vhost-user") ? WITHOUT_VECTORS : [],
    script: shellScript(script),
  });
}

/** The address, the route and the resolver that advertisements gave; a stream out and one in; ports to the guest. */
async function expectServed6(host: HostNamespace, guest: QemuGuest): Promise<void> {
  await guest.waitFor(READY);
  expect(guest.output).toMatch(new RegExp(`inet6 ${SLAAC}/64 scope global dynamic`));
  expect(await guest.run("ip -6 route show default")).toMatch(/^default via fe80::2 dev eth0 /);
  expect(await guest.run(`nslookup -type=aaaa host.test ${RESOLVER}`)).toContain(`Address: ${NAMED}\n`);

  const source = { kind: "source", host: OUTSIDE, octets: OCTETS, seed: 7 };
  const down = await host.agent.do<number>("tcpServer", source);
  const received = await guest.run(`nc ${OUTSIDE} ${down} < /dev/null | sha256sum`);
  expect(received.slice(0, 64)).toBe(await host.agent.do("digest", source));

  const up = await host.agent.do<number>("tcpServer", { kind: "sink", host: OUTSIDE });
  const file = `head -c ${OCTETS} /dev/urandom > /tmp/up; sha256sum < /tmp/up`;
  const sent = await guest.run(`${file}; nc ${OUTSIDE} ${up} < /tmp/up; echo`);
  const [digest, answer] = sent.trim().split("\n");
  expect(JSON.parse(answer)).toEqual({ octets: OCTETS, sha256: digest.slice(0, 64) });

  const who = await host.agent.do<number>("tcpServer", { kind: "whoami", host: OUTSIDE });
  expect(await guest.run(`nc ${OUTSIDE} ${who} < /dev/null; echo`)).toBe(`${OUTSIDE}\n`);
  for (const port of [8080, 8082]) expect(await askWeb(host, "::1", port)).toContain(ROUTER);
}

function askWeb(host: HostNamespace, address: string, port: number): Promise<string> {
  return host.agent.do<string>("exchange", {
    host: address,
    port,
    message: "GET /cgi-bin/who HTTP/1.0\r\n\r\n",
  });
}

/** What sluice and QEMU said. In another's user namespace the engine is less confined, and says so. */
function said(guest: QemuGuest): string {
  return guest.errors.replace(/^sluice: warn: the engine is less confined .*\n/m, "");
}

describe("sluice qemu", () => {
  let host: HostNamespace;
  beforeEach(async () => {
    host = await makeHost();
    return () => host.close();
  });

  it("serves a machine of both families, and ends with QEMU's status when that turns itself off", async () => {
    const guest = bootBehind(host, `udhcpc -i eth0 -n -q -t 10\n${SLAAC_AND_WEB}`);
    await expectServed6(host, guest);
    expect(guest.output).toContain("lease-ip=10.0.2.15\n");
    const who = await host.agent.do<number>("tcpServer", { kind: "whoami", host: OUTSIDE4 });
    expect(await guest.run(`nc ${OUTSIDE4} ${who} < /dev/null; echo`)).toBe(`${OUTSIDE4}\n`);
    expect(await askWeb(host, "127.0.0.1", 8081)).toContain("10.0.2.2");
    guest.send("9 poweroff -f\n");
    expect(await guest.exited).toBe(0);
    expect(said(guest)).toBe("");
  });

  it("N69 serves one of IPv6 alone with --ipv4 off, and ends QEMU when it is ended", async () => {
    const guest = bootBehind(host, SLAAC_AND_WEB, "--ipv4", "off");
    await expectServed6(host, guest);
    expect(await askWeb(host, "127.0.0.1", 8081)).toContain(ROUTER);
    // Nobody gives a lease, nor answers for the gateway's address.
    expect(await guest.run("udhcpc -i eth0 -n -q -t 2 -T 1 || echo none")).toContain("none\n");
    await guest.run("ip address add 10.0.2.15/24 dev eth0; ip route add default via 10.0.2.2");
    const who = await host.agent.do<number>("tcpServer", { kind: "whoami", host: OUTSIDE4 });
    expect(await guest.run(`nc -w 3 ${OUTSIDE4} ${who} < /dev/null || echo none`)).toContain("none\n");
    await guest.kill();
    expect(said(guest)).toMatch(/^qemu-system-x86_64: terminating on signal 15.*\n$/);
  });

  it("serves one that shares its memory", async () => {
    await expectServed6(host, bootBehind(host, SLAAC_AND_WEB, "--vhost-user"));
  });
});
