/**
 * Who gives a machine its IPv6 addresses: kernels by advertisements, and network managers and DHCPv6 clients of Debian's.
 * Each gets what it asks for, is reached and reaches by it, and tshark finds nothing wrong with a frame it was sent.
 */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ClientRig, LEASED, OUTSIDE, PREFIX } from "../support/ipv6-client-rig.ts";
import { NAMESPACE_NEEDS } from "../support/namespace-guest.ts";
import { until } from "../support/program.ts";
import { findCommand, type Needs, needs } from "../support/requirements.ts";
import { unstableBusybox } from "../support/unstable-busybox.ts";

const RESOLVER = `${PREFIX}:3`;
const SEARCH = ["--search", "a.example.test", "--search", "b.example.test"];
const BOOT = "tftp://[fd71:1ae0:d44d:2::2]/boot.efi";
const OPTIONS = [
  ...SEARCH,
  "--hostname",
  "vm1",
  "--domain",
  "example.test",
  "--dhcp6-option",
  `59=text:${BOOT}`,
];

let rig: ClientRig | undefined;

afterEach(async () => {
  const complaints = await rig?.close();
  rig = undefined;
  expect(complaints ?? "").toBe("");
});

/** As root for who changes its user, or wants files that only root may hide. */
function wants(commands: readonly string[], more: Needs = {}) {
  return (context: Parameters<typeof needs>[0]) => {
    const { commands: basic = [], ...rest } = NAMESPACE_NEEDS;
    needs(context, { ...rest, ...more, commands: [...basic, "tshark", "curl", ...commands] });
  };
}

async function start(...options: string[]): Promise<ClientRig> {
  rig = await ClientRig.make(...options);
  return rig;
}

describe("a kernel", () => {
  beforeEach(wants([]));

  const setting = (name: string, value: number | string): string =>
    `echo ${value} > /proc/sys/net/ipv6/conf/tap0/${name}`;
  /** The interface identifier made of a MAC (RFC 4291 appendix A). */
  const byMac = (mac: string): string => {
    const [first, ...rest] = mac.split(":").map((octet) => Number.parseInt(octet, 16));
    const all = [first ^ 2, ...rest.slice(0, 2), 0xff, 0xfe, ...rest.slice(2)];
    const words = [0, 2, 4, 6].map((i) => ((all[i] << 8) | all[i + 1]).toString(16));
    return words.join(":");
  };
  const mac = ({ guest }: ClientRig): string =>
    /link\/ether (\S+)/.exec(guest.ip("link", "show", "tap0"))![1];

  it.each([
    { mode: 0, how: "of its MAC", isByMac: true, secret: false },
    { mode: 2, how: "of a secret (RFC 7217)", isByMac: false, secret: true },
    { mode: 3, how: "of a secret of its own making", isByMac: false, secret: false },
  ])("with addr_gen_mode $mode makes its address $how", async ({ mode, isByMac, secret }) => {
    const client = await start();
    const before = secret ? [setting("stable_secret", "2001:db8:5ec::1")] : [];
    await client.shell([...before, setting("addr_gen_mode", mode)].join("\n"));
    client.guest.ip("link", "set", "tap0", "up");
    const address = await client.has("address", () => true);
    expect(address === `${PREFIX}${byMac(mac(client))}`).toBe(isByMac);
    expect(await client.defaultRoute()).toContain("via fe80::2");
    await client.reaches(address);
    expect(await client.drops()).toEqual([]);
  });

  it("with addr_gen_mode 1 makes no link-local address, and one of the prefix once it is given one", async () => {
    const client = await start();
    await client.shell(setting("addr_gen_mode", 1));
    client.guest.ip("link", "set", "tap0", "up");
    expect(client.guest.ip("-6", "address", "show", "dev", "tap0")).toBe("");
    client.guest.ip("address", "add", "fe80::77/64", "dev", "tap0");
    client.guest.ip("address", "add", `${PREFIX}:77/64`, "dev", "tap0");
    const own = await client.has("address", ({ local }) => local !== `${PREFIX}:77`);
    expect(own).toBe(`${PREFIX}${byMac(mac(client))}`);
    await client.defaultRoute();
    await client.reaches(own);
    await client.reaches(await client.has("the given address", ({ local }) => local === `${PREFIX}:77`));
  });

  it.each([0, 2])("with use_tempaddr %i goes out by the address that it prefers", async (value) => {
    const client = await start();
    const { guest, host } = client;
    await client.shell(setting("use_tempaddr", value));
    guest.ip("link", "set", "tap0", "up");
    const stable = await client.has("address", ({ temporary }) => temporary !== true);
    const own =
      value === 0 ? stable : await client.has("temporary address", ({ temporary }) => temporary === true);
    expect(client.addresses().length).toBe(value === 0 ? 1 : 2);
    await client.defaultRoute();
    const port = await host.agent.do("tcpServer", { kind: "hold", host: OUTSIDE });
    await guest.agent.do("hold", { host: OUTSIDE, port, name: "preferred" });
    expect((await guest.report()).flows).toMatch(new RegExp(`^ *tcp .* \\[${own}\\]:`, "m"));
    // N22: from both at once.
    await Promise.all([...new Set([stable, own])].map((from) => client.reaches(from)));
    expect(await client.drops()).toEqual([]);
  });
});

describe("systemd-networkd", () => {
  const NETWORKD = "/lib/systemd/systemd-networkd";
  beforeEach(wants(["networkctl"], { root: true, files: [NETWORKD] }));

  it("takes advertisements and a lease, and has the same address when it starts again", async () => {
    const client = await start(...OPTIONS);
    const { guest } = client;
    await client.ownFiles("/etc/systemd/network");
    await client.shell(
      "mkdir -p /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp; chown -R systemd-network /run/systemd/netif",
    );
    const network =
      "[Match]\nName=tap0\n[Network]\nDHCP=ipv6\nIPv6AcceptRA=yes\n[DHCPv6]\nUseDomains=yes\n[IPv6AcceptRA]\nUseDomains=yes\n";
    await client.write("/run/systemd/network/10-tap.network", network);
    const networkd = client.start("env", "SYSTEMD_LOG_LEVEL=debug", "SYSTEMD_LOG_TARGET=console", NETWORKD);
    expect(await client.leased()).toBe(LEASED);
    const stable = await client.has("address", ({ local }) => local !== LEASED);
    expect(await client.defaultRoute()).toMatch(/via fe80::2 .*proto ra .*mtu 1500/);
    await networkd.says(/tap0: DHCPv6 client: State changed: \S+ -> bound/);
    await until(async () => (await link()).includes("ADMIN_STATE=configured"), "the link is configured");
    async function link(): Promise<string> {
      return client.shell(`cat /run/systemd/netif/links/$(cat /sys/class/net/tap0/ifindex)`);
    }
    expect(await link()).toMatch(new RegExp(`^DNS=.*\\b${RESOLVER}`, "m"));
    expect(await link()).toMatch(/^DOMAINS=a\.example\.test b\.example\.test\b/m);
    await client.reaches(LEASED);
    await client.reaches(stable);
    await client.end(networkd);
    guest.ip("address", "flush", "dev", "tap0", "scope", "global");
    client.start("env", "SYSTEMD_LOG_LEVEL=debug", "SYSTEMD_LOG_TARGET=console", NETWORKD);
    expect(await client.leased()).toBe(LEASED);
    expect(await client.drops()).toEqual([]);
  });
});

describe("NetworkManager", () => {
  beforeEach(wants(["NetworkManager", "nmcli", "dbus-daemon"], { root: true }));

  /** Any user may talk to anybody on this bus, which has nobody else on it. */
  const BUS = `<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy></busconfig>`;
  const CONFIG = `[main]
plugins=keyfile
no-auto-default=*
rc-manager=unmanaged
[keyfile]
unmanaged-devices=except:interface-name:eth0
`;
  const CONNECTION = `[connection]
id=wired
uuid=3d4e8a6a-9d1c-4f0a-9d9b-7d1a7a3b0001
type=ethernet
interface-name=eth0
[ipv4]
method=disabled
[ipv6]
method=auto
addr-gen-mode=1
`;

  it("takes advertisements and a lease for the card of a bridge", async () => {
    const client = await start(...OPTIONS);
    await client.ownFiles("/etc/NetworkManager", "/var/lib/NetworkManager");
    // A TAP it would open itself: it is given the end of a cable to a bridge before ours.
    await client.shell(`ip link add br0 type bridge mcast_snooping 0
ip link add eth0 type veth peer name port0
for device in br0 tap0 port0; do echo 1 > /proc/sys/net/ipv6/conf/$device/disable_ipv6; done
for port in tap0 port0; do ip link set $port master br0 up; done
ip link set br0 up
mkdir -p /run/dbus /run/udev/data
echo I:1 > /run/udev/data/n$(cat /sys/class/net/eth0/ifindex)`);
    await client.write("/run/bus.conf", BUS);
    await client.write("/etc/NetworkManager/NetworkManager.conf", CONFIG);
    await client.write("/etc/NetworkManager/system-connections/wired.nmconnection", CONNECTION, "600");
    client.start("dbus-daemon", "--config-file=/run/bus.conf", "--nofork", "--nopidfile");
    await until(
      async () => (await client.guest.run("test", "-S", "/run/dbus/system_bus_socket")).status === 0,
      "the bus",
    );
    const manager = client.start("NetworkManager", "--debug", "--log-level=DEBUG");
    expect(await client.leased("eth0")).toBe(LEASED);
    const stable = await client.has("address", ({ local }) => local !== LEASED, "eth0");
    expect(await client.defaultRoute("eth0")).toMatch(/via fe80::2 proto ra/);
    const told = await client.shell("nmcli -t device show eth0");
    expect(told).toContain("GENERAL.STATE:100 (connected)");
    expect(told).toContain("IP6.GATEWAY:fe80::2\n");
    expect(told).toContain(`IP6.DNS[1]:${RESOLVER}\n`);
    expect(told).toMatch(/IP6\.SEARCHES\[1\]:a\.example\.test[\s\S]*IP6\.SEARCHES\[2\]:b\.example\.test/);
    await client.reaches(LEASED);
    await client.reaches(stable);
    expect(manager.stdout + manager.stderr).toContain(`option dhcp6_name_servers   => '${RESOLVER}'`);
    // Down and up again: the same address.
    await client.shell("nmcli --wait 20 connection down wired");
    expect(client.addresses("eth0")).toEqual([]);
    await client.shell("nmcli --wait 20 connection up wired");
    expect(await client.leased("eth0")).toBe(LEASED);
    expect(await client.drops()).toEqual([]);
  });
});

describe("dhcpcd", () => {
  beforeEach(wants(["dhcpcd"], { root: true }));

  it("takes advertisements and a lease, renews it, and gives it back", async () => {
    const client = await start(...OPTIONS);
    const { guest } = client;
    await client.ownFiles("/var/lib/dhcpcd");
    guest.ip("link", "set", "tap0", "up");
    const daemon = client.start("dhcpcd", "-6", "-B", "-d", "-C", "resolv.conf", "tap0");
    expect(await client.leased()).toBe(LEASED);
    const stable = await client.has("address", ({ local }) => local !== LEASED);
    expect(await client.defaultRoute()).toContain("proto ra");
    await daemon.says(/renew in 7200, rebind in 11520, expire in 86400 seconds/);
    const told = await client.shell("dhcpcd -6 -U tap0");
    for (const line of [
      "nd1_flags=MO",
      "nd1_mtu=1500",
      `nd1_rdnss1_servers=${RESOLVER}`,
      "nd1_dnssl1_search='a.example.test b.example.test'",
      `dhcp6_ia_na1_ia_addr1=${LEASED}`,
      `dhcp6_name_servers=${RESOLVER}`,
      "dhcp6_fqdn=vm1.example.test",
    ])
      expect(told.replaceAll("'", "")).toContain(line.replaceAll("'", ""));
    await client.reaches(LEASED);
    await client.reaches(stable);
    await client.shell("dhcpcd -6 -N tap0");
    await daemon.says(/RENEW6[\s\S]*REPLY6 received from fe80::2/);
    // On a busy machine dhcpcd 9's daemon at times does not hear the signal (nothing of it in its log), and is asked again.
    await client.shell("dhcpcd -6 -k tap0 || dhcpcd -6 -k tap0 || dhcpcd -6 -k tap0");
    expect((await daemon.ended).stderr).toMatch(/RELEASE6/);
    expect(client.addresses()).toEqual([]);
    expect(await client.drops()).toEqual([]);
  });
});

describe("dhclient -6", () => {
  beforeEach(wants(["dhclient"]));

  /** What it is called with, in words that a test can look for; and the address set. */
  const SCRIPT = `#!/bin/sh
echo "event $reason $new_ip6_address $new_dhcp6_name_servers $new_dhcp6_domain_search $new_dhcp6_bootfile_url"
case $reason in
  BOUND6) ip address add $new_ip6_address/128 dev $interface nodad;;
  RELEASE6|STOP6) ip address del $old_ip6_address/128 dev $interface;;
esac
exit 0
`;
  /** Whatever Debian 12's has no name for it is given one. */
  const CONFIG = `option dhcp6.bootfile-url code 59 = string;
also request dhcp6.bootfile-url;
send dhcp6.client-id = 00:03:00:01:52:54:00:12:34:56;
`;

  async function bound(...options: string[]) {
    const client = await start(...OPTIONS, ...options);
    const { guest, directory } = client;
    guest.ip("link", "set", "tap0", "up");
    await client.defaultRoute();
    await client.write(`${directory}/script`, SCRIPT, "755");
    await client.write(`${directory}/config`, CONFIG);
    await client.write(`${directory}/leases`, "");
    const files = ["-sf", "script", "-cf", "config", "-lf", "leases", "-pf", "pid"];
    const args = files.map((word, i) => (i % 2 === 0 ? word : `${directory}/${word}`));
    const daemon = (...more: string[]) =>
      client.start("dhclient", "-6", "-v", "-d", ...args, ...more, "tap0");
    return { client, daemon };
  }

  it("gets a lease with every option it asks for, is told by its old one, and gives it back", async () => {
    const { client, daemon } = await bound();
    const dhclient = daemon();
    await dhclient.says(/event BOUND6 (.*)/, "stdout");
    expect(dhclient.stdout).toContain(
      `event BOUND6 ${LEASED} ${RESOLVER} a.example.test. b.example.test. ${BOOT}\n`,
    );
    expect(dhclient.stderr).toMatch(/Server ID: 00:03:00:01:52:55:0a:00:02:02/);
    expect(dhclient.stderr).toMatch(/t1 - renew {2}\+7200[\s\S]*t2 - rebind \+11520/);
    await client.reaches(await client.leased());
    dhclient.child.kill("SIGKILL");
    await dhclient.ended;
    // One that starts again asks whether its address is still good here (CONFIRM).
    const again = daemon();
    await again.says(/Forming Confirm[\s\S]*RCV: Reply message/);
    await again.says(/event (REBOOT|BOUND6) /, "stdout");
    expect(again.stderr).not.toContain("Solicit");
    again.child.kill("SIGKILL");
    await again.ended;
    const released = daemon("-r");
    // It does not stay for the answer.
    const replies = async () => (await client.guest.report()).counters["dhcp6-replies"];
    const before = await replies();
    await released.says(/Forming Release[\s\S]*XMT: Release on tap0/);
    await until(async () => (await replies()) === before + 1, "the release is answered");
    await released.ended;
    expect(client.addresses().map(({ local }) => local)).not.toContain(LEASED);
    // The answer may find nobody, which the kernel says.
    expect((await client.drops()).filter((name) => name !== "icmpv6")).toEqual([]);
  });

  it("asks for information alone with -S", async () => {
    const { client, daemon } = await bound();
    const dhclient = daemon("-S");
    await dhclient.says(/Forming Info-Request[\s\S]*RCV: Reply message/);
    await dhclient.says(new RegExp(`event \\S+  ${RESOLVER} a.example.test`), "stdout");
    expect(client.addresses().map(({ local }) => local)).not.toContain(LEASED);
    expect(await client.drops()).toEqual([]);
  });

  it("is refused a prefix with -P", async () => {
    const { daemon } = await bound();
    const dhclient = daemon("-P");
    await dhclient.says(/IA_PD[\s\S]*Status code of no prefix, IA_PD discarded/);
  });
});

describe("busybox udhcpc6", () => {
  let busybox = "";
  beforeEach((context) => {
    wants([])(context);
    try {
      busybox = unstableBusybox();
    } catch (error) {
      process.stderr.write(`no busybox of Debian unstable: ${(error as Error).message}\n`);
      needs(context, { commands: ["a busybox with udhcpc6"] });
    }
  });

  it("gets a lease with every option it asks for, and renews it", async () => {
    const client = await start(...OPTIONS);
    const { guest, directory } = client;
    guest.ip("link", "set", "tap0", "up");
    await client.defaultRoute();
    const script = `#!/bin/sh
echo "event $1 $ipv6 $dns $search $fqdn $bootfile_url $lease"
[ "$1" != bound ] || ip address add $ipv6/128 dev $interface nodad
exit 0
`;
    await client.write(`${directory}/script`, script, "755");
    const asked = ["dns", "search", "fqdn", "bootfile_url"].flatMap((name) => ["-O", name]);
    const udhcpc6 = client.start(
      busybox,
      "udhcpc6",
      "-i",
      "tap0",
      "-f",
      "-R",
      "-s",
      `${directory}/script`,
      ...asked,
    );
    const whole = (address: string): string =>
      address
        .replace("::", ":0000:0000:0000:")
        .replace(":2:", ":0002:")
        .replace(/:(\w+)$/, (_, last: string) => `:${last.padStart(4, "0")}`);
    await udhcpc6.says(/event bound .*/, "stdout");
    expect(udhcpc6.stdout).toContain(
      `event bound ${whole(LEASED)} ${whole(RESOLVER)} a.example.test b.example.test vm1.example.test ${BOOT} 86400\n`,
    );
    await client.reaches(await client.leased());
    udhcpc6.child.kill("SIGUSR1");
    await udhcpc6.says(new RegExp(`event renew ${whole(LEASED)} `), "stdout");
    udhcpc6.child.kill("SIGTERM");
    expect((await udhcpc6.ended).stderr).toMatch(/release/i);
    // Its kernel knows nothing of its socket, and it releases by unicast, which is discarded (RFC 9915 section 16).
    expect((await client.drops()).filter((name) => name !== "icmpv6")).toEqual(["dhcp6-not-ours"]);
  });
});

describe("programs of a guest", () => {
  it("dig asks the resolver of the advertisement, over UDP and TCP", async (context) => {
    wants(["dig"])(context);
    const client = await start("--resolver", "[::1]:5353");
    const { guest, host } = client;
    await host.agent.do("dnsServer", { host: "::1", port: 5353, address: OUTSIDE });
    guest.ip("link", "set", "tap0", "up");
    await client.defaultRoute();
    await client.has("address", () => true);
    for (const way of ["+notcp", "+tcp"]) {
      const { stdout } = await guest.run("dig", `@${RESOLVER}`, way, "+short", "AAAA", "some.example.test");
      expect([way, stdout]).toEqual([way, `${OUTSIDE}\n`]);
    }
    expect(await client.drops()).toEqual([]);
  });

  it("ssh goes out to the host, and in by a port of its", async (context) => {
    wants(["ssh", "ssh-keygen", "sshd"], { root: true })(context);
    const client = await start("-p", "[::1]:2222:22");
    const { guest, directory } = client;
    for (const key of ["host", "user"])
      await client.shell(`ssh-keygen -q -t ed25519 -N '' -f ${directory}/${key}`);
    await client.shell(`cp ${directory}/user.pub ${directory}/authorized`);
    const words = [
      ...[
        "-D",
        "-e",
        "-f",
        "/dev/null",
        "-h",
        `${directory}/host`,
        "-o",
        "StrictModes=no",
        "-o",
        "UsePAM=no",
      ],
      ...["-o", `AuthorizedKeysFile=${directory}/authorized`, "-o", "PidFile=none"],
    ];
    const sshd = findCommand("sshd")!;
    const line = `mount -t tmpfs tmpfs /run; mkdir -m 755 /run/sshd; exec ${sshd}`;
    guest.ip("link", "set", "tap0", "up");
    await client.defaultRoute();
    await client.has("address", () => true);
    client.start("sh", "-ec", `${line} ${words.join(" ")} -o ListenAddress=::`);
    const there = client.onHost("sh", "-ec", `${line} ${words.join(" ")} -o ListenAddress=[${OUTSIDE}]:22`);
    await there.says(/Server listening on/);
    const login = [
      "-i",
      `${directory}/user`,
      "-o",
      "StrictHostKeyChecking=no",
      "-o",
      "UserKnownHostsFile=/dev/null",
      "-o",
      "BatchMode=yes",
    ];
    const out = await guest.run("ssh", "-6", ...login, `root@${OUTSIDE}`, "echo $SSH_CONNECTION");
    expect(out.stdout).toMatch(new RegExp(`^${OUTSIDE} \\d+ ${OUTSIDE} 22\n$`));
    const into = await client.onHost("ssh", "-6", "-p", "2222", ...login, "root@::1", "echo $SSH_CONNECTION")
      .ended;
    expect(into.stdout).toMatch(new RegExp(`^${PREFIX}:2 \\d+ ${PREFIX}\\S+ 22\n$`));
    expect(await client.drops()).toEqual([]);
  });
});
