/**
 * How the demo's guest gets its address: by udhcpc or dhclient where there is one, else by a small client of our own.
 * Either way the address is then set on the device by the helper, so that nothing else is needed in the guest.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isIpv4, parseIpv4 } from "../config/address.ts";
import { formatIpv4 } from "../engine/wire/address-text.ts";
import { helperPath } from "../host/native/native-loader.ts";
import {
  DHCP_ACK,
  DHCP_DISCOVER,
  DHCP_OFFER,
  DHCP_REQUEST,
  type DhcpAnswer,
  dhcpFrame,
  readDhcpAnswer,
} from "./guest-frames.ts";
import type { PacketSocket } from "./packet-socket.ts";

/** A lease as text. */
export interface Lease {
  /** What got it: `udhcpc`, `dhclient`, or `sluice's own client`. */
  readonly client: string;
  readonly address: string;
  readonly prefixLength: number;
  readonly router: string;
  readonly dns: string;
  readonly seconds: number;
}

/** What udhcpc and dhclient call with the lease in the environment, each under names of its own. */
const HOOK = `#!/bin/sh
case "$1$reason" in
bound | renew | BOUND | RENEW | REBOOT)
  printf '%s\\n' "\${ip:-$new_ip_address}" "\${subnet:-$new_subnet_mask}" "\${router:-$new_routers}" \\
    "\${dns:-$new_domain_name_servers}" "\${lease:-$new_dhcp_lease_time}" > "$SLUICE_LEASE.part" &&
    mv "$SLUICE_LEASE.part" "$SLUICE_LEASE"
  ;;
esac
`;

interface Client {
  readonly name: string;
  /** Words that start it, if it is there. */
  readonly command: readonly string[];
  readonly args: (device: string, directory: string) => string[];
}

const CLIENTS: readonly Client[] = [
  {
    name: "udhcpc",
    command: ["udhcpc"],
    args: (device, directory) => [
      "-i",
      device,
      "-f",
      "-n",
      "-q",
      "-t",
      "4",
      "-T",
      "1",
      "-s",
      join(directory, "hook"),
    ],
  },
  {
    name: "udhcpc",
    command: ["busybox", "udhcpc"],
    args: (device, directory) => [
      "-i",
      device,
      "-f",
      "-n",
      "-q",
      "-t",
      "4",
      "-T",
      "1",
      "-s",
      join(directory, "hook"),
    ],
  },
  {
    name: "dhclient",
    command: ["dhclient"],
    args: (device, directory) => [
      ...[
        "-d",
        "-1",
        "-4",
        "-cf",
        "/dev/null",
        "-lf",
        join(directory, "leases"),
        "-pf",
        join(directory, "pid"),
      ],
      ...["-e", `SLUICE_LEASE=${join(directory, "lease")}`, "-sf", join(directory, "hook"), device],
    ],
  },
];

const SEARCH_PATH = [
  ...(process.env["PATH"] ?? "").split(delimiter),
  "/usr/sbin",
  "/sbin",
  "/usr/local/sbin",
];

function findProgram(name: string): string | undefined {
  return SEARCH_PATH.filter(Boolean)
    .map((directory) => join(directory, name))
    .find((path) => existsSync(path));
}

/** The clients that are on this machine. SLUICE_DEMO_CLIENT leaves one of them, or none (`own`). */
function installedClients(): Client[] {
  const wanted = process.env["SLUICE_DEMO_CLIENT"];
  return CLIENTS.filter(({ name }) => wanted === undefined || name === wanted).flatMap((client) => {
    const [program = "", ...applets] = client.command;
    const path = findProgram(program);
    if (path === undefined) return [];
    const hasApplet = applets.length === 0 || spawnSync(path, [...applets, "--help"]).status !== 127;
    return hasApplet ? [{ ...client, command: [path, ...applets] }] : [];
  });
}

const CLIENT_TIMEOUT_MS = 8000;
const POLL_MS = 20;

/** Runs a client until its hook has written the lease. Undefined when it did not manage. */
async function leaseBy(client: Client, device: string): Promise<Lease | undefined> {
  const directory = mkdtempSync(join(tmpdir(), "sluice-demo-"));
  const path = join(directory, "lease");
  writeFileSync(join(directory, "hook"), HOOK, { mode: 0o755 });
  const [program = "", ...applets] = client.command;
  const child: ChildProcess = spawn(program, [...applets, ...client.args(device, directory)], {
    stdio: "ignore",
    env: { ...process.env, SLUICE_LEASE: path },
  });
  let over = false;
  const gone = new Promise<void>((resolve) => {
    child.once("error", () => resolve());
    child.once("exit", () => resolve());
  }).then(() => {
    over = true;
  });
  try {
    for (const end = performance.now() + CLIENT_TIMEOUT_MS; performance.now() < end && !over; ) {
      if (existsSync(path)) break;
      await sleep(POLL_MS);
    }
    return existsSync(path) ? readLease(client.name, readFileSync(path, "utf8")) : undefined;
  } finally {
    child.kill("SIGTERM");
    await gone;
    rmSync(directory, { recursive: true, force: true });
  }
}

function readLease(client: string, text: string): Lease | undefined {
  const [address = "", mask = "", routers = "", servers = "", seconds = "0"] = text.split("\n");
  if (!isIpv4(address) || !isIpv4(mask)) return undefined;
  return {
    client,
    address,
    prefixLength: Math.clz32(~parseIpv4(mask)),
    router: firstWord(routers),
    dns: firstWord(servers),
    seconds: Number(seconds),
  };
}

function firstWord(text: string): string {
  return text.replace(/ .*/, "");
}

const TRIES = 4;
const ANSWER_MS = 1000;

/** DISCOVER, OFFER, REQUEST, ACK over a packet socket. */
async function leaseByOurselves(socket: PacketSocket, mac: Uint8Array): Promise<Lease | undefined> {
  const xid = (Math.random() * 0x7fffffff) | 0;
  const ask = async (type: number, extra: number[][], answer: number): Promise<DhcpAnswer | undefined> => {
    for (let i = 0; i < TRIES; i++) {
      socket.send(dhcpFrame(mac, xid, type, extra));
      const found = await socket.receive(ANSWER_MS, (frame) => {
        const message = readDhcpAnswer(frame, xid);
        return message?.type === answer ? message : undefined;
      });
      if (found) return found;
    }
    return undefined;
  };
  const offer = await ask(DHCP_DISCOVER, [], DHCP_OFFER);
  if (!offer) return undefined;
  const quad = (value: number): number[] => [
    value >>> 24,
    (value >>> 16) & 255,
    (value >>> 8) & 255,
    value & 255,
  ];
  const server = offer.options.get(54)?.getInt32(0) ?? 0;
  const chosen = [
    [50, 4, ...quad(offer.address)],
    [54, 4, ...quad(server)],
  ];
  const ack = await ask(DHCP_REQUEST, chosen, DHCP_ACK);
  if (!ack) return undefined;
  const address = (code: number): string => formatIpv4(ack.options.get(code)?.getInt32(0) ?? 0);
  return {
    client: "sluice's own client",
    address: formatIpv4(ack.address),
    prefixLength: Math.clz32(~(ack.options.get(1)?.getInt32(0) ?? -1)),
    router: address(3),
    dns: address(6),
    seconds: ack.options.get(51)?.getUint32(0) ?? 0,
  };
}

/** Gets a lease for the device by the first client that manages, and sets it up. Throws when none does. */
export async function getLease(device: string, mac: Uint8Array, socket: PacketSocket): Promise<Lease> {
  let lease: Lease | undefined;
  for (const client of installedClients()) {
    lease ??= await leaseBy(client, device);
  }
  lease ??= await leaseByOurselves(socket, mac);
  if (!lease) throw new Error("no DHCP client got a lease");
  const args = ["--device", device, "--up", "--address", `${lease.address}/${lease.prefixLength}`];
  const set = spawnSync(helperPath(), [...args, "--gateway", lease.router], { encoding: "utf8" });
  if (set.status !== 0) throw new Error(set.stderr.trim());
  return lease;
}
