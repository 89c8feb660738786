/** Real DHCP clients in a namespace: what they ask for, see, renew, give back, and are refused. */
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { NAMESPACE_NEEDS, NamespaceGuest } from "../support/namespace-guest.ts";
import { type Running, until } from "../support/program.ts";
import { needs } from "../support/requirements.ts";

const OPTIONS = [
  ...[
    "--hostname",
    "vm1",
    "--domain",
    "example.test",
    "--search",
    "a.example.test",
    "--search",
    "b.example.test",
  ],
  ...["--mtu", "1400", "--next-server", "10.0.2.2", "--boot-file", "boot.ipxe"],
  ...["--dhcp-option", "42=ip:10.0.2.2", "--dhcp-option", "121=hex:180a010b0a000202"],
  ...["--dhcp-option", "224=text:private"],
];

const directory = mkdtempSync(join(tmpdir(), "sluice-test-dhcp-"));
let files = 0;
const fileName = (): string => join(directory, String(files++));

let guest: NamespaceGuest | undefined;
const clients: Running[] = [];

beforeEach((context) => needs(context, NAMESPACE_NEEDS));
afterEach(async () => {
  for (const client of clients.splice(0)) {
    client.child.kill("SIGKILL");
    await client.ended;
  }
  await guest?.close();
  guest = undefined;
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

async function startGuest(...options: string[]): Promise<NamespaceGuest> {
  guest = await NamespaceGuest.start({ configure: false, options });
  guest.ip("link", "set", "tap0", "up");
  return guest;
}

/** A script for udhcpc and dhclient: appends what it is called with and its environment to a file, sets nothing. */
function recorder(): { script: string; events: () => Record<string, string>[] } {
  const script = fileName();
  const record = fileName();
  writeFileSync(script, `#!/bin/sh\n{ echo "event=$1"; env; echo end=; } >> ${record}\nexit 0\n`);
  chmodSync(script, 0o755);
  const events = (): Record<string, string>[] => {
    if (!existsSync(record)) return [];
    const blocks = readFileSync(record, "utf8")
      .split(/^end=\n/m)
      .slice(0, -1);
    return blocks.map((block) =>
      Object.fromEntries([...block.matchAll(/^(\w+)=(.*)$/gm)].map(([, k, v]) => [k, v])),
    );
  };
  return { script, events };
}

/** The two builds of one client: the package's own and busybox's applet. */
const UDHCPC = [
  { name: "udhcpc", command: ["udhcpc"] },
  { name: "busybox udhcpc", command: ["busybox", "udhcpc"] },
] as const;

function udhcpc(command: readonly string[], script: string, ...args: string[]): Running {
  const [program, ...applet] = command;
  const client = guest!.spawn(program, ...applet, "-i", "tap0", "-f", "-s", script, "-T", "1", ...args);
  clients.push(client);
  return client;
}

describe.for(UDHCPC)("$name", ({ command }) => {
  beforeEach((context) => needs(context, { commands: [command[0]] }));

  it("gets a lease with every option it asks for", async () => {
    await startGuest(...OPTIONS);
    const { script, events } = recorder();
    const asked = [
      "hostname",
      "domain",
      "search",
      "mtu",
      "ntpsrv",
      "staticroutes",
      "bootfile",
      "tftp",
      "0xe0",
    ];
    const client = udhcpc(command, script, "-n", "-q", ...asked.flatMap((name) => ["-O", name]));
    expect((await client.ended).status).toBe(0);
    expect(events().find(({ event }) => event === "bound")).toMatchObject({
      ip: "10.0.2.15",
      mask: "24",
      subnet: "255.255.255.0",
      broadcast: "10.0.2.255",
      router: "10.0.2.2",
      dns: "10.0.2.3",
      serverid: "10.0.2.2",
      lease: "86400",
      mtu: "1400",
      hostname: "vm1",
      domain: "example.test",
      search: "a.example.test b.example.test",
      ntpsrv: "10.0.2.2",
      staticroutes: "10.1.11.0/24 10.0.2.2",
      siaddr: "10.0.2.2",
      boot_file: "boot.ipxe",
      bootfile: "boot.ipxe",
      tftp: "10.0.2.2",
      opt224: Buffer.from("private").toString("hex"),
    });
  });

  it("renews its lease, gives it back, and another client gets the address", async () => {
    // The one address there is.
    await startGuest("--dhcp-start", "10.0.2.254");
    const { script, events } = recorder();
    const client = udhcpc(command, script);
    const happened = (event: string) => events().some((one) => one["event"] === event);
    await until(() => happened("bound"), "a lease");
    guest!.ip("address", "add", "10.0.2.254/24", "dev", "tap0");
    client.child.kill("SIGUSR1");
    await until(() => happened("renew"), "the renewal");
    expect(events().find(({ event }) => event === "renew")).toMatchObject({ ip: "10.0.2.254" });
    client.child.kill("SIGUSR2");
    await client.says(/(?:Performing|performing) a DHCP release|(?:Entering|entering) released state/);
    await until(() => events().at(-1)!["event"] === "deconfig", "the end of the lease");
    client.child.kill("SIGTERM");
    await client.ended;

    guest!.ip("address", "flush", "dev", "tap0");
    guest!.ip("link", "set", "tap0", "address", "52:54:00:00:00:99");
    const next = recorder();
    expect((await udhcpc(command, next.script, "-n", "-q").ended).status).toBe(0);
    expect(next.events().at(-1)).toMatchObject({ event: "bound", ip: "10.0.2.254" });
  });

  it("is offered an address of ours when it asks for another", async () => {
    await startGuest();
    const { script, events } = recorder();
    expect((await udhcpc(command, script, "-n", "-q", "-r", "10.0.2.99").ended).status).toBe(0);
    expect(events().at(-1)).toMatchObject({ event: "bound", ip: "10.0.2.15" });
  });
});

describe("dhclient", () => {
  beforeEach((context) => needs(context, { commands: ["dhclient"] }));

  function dhclient(script: string, lease: string, configuration: string, ...args: string[]): Running {
    const config = fileName();
    writeFileSync(config, configuration);
    const own = ["-sf", script, "-lf", lease, "-pf", fileName(), "-cf", config];
    const client = guest!.spawn("dhclient", "-4", "-d", "-v", ...own, ...args, "tap0");
    clients.push(client);
    return client;
  }

  it("gets a lease, renews it, and gives it back", async () => {
    await startGuest(...OPTIONS);
    const { script, events } = recorder();
    const lease = fileName();
    writeFileSync(lease, "");
    const client = dhclient(
      script,
      lease,
      `option rfc3442 code 121 = array of unsigned integer 8;
request subnet-mask, broadcast-address, routers, domain-name, domain-name-servers, domain-search, host-name,
  interface-mtu, ntp-servers, rfc3442;
`,
    );
    await client.says(/bound to 10\.0\.2\.15 -- renewal in/);
    expect(events().find(({ reason }) => reason === "BOUND")).toMatchObject({
      new_ip_address: "10.0.2.15",
      new_subnet_mask: "255.255.255.0",
      new_broadcast_address: "10.0.2.255",
      new_routers: "10.0.2.2",
      new_domain_name: "example.test",
      new_domain_name_servers: "10.0.2.3",
      new_domain_search: "a.example.test. b.example.test.",
      new_host_name: "vm1",
      new_interface_mtu: "1400",
      new_ntp_servers: "10.0.2.2",
      new_rfc3442: "24 10 1 11 10 0 2 2",
      new_dhcp_server_identifier: "10.0.2.2",
      new_dhcp_lease_time: "86400",
    });
    client.child.kill("SIGKILL");
    await client.ended;

    // A client that starts again asks for the address it had (INIT-REBOOT), and gets it.
    guest!.ip("address", "add", "10.0.2.15/24", "dev", "tap0");
    const again = dhclient(script, lease, "");
    await again.says(
      /DHCPREQUEST for 10\.0\.2\.15[\s\S]*DHCPACK of 10\.0\.2\.15[\s\S]*bound to 10\.0\.2\.15/,
    );
    expect(again.stderr).not.toContain("DHCPDISCOVER");
    again.child.kill("SIGKILL");
    await again.ended;

    const released = dhclient(script, lease, "", "-r");
    await released.says(/DHCPRELEASE of 10\.0\.2\.15 on tap0 to 10\.0\.2\.2/);
    expect((await released.ended).status).toBe(0);
  });

  it("is told that an address from elsewhere is not its own, and gets one that is", async () => {
    await startGuest();
    const { script } = recorder();
    const lease = fileName();
    writeFileSync(
      lease,
      `lease {
  interface "tap0";
  fixed-address 192.168.9.77;
  option subnet-mask 255.255.255.0;
  option dhcp-lease-time 86400;
  option dhcp-message-type 5;
  option dhcp-server-identifier 192.168.9.1;
  renew 4 2037/01/01 00:00:00;
  rebind 4 2037/01/01 00:00:00;
  expire 4 2037/01/01 00:00:00;
}
`,
    );
    const client = dhclient(script, lease, "");
    await client.says(/DHCPREQUEST for 192\.168\.9\.77/);
    await client.says(/DHCPNAK from 10\.0\.2\.2/);
    await client.says(/bound to 10\.0\.2\.15/);
  });
});
