import { execFileSync } from "node:child_process";
import { readSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { native } from "../../../src/host/native/native.ts";
import { HelperError } from "../../../src/host/process/helper.ts";
import { openTapInNamespace, type TapRequest } from "../../../src/host/process/namespace-tap.ts";
import { HelperRig, identities, ipJson } from "../../support/helper-rig.ts";
import { until } from "../../support/link-rig.ts";
import { NetworkNamespace } from "../../support/network-namespace.ts";
import { needs } from "../../support/requirements.ts";

const [self] = identities();
let rig: HelperRig;

beforeAll(() => {
  rig = new HelperRig();
});
afterAll(() => rig.close());

const GUEST = { address: "10.0.2.15", prefixLength: 24, gateway: "10.0.2.2" };
/** The rig's device node, for requests. */
const tunDevice = (): { tunDevice?: string } =>
  rig.tunArgs[1] === undefined ? {} : { tunDevice: rig.tunArgs[1] };

describe("openTapInNamespace", () => {
  const request = (pid: number, more: Partial<TapRequest> = {}): TapRequest => ({
    name: "b-tap0",
    netns: pid,
    ...tunDevice(),
    ...more,
  });

  it("makes a TAP in a namespace of a user namespace, as configured, and it carries frames here", async (context) => {
    needs(context, {
      userNamespaces: true,
      tun: rig.tunArgs.length === 0,
      commands: ["ip", "nsenter"],
    });
    const pid = await rig.rootlessNamespace(self);
    const configure = { ...GUEST, mtu: 1400, mac: "52:54:00:12:34:56" };
    const tap = await openTapInNamespace(request(pid, { configure }));
    try {
      expect(tap).toMatchObject({ vnetHeader: true, created: true, notes: [] });
      const [link] = ipJson(pid, "link", "show", "b-tap0");
      expect(link).toMatchObject({ address: configure.mac, mtu: 1400, txqlen: 10_000 });
      expect(link["flags"]).toContain("UP");
      const [address] = ipJson(pid, "address", "show", "b-tap0");
      expect(address["addr_info"]).toContainEqual(
        expect.objectContaining({ local: "10.0.2.15", prefixlen: 24, broadcast: "10.0.2.255" }),
      );
      expect(ipJson(pid, "route", "show", "default")).toMatchObject([{ gateway: "10.0.2.2", dev: "b-tap0" }]);
      expect(ipJson(pid, "link", "show", "lo")[0]["flags"]).toContain("UP");

      const send = 'require("node:dgram").createSocket("udp4").send("x", 9, "10.0.2.2")';
      const enter = ["--preserve-credentials", "--user", "--net", "--target", String(pid)];
      rig.spawn("nsenter", [...enter, "--", process.execPath, "-e", send]);
      await until(() => isArp(tap.fd), "an ARP request on the TAP");
    } finally {
      native.close(tap.fd);
    }
    await until(() => ipJson(pid, "link").length === 1, "the TAP to vanish with its descriptor");
  });

  it("N66 sets an IPv6 address that can be used at once, its route, and takes no advertisements", async (context) => {
    needs(context, { userNamespaces: true, tun: rig.tunArgs.length === 0, commands: ["ip", "nsenter"] });
    const pid = await rig.rootlessNamespace(self);
    const configure = { ...GUEST, address6: "fd71:1ae0:d44d:2::15", gateway6: "fd71:1ae0:d44d:2::2" };
    const tap = await openTapInNamespace(request(pid, { configure }));
    try {
      expect(tap.notes).toEqual([]);
      const [device] = ipJson(pid, "-6", "address", "show", "b-tap0", "scope", "global");
      const text = JSON.stringify(device);
      expect(device["addr_info"]).toContainEqual(
        expect.objectContaining({ local: "fd71:1ae0:d44d:2::15", prefixlen: 64, nodad: true }),
      );
      expect(text).not.toContain("tentative");
      expect(ipJson(pid, "-6", "route", "show", "default")).toMatchObject([
        { gateway: "fd71:1ae0:d44d:2::2", dev: "b-tap0" },
      ]);
      const enter = ["--preserve-credentials", "--user", "--net", "--target", String(pid)];
      const setting = "/proc/sys/net/ipv6/conf/b-tap0/accept_ra";
      expect(execFileSync("nsenter", [...enter, "--", "cat", setting], { encoding: "utf8" })).toBe("0\n");
    } finally {
      native.close(tap.fd);
    }
  });

  it("N66 leaves the default route to advertisements where none is set, and makes no address of them", async (context) => {
    needs(context, { userNamespaces: true, tun: rig.tunArgs.length === 0, commands: ["ip", "nsenter"] });
    const pid = await rig.rootlessNamespace(self);
    const tap = await openTapInNamespace(
      request(pid, { configure: { ...GUEST, address6: "fd71:1ae0:d44d:2::15" } }),
    );
    try {
      expect(tap.notes).toEqual([]);
      expect(ipJson(pid, "-6", "route", "show", "default")).toEqual([]);
      const enter = ["--preserve-credentials", "--user", "--net", "--target", String(pid)];
      const settings = ["accept_ra", "autoconf"].map((name) => `/proc/sys/net/ipv6/conf/b-tap0/${name}`);
      const read = execFileSync("nsenter", [...enter, "--", "cat", ...settings], { encoding: "utf8" });
      expect(read).toBe("2\n0\n");
    } finally {
      native.close(tap.fd);
    }
  });

  it("switches IPv6 on where new devices come without it", async (context) => {
    needs(context, { userNamespaces: true, tun: rig.tunArgs.length === 0, commands: ["ip", "nsenter"] });
    const pid = await rig.rootlessNamespace(self);
    const enter = ["--preserve-credentials", "--user", "--net", "--target", String(pid)];
    const off = "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6";
    execFileSync("nsenter", [...enter, "--", "sh", "-c", off]);
    const configure = { ...GUEST, address6: "fd71:1ae0:d44d:2::15", gateway6: "fe80::2" };
    const tap = await openTapInNamespace(request(pid, { configure }));
    try {
      expect(tap.notes).toEqual([]);
      expect(ipJson(pid, "-6", "route", "show", "default")).toMatchObject([{ gateway: "fe80::2" }]);
    } finally {
      native.close(tap.fd);
    }
  });

  it("takes a gateway outside the subnet as a neighbour on the link", async (context) => {
    needs(context, { userNamespaces: true, tun: rig.tunArgs.length === 0, commands: ["ip", "nsenter"] });
    const pid = await rig.rootlessNamespace(self);
    const configure = { address: "10.96.0.7", prefixLength: 32, gateway: "169.254.1.1" };
    const tap = await openTapInNamespace(request(pid, { configure }));
    native.close(tap.fd);
    expect(tap.created).toBe(true);
  });

  it("leaves a TAP that was there as long as it was, and does without a vnet header when told", async (context) => {
    needs(context, { userNamespaces: true, tun: rig.tunArgs.length === 0, commands: ["ip", "nsenter"] });
    const pid = await rig.rootlessNamespace(self);
    const first = await openTapInNamespace(request(pid));
    await expect(openTapInNamespace(request(pid))).rejects.toMatchObject({ code: "tap-busy" });
    native.close(first.fd);
    const plain = await openTapInNamespace(request(pid, { vnetHeader: false }));
    expect(plain.vnetHeader).toBe(false);
    native.close(plain.fd);
  });

  it("enters the user namespace it is told to, and a namespace by its file", async (context) => {
    needs(context, { userNamespaces: true, tun: rig.tunArgs.length === 0 });
    const pid = await rig.rootlessNamespace(self);
    const file = `/proc/${pid}/ns/net`;
    const tap = await openTapInNamespace(request(pid, { netns: file, userns: pid }));
    expect(native.tapName(tap.fd)).toBe("b-tap0");
    await expect(openTapInNamespace(request(pid))).rejects.toMatchObject({ code: "tap-busy" });
    native.close(tap.fd);
  });

  it("enters a namespace of ip netns, from the user namespace that both are in", async (context) => {
    needs(context, { root: true, commands: ["ip"] });
    const namespace = new NetworkNamespace();
    try {
      const netns = `/run/netns/${namespace.name}`;
      const tap = await openTapInNamespace({ name: "b-tap0", netns, configure: GUEST });
      expect(namespace.ip("-brief", "address", "show", "b-tap0")).toContain("10.0.2.15/24");
      native.close(tap.fd);
    } finally {
      await namespace.remove();
    }
  });

  it.each([
    ["tap-wrong", "a device of another kind", { name: "lo" }, "lo is a device that is not a TAP"],
    [
      "tun-missing",
      "no device file",
      { tunDevice: "/dev/net/no-such" },
      "/dev/net/no-such: No such file or directory",
    ],
    ["configure", "an MTU the kernel refuses", { configure: { ...GUEST, mtu: 20 } }, "setting the MTU: "],
    ["usage", "a name that is none", { name: "" }, "--tap:"],
  ])("says %s for %s", async (code, _what, more, sentence) => {
    const opening = openTapInNamespace(request(await rig.rootlessNamespace(self), more));
    await expect(opening).rejects.toThrow(HelperError);
    await expect(opening).rejects.toMatchObject({ code, message: expect.stringContaining(sentence) });
  });

  it("says tun-denied for a device file that is not ours", (context) => {
    needs(context, { root: true, userNamespaces: true });
    const [, nobody] = identities();
    const args = [
      ...rig.newNamespaces(nobody),
      "--tap",
      "t",
      "--tun-device",
      join(rig.directory, "tun-0600"),
    ];
    execFileSync("mknod", ["-m", "600", args.at(-1)!, "c", "10", "200"]);
    expect(rig.run(nobody, args).stderr).toContain("sluice-helper: tun-denied: ");
  });
});

/** Whether the next frame on the TAP is ARP. The virtio_net_hdr before it takes 10 octets. */
function isArp(fd: number): boolean {
  const frame = new Uint8Array(2048);
  try {
    readSync(fd, frame);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EAGAIN") return false;
    throw error;
  }
  return frame[10 + 12] === 0x08 && frame[10 + 13] === 0x06;
}
