/** slirp4netns's command lines, as its clients write them. */
import { describe, expect, it } from "vitest";
import { macForGateway } from "../../src/engine/config.ts";
import { SLIRP4NETNS } from "../../src/names/slirp4netns.ts";
import { helpText } from "../../src/names/texts.ts";
import { ip } from "../support/frames.ts";
import { SURROUNDINGS, translated } from "./translated.ts";

const serve = (line: string) => translated(SLIRP4NETNS, line);
const refusal = (line: string): string => {
  try {
    serve(line);
  } catch (error) {
    return (error as Error).message;
  }
  return "";
};

describe("slirp4netns", () => {
  it("has the words that clients look for in its help", () => {
    for (const word of [
      "netns-type",
      "disable-host-loopback",
      "mtu",
      "cidr",
      "enable-sandbox",
      "enable-seccomp",
      "enable-ipv6",
      "outbound-addr",
      "api-socket",
    ]) {
      // grep -w: neither a letter nor a dash follows.
      expect(helpText(SLIRP4NETNS)).toMatch(new RegExp(`--${word}(?![\\w-])`));
    }
    const version = SLIRP4NETNS.version("0.1.0").split("\n");
    expect(version[0]).toMatch(/^slirp4netns version 1\.\d+\.\d+/);
    expect(version[1]).toMatch(/^commit: \S+$/);
    expect(Number(/^SLIRP_CONFIG_VERSION_MAX: (\d+)$/.exec(version[2] ?? "")?.[1])).toBeGreaterThanOrEqual(4);
  });

  it("as rootless Docker starts it by RootlessKit", () => {
    const { link, engine, host, background, greeting } = serve(
      "--mtu 65520 -r 3 --disable-host-loopback --enable-sandbox --enable-seccomp 4711 tap0",
    );
    expect(link).toMatchObject({ kind: "tap", name: "tap0", netns: 4711, configure: false });
    expect(engine).toMatchObject({
      mtu: 65_520,
      gateway: ip("10.0.2.2"),
      dns: ip("10.0.2.3"),
      guestAddress: ip("10.0.2.100"),
      anyGuestAddress: true,
      forwardsFollowGuest: false,
      allowHostLoopback: false,
      allowLinkLocal: true,
      answerPing: true,
      refuseWith: "unreachable",
      ipv6: null,
      gatewayMac: macForGateway(ip("10.0.2.2")),
      dhcp: { rangeStart: ip("10.0.2.15") },
    });
    expect(host).toMatchObject({ readyFd: 3, outliveParent: true, background: false, sandbox: true });
    expect(background).toBe(false);
    expect(greeting).toContain("* Recommended IP:  10.0.2.100\n");
    expect(greeting).not.toContain("WARNING");
  });

  it("with a namespace that is detached", () => {
    const { link } = serve(
      "--mtu=1500 -r 3 --userns-path=/proc/7/ns/user --netns-type=path /proc/7/root/run/netns tap0",
    );
    expect(link).toMatchObject({ netns: "/proc/7/root/run/netns", userns: "/proc/7/ns/user" });
    // A PID with a user namespace of its own choice.
    expect(serve("--userns-path /u 7 tap0").link).toMatchObject({ netns: "/proc/7/ns/net", userns: "/u" });
  });

  it("as Podman starts it", () => {
    const { link, engine, host } = serve(
      "--disable-host-loopback --mtu=65520 --enable-sandbox --enable-seccomp --enable-ipv6 -c -r 3 -e 4 --netns-type=path /run/user/0/netns/netns-1 tap0",
    );
    expect(link).toMatchObject({ configure: true, netns: "/run/user/0/netns/netns-1" });
    expect(host).toMatchObject({ readyFd: 3, exitFd: 4 });
    expect(engine.ipv6).toMatchObject({
      prefix: [0xfd000000 | 0, 0, 0, 0],
      gateway: [0xfd000000 | 0, 0, 0, 2],
      dns: [0xfd000000 | 0, 0, 0, 3],
      defaultRouter: "auto",
    });
  });

  it("serves its API where it is asked to, and says so", () => {
    const { serveApi, greeting } = serve("--api-socket /run/api.sock 1 t");
    expect(serveApi).toBeDefined();
    expect(greeting).toContain("* API Socket:      /run/api.sock\n");
    expect(serve("1 t").serveApi).toBeUndefined();
  });

  it("with an open TAP", () => {
    expect(serve("--netns-type tapfd 5").link).toEqual({ kind: "tap-fd", fd: 5 });
  });

  it("has its addresses in any subnet up to a /25", () => {
    for (const [cidr, start] of [
      ["10.0.0.0/8", "10.0.0.0"],
      ["192.168.64.128/25", "192.168.64.128"],
    ] as const) {
      const { engine } = serve(`--cidr=${cidr} 1 t`);
      const first = ip(start);
      expect([
        engine.network,
        engine.gateway,
        engine.dns,
        engine.guestAddress,
        engine.dhcp?.rangeStart,
      ]).toEqual([0, 2, 3, 100, 15].map((offset) => first + offset));
    }
  });

  it.each([
    ["--cidr=24 1 t", "invalid CIDR"],
    ["--cidr=foo 1 t", "invalid CIDR"],
    ["--cidr=10.0.2.0 1 t", "invalid CIDR"],
    [
      "--cidr=10.0.2.100/24 1 t",
      "CIDR needs to be a network address like 10.0.2.0/24, not like 10.0.2.100/24",
    ],
    ["--cidr=10.0.2.100/26 1 t", "prefix length needs to be 1-25"],
    ["--cidr=10.0.2.0/0 1 t", "prefix length needs to be 1-25"],
    ["--netns-type=net 1 t", "invalid --netns-type"],
    ["--macaddress=02:00:00:00:00:01 1 t", "--macaddress needs -c"],
    ["--mtu=65522 1 t", "invalid --mtu"],
    ["--target-type=bess /s", "--target-type=bess is not offered"],
    ["--exit-fd=x 1 t", "invalid --exit-fd"],
    [`--api-socket=/${"x".repeat(107)} 1 t`, "--api-socket: a socket path of 1 to 107 octets is needed"],
    ["--api-socket=/a\0b 1 t", "--api-socket: a socket path of 1 to 107 octets is needed"],
    ["one t", "invalid PID"],
    ["", "the target is missing"],
    ["1", "the name of the TAP is missing"],
  ])("%s is refused", (line, sentence) => {
    expect(refusal(line)).toContain(sentence);
  });

  it("wants what it is told to be there", () => {
    const nowhere = { ...SURROUNDINGS, exists: () => false };
    expect(() => translated(SLIRP4NETNS, "7 tap0", nowhere)).toThrow("there is no network namespace at 7");
    expect(() => translated(SLIRP4NETNS, "--userns-path=/u 7 tap0", nowhere)).toThrow("there is no /u");
    expect(() => translated(SLIRP4NETNS, "--netns-type=path /n tap0", nowhere)).toThrow("/n");
  });

  it("says the rest in sluice's words, and warns of one too many", () => {
    const { engine, host, warnings } = serve(
      "-c --macaddress=02:00:00:00:00:01 --disable-dns --outbound-addr=192.0.2.1 -m 100 1 t more",
    );
    expect(engine).toMatchObject({ dns: 0, allowHostLoopback: true, mtu: 576 });
    expect(engine.guestMac).toEqual(Uint8Array.of(2, 0, 0, 0, 0, 1));
    expect(host.outbound).toEqual([{ kind: "address", address: ip("192.0.2.1") }]);
    expect(warnings).toEqual(['"more" is one word too many; it is ignored']);
  });
});
