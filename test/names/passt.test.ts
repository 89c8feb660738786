/** passt's and pasta's command lines, as their clients write them. */
import { describe, expect, it } from "vitest";
import type { Forward } from "../../src/engine/config.ts";
import { formatIpv4, formatIpv6 } from "../../src/engine/wire/address-text.ts";
import { PASST } from "../../src/names/passt.ts";
import { PASTA } from "../../src/names/pasta.ts";
import { ip } from "../support/frames.ts";
import { SURROUNDINGS, translated } from "./translated.ts";

/** `tcp 127.0.0.1%lo:2022-2030? 10.0.2.15:22`, with what is there of it; ? where ports may be passed over. */
function shown(forward: Forward): string {
  const {
    protocol,
    hostAddress6,
    hostDevice,
    hostPort,
    ports = 1,
    optional,
    guestAddress,
    guestPort,
  } = forward;
  const host = hostAddress6 === undefined ? formatIpv4(forward.hostAddress) : formatIpv6(hostAddress6);
  const last = ports === 1 ? "" : `-${hostPort + ports - 1}`;
  const guest = guestAddress === 0 ? "" : `${formatIpv4(guestAddress)}:`;
  const device = hostDevice === undefined ? "" : `%${hostDevice}`;
  return `${protocol} ${host}${device}:${hostPort}${last}${optional ? "?" : ""} ${guest}${guestPort}`;
}

/** An address that needs nothing of this machine. */
const OWN = "--address 172.17.2.4 --netmask 24 --gateway 172.17.2.1";

describe("passt", () => {
  const serve = (line: string) => translated(PASST, line);

  it("as QEMU starts it", () => {
    const { link, engine, host, background } = serve(
      `--quiet --mtu 1400 ${OWN} --mac-addr 02:00:00:00:00:09 --dns 1.1.1.1 --fqdn g.example --no-dhcp-search --map-host-loopback 172.17.2.9 --map-guest-addr none --dns-forward 172.17.2.3 --no-icmp --ipv4-only --tcp-ports 127.0.0.1/2222:22,8080 --udp-ports 5353 --pid /tmp/passt-1.pid --fd 3`,
    );
    expect(link).toEqual({ kind: "fd", fd: 3 });
    expect(background).toBe(true);
    expect(host).toMatchObject({ pidFile: "/tmp/passt-1.pid", outliveParent: true, log: { level: "warn" } });
    expect(engine).toMatchObject({
      mtu: 1400,
      network: ip("172.17.2.0"),
      prefixLength: 24,
      guestAddress: ip("172.17.2.4"),
      gateway: ip("172.17.2.1"),
      gatewayMac: Uint8Array.of(2, 0, 0, 0, 0, 9),
      dns: ip("172.17.2.3"),
      hostAliases: [{ address: ip("172.17.2.9"), target: ip("127.0.0.1") }],
      sharedSubnet: true,
      answerPing: false,
      allowHostLoopback: false,
      ipv6: null,
      dhcp: { rangeStart: ip("172.17.2.4"), rangeSize: 1 },
    });
    expect(engine.dhcp?.extraOptions).toEqual([
      { code: 6, value: Uint8Array.of(1, 1, 1, 1) },
      { code: 81, value: Uint8Array.of(4, 255, 255, 1, 103, 7, ...Buffer.from("example"), 0) },
    ]);
    expect(engine.forwards.map(shown)).toEqual([
      "tcp 127.0.0.1:2222 22",
      "tcp 127.0.0.1:8080 8080",
      "udp 0.0.0.0:5353 5353",
    ]);
  });

  it("as libvirt starts it", () => {
    const { link, engine, host, background } = serve(
      "--one-off --socket /run/libvirt/qemu/passt/1-vm1-net0.socket --pid /run/p.pid --mtu 1400 --log-file /tmp/l --hostname guest1 --fqdn guest1.example --address 172.17.2.4 --netmask 24 --gateway 172.17.2.1 --tcp-ports 127.0.0.1/2022:22,8000-8010 --udp-ports 5000,5002:53",
    );
    expect(link).toEqual({
      kind: "qemu-listen",
      address: { kind: "unix", path: "/run/libvirt/qemu/passt/1-vm1-net0.socket" },
    });
    expect(host).toMatchObject({ oneOff: true, log: { level: "info", file: "/tmp/l" } });
    expect(background).toBe(true);
    expect(engine.forwards.map(shown)).toEqual([
      "tcp 127.0.0.1:2022 22",
      "tcp 127.0.0.1:8000-8010 8000",
      "udp 0.0.0.0:5000 5000",
      "udp 0.0.0.0:5002 53",
    ]);
    expect(engine.dhcp?.options.map(({ code }) => code)).toContain(12);
    expect(engine.allowHostLoopback).toBe(true);
    expect(engine.ipv6).toMatchObject({ defaultRouter: "auto" });
  });

  it("as KubeVirt's core binding starts it by libvirt", () => {
    const { link } = serve(`--vhost-user --one-off --socket /run/p.sock --pid /run/p.pid ${OWN}`);
    expect(link).toEqual({ kind: "vhost-user", path: "/run/p.sock" });
  });

  it("as muvm and libkrun start it", () => {
    const { link, background } = serve(`-q -f --fd 5 -t 3000 ${OWN}`);
    expect([link, background]).toEqual([{ kind: "fd", fd: 5 }, false]);
  });

  it("listens on the first of its own sockets that is free", () => {
    const exists = (path: string): boolean => path !== "/tmp/passt_3.socket";
    const { link } = translated(PASST, OWN, { ...SURROUNDINGS, exists });
    expect(link).toMatchObject({ address: { path: "/tmp/passt_3.socket" } });
    expect(() => translated(PASST, OWN)).toThrow("all of /tmp/passt_1.socket");
  });

  it.each([
    ["-t 10-12:20-22,~11 -u none", ["tcp 0.0.0.0:10 20", "tcp 0.0.0.0:12 22"]],
    ["-t 10-12,~9-10,~12", ["tcp 0.0.0.0:11 11"]],
    ["-t 192.0.2.1/80", ["tcp 192.0.2.1:80 80"]],
    ["-t 10-12,~5 -t 127.0.0.1/99:1", ["tcp 0.0.0.0:10-12 10", "tcp 127.0.0.1:99 1"]],
    ["-t 127.0.0.1%lo/80", ["tcp 127.0.0.1%lo:80 80"]],
    ["-u %eth0/53", ["udp 0.0.0.0%eth0:53 53"]],
    ["-t ::1%lo/80 -t [fe80::1%eth0]/81", ["tcp ::1%lo:80 80", "tcp fe80::1%eth0:81 81"]],
    ["-t 0.0.0.0/5000:172.17.2.9/6000", ["tcp 0.0.0.0:5000 172.17.2.9:6000"]],
    ["-t 5000-5001:172.17.2.9", ["tcp 0.0.0.0:5000 172.17.2.9:5000", "tcp 0.0.0.0:5001 172.17.2.9:5001"]],
    ["-t all", ["tcp 0.0.0.0:1-65535? 1"]],
    ["-t 127.0.0.1/~80,~1024-65535", ["tcp 127.0.0.1:1-79? 1", "tcp 127.0.0.1:81-1023? 81"]],
    ["-u all,~53", ["udp 0.0.0.0:1-52? 1", "udp 0.0.0.0:54-65535? 54"]],
  ])("%s", (words, forwards) => {
    expect(serve(`--fd 3 ${OWN} ${words}`).engine.forwards.map(shown)).toEqual(forwards);
  });

  it.each([
    "-t 0",
    "-t 65536",
    "-t 3-2",
    "-t 10-12:20",
    "-t a",
    "-t 1:2:3",
    "-t x/80",
    "-t auto",
    "-t all:172.17.2.9",
    "-t all,80:81",
    "-t ~0",
    "-t 127.0.0.1%/80",
    "-t 127.0.0.1%lo%lo/80",
    "-t 127.0.0.1%lo/80:172.17.2.9/80",
    "-a 300.1.1.1",
    "-a fd00::1/48",
    "-n 33",
    "-n 255.0.255.0",
    "-n 0.0.0.0",
    "-n 0",
    "-g nowhere",
    "-m 100",
    "--map-guest-addr ::1",
    "--map-host-loopback 127.0.0.1",
    "--dns-forward fd00::3",
    "--no-dhcpv6",
    "--vhost-user",
    "--freebind",
    "extra",
    "-s /tmp/s",
    "--fd 0",
  ])("%s is refused", (words) => {
    const said = ["-a", "-n", "-g"].some((form) => words.startsWith(form)) ? "" : OWN;
    expect(() => PASST.translate(`--fd 3 ${said} ${words}`.trim().split(/\s+/), SURROUNDINGS)).toThrow();
  });

  it("binds all of IPv4 and IPv6, where host and guest have both, or the address of IPv6 it is told", () => {
    const both = { ...SURROUNDINGS, exists: () => true };
    const forwards = (words: string) =>
      translated(PASST, `--fd 3 ${OWN} ${words}`, both).engine.forwards.map(
        ({ hostAddress, hostAddress6, hostPort }) => [hostAddress6?.join(" ") ?? hostAddress, hostPort],
      );
    expect(forwards("-t 80")).toEqual([
      [0, 80],
      ["0 0 0 0", 80],
    ]);
    expect(forwards("-4 -t 80")).toEqual([[0, 80]]);
    expect(forwards("-t ::1/80 -u [::1]/81")).toEqual([
      ["0 0 0 1", 80],
      ["0 0 0 1", 81],
    ]);
  });

  it("leaves by an address of each family", () => {
    const { host } = serve(`--fd 3 ${OWN} -o 192.0.2.1 -o 2001:db8::1`);
    expect(host.outbound?.map(({ kind }) => kind)).toEqual(["address", "address6"]);
  });

  it("takes the prefix of an address's class where it is told none", () => {
    for (const [address, prefixLength] of [
      ["10.1.2.3", 8],
      ["172.17.2.4", 16],
      ["192.0.2.4", 24],
    ] as const) {
      const gateway = address.replace(/\d+$/, "1");
      expect(serve(`--fd 3 -a ${address} -g ${gateway}`).engine).toMatchObject({ prefixLength });
    }
    expect(serve("--fd 3 -a 10.1.2.2/30 -g 10.1.2.1").engine.prefixLength).toBe(30);
  });

  it("speaks IPv6 with the addresses it is told, or not at all", () => {
    const six = serve(`--fd 3 ${OWN} -a 2001:db8:1:2::4 -g 2001:db8:1:2::1 -D 2001:db8::53`).engine.ipv6;
    expect(six).toMatchObject({
      guestAddress: [0x20010db8, 0x10002, 0, 4],
      gateway: [0x20010db8, 0x10002, 0, 1],
    });
    expect(six?.dhcp?.extraOptions).toMatchObject([{ code: 23 }]);
    for (const word of ["-4", "--no-ra", "--no-ndp", "-4 --no-dhcpv6"])
      expect(serve(`--fd 3 ${OWN} ${word}`).engine.ipv6).toBeNull();
  });

  it("speaks IPv6 alone, whatever is said of IPv4", () => {
    const line = `--fd 3 ${OWN} -6 -a 2001:db8:1:2::4 -g fe80::1 --dns-forward 172.17.2.3 --map-guest-addr 172.17.2.9 --no-dhcp`;
    const { engine } = serve(line);
    expect(engine).toMatchObject({
      ipv4: false,
      ipv6: { defaultRouter: "on", routerAddress: [0xfe800000 | 0, 0, 0, 1] },
    });
    expect(() => serve(`--fd 3 ${OWN} -4 -6`)).toThrow("one of them");
  });

  it("gives DHCP away on demand", () => {
    expect(serve(`--fd 3 ${OWN} --no-dhcp --hostname h --fqdn f.example`).engine.dhcp).toBeNull();
    expect(serve(`--fd 3 ${OWN} --no-dhcp-dns`).engine.dhcp?.dnsServers).toEqual([]);
    expect(serve(`--fd 3 ${OWN} -D none`).engine.dhcp?.dnsServers).toEqual([]);
    expect(serve(`--fd 3 ${OWN}`).engine.dhcp?.dnsServers).toEqual([ip("172.17.2.1")]);
  });
});

describe("pasta", () => {
  const serve = (line: string) => translated(PASTA, line);

  it("as Podman starts it", () => {
    const { link, engine, host, background } = serve(
      `--config-net -t 8080-8080:80-80 --dns-forward 169.254.1.1 -u none -T none -U none --no-map-gw --quiet --netns /run/user/0/netns/n1 --map-guest-addr 169.254.1.2 ${OWN}`,
    );
    expect(link).toMatchObject({ kind: "tap", name: "eth0", netns: "/run/user/0/netns/n1", configure: true });
    expect(background).toBe(true);
    expect(host.outliveParent).toBe(true);
    expect(engine).toMatchObject({
      mtu: 65_520,
      dns: ip("169.254.1.1"),
      allowHostLoopback: false,
      hostAliases: [{ address: ip("169.254.1.2"), target: 0x01020304 }],
      sharedSubnet: true,
    });
    expect(engine.forwards.map(shown)).toEqual(["tcp 0.0.0.0:8080 80"]);
  });

  it("as RootlessKit starts it", () => {
    const { link, engine, background } = serve(
      "--foreground --stderr --ns-ifname=tap0 --mtu=65520 --no-dhcp --no-ra --address=10.0.2.100 --netmask=24 --gateway=10.0.2.2 --dns-forward=10.0.2.3 --ipv4-only --tcp-ports=none --udp-ports=none 4711",
    );
    expect(link).toMatchObject({ name: "tap0", netns: 4711, configure: false });
    expect(background).toBe(false);
    expect(engine).toMatchObject({
      guestAddress: ip("10.0.2.100"),
      gateway: ip("10.0.2.2"),
      dns: ip("10.0.2.3"),
      dhcp: null,
    });
    const detached = serve(`--config-net --userns=/proc/7/ns/user --netns=/n ${OWN}`);
    expect(detached.link).toMatchObject({ netns: "/n", userns: "/proc/7/ns/user", configure: true });
  });

  it("runs a command, whose words are its own, or the shell", () => {
    const translate = (...argv: string[]) => PASTA.translate([...OWN.split(" "), ...argv], SURROUNDINGS);
    expect(translate("--config-net", "-q", "sh", "-c", "exit 3", "--help")).toMatchObject({
      command: { words: ["sh", "-c", "exit 3", "--help"], device: "eth0", isConfigured: true },
      background: false,
    });
    expect(translate("-I", "tap7", "--", "-x")).toMatchObject({ command: { words: ["-x"], device: "tap7" } });
    expect(translate()).toMatchObject({ command: { words: [], isConfigured: false } });
  });

  it("follows who listens in the namespace, unless it is told which ports", () => {
    const listening = (words: string) => serve(`${OWN} ${words} 7`).host.listening.map(shown);
    expect(listening("")).toEqual(["tcp 0.0.0.0:1-65535? 1", "udp 0.0.0.0:1-65535? 1"]);
    expect(listening("-t none -u none")).toEqual([]);
    expect(listening("-t 80 -u 127.0.0.1/8000-8010,auto,~8005")).toEqual([
      "udp 127.0.0.1:8000-8004? 8000",
      "udp 127.0.0.1:8006-8010? 8006",
    ]);
  });

  it("names its device as the host's, or tap0", () => {
    expect(serve(`${OWN} 7`).link).toMatchObject({ name: "eth0" });
    expect(serve(`${OWN} -i wlan0 7`).link).toMatchObject({ name: "wlan0" });
    const alone = { ...SURROUNDINGS, defaultDevice: () => undefined };
    expect(translated(PASTA, `${OWN} 7`, alone).link).toMatchObject({ name: "tap0" });
  });

  it.each([
    ["--netns /n 7", "both --netns and PID or COMMAND given"],
    ["--netns /n sh", "both --netns and PID or COMMAND given"],
    ["7 8", "is not offered: a PID, or a command"],
    ["--pid /tmp/p sh", "--pid is not offered beside a command"],
    ["-T 80 7", "--tcp-ns 80 is not offered"],
    ["-U auto 7", "--udp-ns auto is not offered"],
    ["--host-lo-to-ns-lo --version", "--host-lo-to-ns-lo is not offered"],
    ["-t 80:81,auto 7", '"80:81,auto" is not offered'],
    ["--nonsense 7", "unrecognized option '--nonsense'"],
  ])("%j is refused", (words, sentence) => {
    expect(() =>
      PASTA.translate(
        words.split(" ").filter((word) => word !== ""),
        SURROUNDINGS,
      ),
    ).toThrow(sentence);
  });

  it("wants its namespace to be there", () => {
    const nowhere = { ...SURROUNDINGS, exists: () => false };
    expect(() => translated(PASTA, `${OWN} --netns /n`, nowhere)).toThrow(
      "couldn't open network namespace /n",
    );
    expect(() => translated(PASTA, `${OWN} 7`, nowhere)).toThrow(
      "couldn't open network namespace of process 7",
    );
  });
});
