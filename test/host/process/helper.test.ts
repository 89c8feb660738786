import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { commandName, HELPER_PARENT, HelperRig, identities } from "../../support/helper-rig.ts";
import { until } from "../../support/link-rig.ts";
import { needs } from "../../support/requirements.ts";

const [self] = identities();
let rig: HelperRig;

beforeAll(() => {
  rig = new HelperRig();
});
afterAll(() => rig.close());

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
    [["--address6", "fd71::15"], `--address6: "fd71::15" is not an IPv6 address with a prefix length`],
    [
      ["--address6", "10.0.2.15/24"],
      `--address6: "10.0.2.15/24" is not an IPv6 address with a prefix length`,
    ],
    [["--address6", "fd71::15/129"], `--address6: "129" is not a number from 0 to 128`],
    [["--gateway6", "10.0.2.2"], `--gateway6: "10.0.2.2" is not an IPv6 address`],
    [["--mac", "52:54:00:12:34"], `--mac: "52:54:00:12:34" is not six hexadecimal octets`],
    [["--mac", "01:00:5e:00:00:01"], "--mac: 01:00:5e:00:00:01 is a multicast address"],
    [["--new-user", "0"], `--new-user: "0" is not UID:GID`],
    [["--up"], "--up, --address, --mtu and --mac need --tap or --device"],
    [["--send-fd", "4"], "--send-fd needs --tap"],
    [["--tap", "x", "--device", "y"], "--tap and --device exclude each other"],
    [["--tap", "x", "--gateway", "10.0.2.2"], "--gateway needs --address and --up"],
    [["--tap", "x", "--up", "--gateway6", "fe80::2"], "--gateway6 needs --address6 and --up"],
    [["--enter-net", "1", "--new-net"], "--enter-net and --new-net exclude each other"],
    [["--ignore-signals", "x"], `--ignore-signals: "x" is not a hexadecimal mask of signals`],
    [["--file-limit", "unlimited"], `--file-limit: "unlimited" is not a number from 0 to`],
    [["--keep-names"], "--keep-names needs --enter-mount"],
    [["--mask", "/run/nscd"], "--etc-in-place, --etc-file and --mask need --keep-names"],
    [["--etc-file", "resolv.conf"], `--etc-file: "resolv.conf" is not NAME=TEXT`],
    [["--etc-file", "../x=y"], `--etc-file: "../x=y" is not NAME=TEXT`],
    [["--enter-mount", "1", "--new-mount"], "--enter-mount and --new-mount exclude each other"],
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
});
