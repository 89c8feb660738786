import { execFileSync, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { native } from "../../../src/host/native/native.ts";
import {
  type GuestCommandRequest,
  HelperError,
  openTapInNamespace,
  prepareGuestCommand,
  type TapRequest,
  watchNamespace,
} from "../../../src/host/process/helper.ts";
import { commandName, HELPER_PARENT, HelperRig, identities, ipJson } from "../../support/helper-rig.ts";
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

describe("the helper's options", () => {
  it.each([
    [["--no-such-option"], "--no-such-option: unknown option, or its value is missing"],
    [["--tap"], "--tap: unknown option, or its value is missing"],
    [["--tap", "a b"], `--tap: "a b" is not a device name (1 to 15 octets, no space, '/', ':' or '%')`],
    [["--tap", "sixteen-octets-x"], `--tap: "sixteen-octets-x" is not a device name`],
    [["--mtu", "-1"], `--mtu: "-1" is not a number from 0 to 65521`],
    [["--mtu", "1500x"], `--mtu: "1500x" is not a number from 0 to 65521`],
    [["--address", "10.0.2.15"], `--address: "10.0.2.15" is not an IPv4 address with a prefix length`],
    [["--address", "10.0.2.15/33"], `--address: "33" is not a number from 0 to 32`],
    [["--gateway", "fe80::1"], `--gateway: "fe80::1" is not an IPv4 address`],
    [["--mac", "52:54:00:12:34"], `--mac: "52:54:00:12:34" is not six hexadecimal octets`],
    [["--mac", "01:00:5e:00:00:01"], "--mac: 01:00:5e:00:00:01 is a multicast address"],
    [["--new-user", "0"], `--new-user: "0" is not UID:GID`],
    [["--up"], "--up, --address, --mtu and --mac need --tap or --device"],
    [["--send-fd", "4"], "--send-fd needs --tap"],
    [["--tap", "x", "--device", "y"], "--tap and --device exclude each other"],
    [["--tap", "x", "--gateway", "10.0.2.2"], "--gateway needs --address and --up"],
    [["--enter-net", "1", "--new-net"], "--enter-net and --new-net exclude each other"],
    [["--resolv-conf", "/etc/hosts"], "--resolv-conf and --mask need --new-mount"],
    [["--confine"], `--confine and --wait-for-go need a command after "--"`],
    [["--view-read", "etc", "--", "true"], `--view-...: "etc" is not an absolute path`],
  ])("%j ends with status 2 and a sentence", (args, sentence) => {
    const result = rig.run(self, args);
    expect(result.stderr).toContain(`sluice-helper: usage: ${sentence}`);
    expect(result.status).toBe(2);
  });
});

describe("namespaces that cannot be entered", () => {
  it.each([
    [
      "a pid that is not there",
      ["--enter-net", "4194305"],
      "namespace-missing: there is no process with the pid 4194305",
    ],
    [
      "a path that is not there",
      ["--enter-net", "/run/no/such"],
      "namespace-missing: /run/no/such: No such file",
    ],
    [
      "a file that is no namespace",
      ["--enter-net", "/etc/passwd"],
      "namespace-wrong: /etc/passwd is not a network namespace",
    ],
    [
      "one of another kind",
      ["--enter-net", "/proc/self/ns/mnt"],
      "namespace-wrong: /proc/self/ns/mnt is not a network",
    ],
  ])("%s", (_name, args, sentence) => {
    const result = rig.run(self, args);
    expect(result.stderr).toContain(`sluice-helper: ${sentence}`);
    expect(result.status).toBe(1);
  });

  it("one of another user", async (context) => {
    needs(context, { root: true, userNamespaces: true });
    const [, nobody] = identities();
    const pid = await rig.rootlessNamespace(self);
    expect(rig.run(nobody, ["--enter-net", String(pid)]).stderr).toMatch(
      /^sluice-helper: namespace-denied: \/proc\/\d+\/ns\/net: not allowed; its owner or root can enter/,
    );
  });

  it("a parent that is not the parent", () => {
    const result = rig.run(self, ["--parent", "1", "--new-net"]);
    expect(result.stderr).toContain("sluice-helper: parent-gone: process 1,");
  });
});

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

describe.each(identities())("a command behind the engine, as $name", (identity) => {
  const args = (command: string[]): string[] => [
    ...rig.newNamespaces(identity),
    ...["--tap", "tap0", "--queue-length", "10000", ...rig.tunArgs, "--up", "--loopback-up"],
    ...["--address", "10.0.2.15/24", "--gateway", "10.0.2.2", "--", ...command],
  ];

  it("has its caller's uid, no rights outside, and its own status", (context) => {
    needs(context, { userNamespaces: true, tun: rig.tunArgs.length === 0 });
    const result = rig.run(identity, args(["sh", "-c", "id -u; id -g; cat /proc/self/status; exit 7"]));
    expect(result.stdout.split("\n").slice(0, 2)).toEqual([String(identity.uid), String(identity.gid)]);
    if (identity.uid !== 0) expect(result.stdout).toMatch(/^CapEff:\t0+$/m);
    expect(result.status).toBe(7);
  });

  it("sees its own signals", (context) => {
    needs(context, { userNamespaces: true, tun: rig.tunArgs.length === 0 });
    expect(rig.run(identity, args(["sh", "-c", "kill -TERM $$"])).signal).toBe("SIGTERM");
  });

  it("dies with its parent, before and after it was let go", async (context) => {
    needs(context, { userNamespaces: true });
    for (const wait of [[], ["--wait-for-go"]]) {
      const helperArgs = [...rig.newNamespaces(identity), ...wait, "--", "sleep", "100"];
      const parent = rig.spawn(process.execPath, ["-e", HELPER_PARENT, rig.helper, ...helperArgs], {
        uid: identity.uid,
        gid: identity.gid,
        stdio: ["ignore", "pipe", "inherit"],
      });
      const [text] = (await once(parent.stdout!.setEncoding("utf8"), "data")) as [string];
      const pid = Number(text);
      const awaited = wait.length > 0 ? "sluice-helper" : "sleep";
      await until(() => commandName(pid) === awaited, `process ${pid} to be ${awaited}`);
      parent.kill("SIGKILL");
      await until(() => commandName(pid) === undefined, `process ${pid} to end`);
    }
  });

  it.each([
    ["a file", "printf 'nameserver 192.0.2.1\\n' > /etc/resolv.conf"],
    ["a link into a directory that is there", "mkdir /etc/x; echo > /etc/x/r; ln -s x/r /etc/resolv.conf"],
    [
      "a link to nowhere, on a read-only file system",
      "ln -s ../run/no/such /etc/resolv.conf; mount -o remount,bind,ro /etc",
    ],
    ["missing, on a read-only file system", "mount -o remount,bind,ro /etc"],
  ])("gets its resolv.conf where the host's is %s", (_what, prepare) => {
    const replacement = join(rig.directory, "replacement");
    writeFileSync(replacement, "nameserver 10.0.2.3\n", { mode: 0o644 });
    const script = `set -e
      mount -t tmpfs none /etc
      echo kept > /etc/a-file; mkdir /etc/a-directory; ln -s ../proc/self/comm /etc/a-link
      ${prepare}
      exec ${rig.helper} --new-mount --resolv-conf ${replacement} --mask /run/no/such -- \
        sh -c 'cat /etc/resolv.conf /etc/a-file /etc/a-link; ls -d /etc/a-directory'`;
    const result = spawnSync("unshare", ["--user", "--map-root-user", "--mount", "sh", "-c", script], {
      uid: identity.uid,
      gid: identity.gid,
      cwd: "/",
      encoding: "utf8",
    });
    expect(result.stderr).toBe("");
    expect(result.stdout).toBe("nameserver 10.0.2.3\nkept\ncat\n/etc/a-directory\n");
  });
});

describe("prepareGuestCommand", () => {
  const request = (command: string, ...args: string[]): GuestCommandRequest => ({
    command,
    args,
    tap: { name: "tap0", configure: GUEST, ...tunDevice() },
    resolvConf: "nameserver 10.0.2.3\n",
    stdio: ["ignore", "pipe", "inherit"],
  });

  it("holds the command until it is started, then gives it its surroundings and its status", async (context) => {
    needs(context, { userNamespaces: true, tun: rig.tunArgs.length === 0 });
    const scratch = (): string[] => readdirSync(tmpdir()).filter((name) => name.startsWith("sluice-exec-"));
    const before = scratch();
    const guest = await prepareGuestCommand({
      ...request("sh", "-c", "cat /etc/resolv.conf; pwd; echo $GREETING; exit 3"),
      cwd: "/usr",
      env: { ...process.env, GREETING: "hello" },
    });
    expect(guest.tap).toMatchObject({ vnetHeader: true, created: true });
    expect(commandName(guest.child.pid!)).toBe("sluice-helper");
    const ended = once(guest.child, "close");
    let output = "";
    guest.child.stdout!.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
    await guest.start();
    expect(await ended).toEqual([3, null]);
    expect(output).toBe("nameserver 10.0.2.3\n/usr\nhello\n");
    expect(scratch()).toEqual(before);
    native.close(guest.tap.fd);
  });

  it("makes the command root inside when asked", async (context) => {
    needs(context, { userNamespaces: true, tun: rig.tunArgs.length === 0 });
    const guest = await prepareGuestCommand({
      ...request("sh", "-c", "id -u; ip link set lo mtu 1000"),
      asRoot: true,
    });
    const ended = once(guest.child, "close");
    await guest.start();
    expect(await ended).toEqual([0, null]);
    native.close(guest.tap.fd);
  });

  it.each([
    ["/no/such/command", "command-not-found", 127, "/no/such/command: there is no such command"],
    ["/etc/passwd", "command-not-run", 126, "/etc/passwd: Permission denied"],
  ])("says why %s does not run", async (command, code, exitStatus, message) => {
    const guest = await prepareGuestCommand(request(command));
    await expect(guest.start()).rejects.toMatchObject({ code, exitStatus, message });
    native.close(guest.tap.fd);
  });
});

describe("watchNamespace", () => {
  it("tells when the process has ended", async (context) => {
    needs(context, { userNamespaces: true });
    const pid = await rig.rootlessNamespace(self);
    let message = "";
    const stop = watchNamespace(pid, (text) => {
      message = text;
    });
    process.kill(pid, "SIGKILL");
    await until(() => message !== "", "the watch");
    expect(message).toBe(`process ${pid}, whose network namespace this is, has ended`);
    stop();
  });

  it("tells when the file is gone", async () => {
    const file = join(rig.directory, "namespace");
    writeFileSync(file, "");
    let message = "";
    watchNamespace(file, (text) => {
      message = text;
    });
    rmSync(file);
    await until(() => message !== "", "the watch");
    expect(message).toBe(`${file} has gone`);
  });
});
