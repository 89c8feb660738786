/**
 * `npm start`: the main job, shown for real. A Linux guest (a process in its own network namespace) behind a confined
 * engine gets a lease, reaches the host, is reached, moves data, and is kept from what nobody declared. Where that
 * cannot be, it says why and replays a recorded guest instead.
 */
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { get } from "node:http";
import { type AddressInfo, createServer, Socket } from "node:net";
import { release, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { formatMac } from "../config/address.ts";
import { type PageProxy, startPageProxy } from "../control/page-proxy.ts";
import { formatWhy } from "../control/why/rules.ts";
import { defaultEngineConfig, type EngineConfig, LOOPBACK } from "../engine/config.ts";
import { formatIpv4 } from "../engine/wire/address-text.ts";
import type { GuestCommand } from "../host/process/guest-command.ts";
import type { Live } from "../supervisor/live.ts";
import { formatOctets } from "../supervisor/octets.ts";
import { Display, formatRate } from "./display.ts";
import { type HostServices, startHostServices } from "./host-services.ts";
import type { GuestAnswer, GuestTask } from "./tasks.ts";

const GUEST_PROGRAM = fileURLToPath(new URL("./guest.js", import.meta.url));
const PAGE_DIRECTORY = fileURLToPath(new URL("../../program/page", import.meta.url));
const RECORDED_GUEST = "test/fixtures/linux-6.1-guest-behind-libslirp.pcap";
const DEVICE = "tap0";
const GUEST_MAC = Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56);
const GUEST_PORT = 80;
const TRANSFER_MS = 2000;
const SAMPLE_MS = 250;
const PINGS = 3;

/** The defaults, one forwarded port, and the host's loopback open, because the demo's page server listens there. */
function demoConfig(): EngineConfig {
  return {
    ...defaultEngineConfig(),
    guestMac: GUEST_MAC,
    allowHostLoopback: true,
    forwards: [
      { protocol: "tcp", hostAddress: LOOPBACK, hostPort: 0, guestAddress: 0, guestPort: GUEST_PORT },
    ],
  };
}

/** The guest's process, spoken to one task at a time. */
class Guest {
  private readonly answers: AsyncIterator<string>;

  constructor(
    private readonly input: Writable,
    output: Readable,
  ) {
    this.answers = createInterface({ input: output })[Symbol.asyncIterator]();
  }

  /** Does one task. Throws the guest's own complaint. */
  async ask(task: GuestTask): Promise<GuestAnswer> {
    this.input.write(`${JSON.stringify(task)}\n`);
    const { value, done } = await this.answers.next();
    if (done) throw new Error("the guest has ended");
    const answer = JSON.parse(value) as GuestAnswer;
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer;
  }

  /** Ends it and waits. */
  end(): void {
    this.input.end();
  }
}

interface Stage {
  readonly display: Display;
  readonly config: EngineConfig;
  readonly services: HostServices;
  readonly guest: Guest;
  readonly live: Live;
  /** Host port of the one forward. */
  readonly forwardPort: number;
}

async function showLease({ display, guest, config }: Stage): Promise<void> {
  display.step("The guest asks for an address");
  const { lease } = await guest.ask({ do: "lease", device: DEVICE, mac: formatMac(GUEST_MAC) });
  if (lease === undefined) throw new Error("the guest has no lease");
  display.line(
    `by ${lease.client}: ${lease.address}/${lease.prefixLength} for ${lease.seconds} s, router ${lease.router}, DNS ${lease.dns}`,
  );
  if (lease.address !== formatIpv4(config.guestAddress))
    throw new Error(`that is not ${formatIpv4(config.guestAddress)}`);
}

async function showFetch({ display, guest, services, config }: Stage): Promise<void> {
  const url = `http://${formatIpv4(config.gateway)}:${services.pagePort}/`;
  display.step("It fetches a page from a server on the host");
  const { status, body = "" } = await guest.ask({ do: "fetch", url });
  display.line(`GET ${url} -> ${status}: ${body.trim()}`);
}

async function showForward({ display, guest, forwardPort }: Stage): Promise<void> {
  display.step("It is reached through the one declared port");
  await guest.ask({ do: "serve", port: GUEST_PORT });
  const url = `http://127.0.0.1:${forwardPort}/`;
  const [response] = (await once(get(url, { agent: false }), "response")) as [
    Readable & { statusCode: number },
  ];
  let body = "";
  for await (const chunk of response.setEncoding("utf8")) body += chunk;
  display.line(`GET ${url} (guest port ${GUEST_PORT}) -> ${response.statusCode}: ${body.trim()}`);
}

async function showTransfer(stage: Stage, direction: "up" | "down"): Promise<void> {
  const { display, guest, services, config } = stage;
  const port = direction === "up" ? services.sinkPort : services.sourcePort;
  const label = direction === "up" ? "guest to host" : "host to guest";
  const done = guest.ask({
    do: "transfer",
    host: formatIpv4(config.gateway),
    port,
    direction,
    ms: TRANSFER_MS,
  });
  let over = false;
  void done
    .catch(() => {})
    .then(() => {
      over = true;
    });
  const started = performance.now();
  const first = services.moved()[direction];
  let last = first;
  let lastAt = started;
  const samples: string[] = [];
  while (!over && performance.now() - started < TRANSFER_MS) {
    await sleep(SAMPLE_MS);
    const now = performance.now();
    const moved = services.moved()[direction];
    const rate = formatRate(moved - last, now - lastAt);
    samples.push(rate.replace(/ .*/, ""));
    display.live(`${label}: ${rate}`);
    [last, lastAt] = [moved, now];
  }
  const [octets, ms] = [last - first, lastAt - started];
  await done;
  const total = `${formatOctets(octets)} in ${(ms / 1000).toFixed(1)} s`;
  display.settle(
    `${label}: ${formatRate(octets, ms)} (${total}; every ${SAMPLE_MS} ms: ${samples.join(" ")})`,
  );
}

/** A port of the host that nobody listens on. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

async function showRefusal({ display, guest }: Stage): Promise<void> {
  const port = await freePort();
  display.step("It serves another port, which nobody declared, and is not reached there");
  await guest.ask({ do: "serve", port });
  const outcome = await new Promise<string>((resolve) => {
    const socket = new Socket();
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    socket.once("connect", () => resolve("connected, which it should not"));
    socket.connect(port, "127.0.0.1");
  });
  display.line(`connect 127.0.0.1:${port} -> ${outcome}`);
  if (outcome !== "ECONNREFUSED") throw new Error("an undeclared port answered");
}

/** A cloud's metadata service, which hands out its host's secrets. */
const METADATA = { host: "169.254.169.254", port: 80 };

async function showDenial({ display, guest, live }: Stage): Promise<void> {
  const { host, port } = METADATA;
  display.step("It asks for a cloud's secrets, is refused, and we ask why");
  const { outcome = "" } = await guest.ask({ do: "dial", ...METADATA });
  display.line(`connect ${host}:${port} -> ${outcome}`);
  if (outcome !== "ECONNREFUSED") throw new Error("the guest may reach what it should not");
  const { lines } = await (await live.get()).why(`${host}:${port}`);
  display.line(`sluice why ${host}:${port}\n${formatWhy(lines)}`);
}

async function showPings({ display, guest, config }: Stage): Promise<void> {
  display.step("It pings the gateway in vain (TCP and UDP only: ICMP is dropped and counted)");
  const { answered } = await guest.ask({
    do: "ping",
    device: DEVICE,
    mac: formatMac(GUEST_MAC),
    gatewayMac: formatMac(config.gatewayMac),
    address: formatIpv4(config.guestAddress),
    gateway: formatIpv4(config.gateway),
    count: PINGS,
  });
  display.line(`${PINGS} echo requests -> ${answered} answers`);
}

/** Time for the engine to print its report, milliseconds. */
const REPORT_MS = 300;

async function showAll(stage: Stage, report: () => void): Promise<void> {
  const { display, guest, services, config } = stage;
  await showLease(stage);
  await showFetch(stage);
  await showForward(stage);
  display.step("It moves data, two seconds each way, one TCP connection");
  await showTransfer(stage, "up");
  await showTransfer(stage, "down");
  await showRefusal(stage);
  await showDenial(stage);
  await showPings(stage);
  display.step("What the engine saw");
  await guest.ask({ do: "hold", host: formatIpv4(config.gateway), port: services.sinkPort });
  report();
  await sleep(REPORT_MS);
}

/** The guest's process, before it runs. Rejects with a CannotStart. */
async function prepareGuest(config: EngineConfig): Promise<GuestCommand> {
  const { prepareGuestCommand } = await import("../host/process/guest-command.ts");
  return prepareGuestCommand({
    command: process.execPath,
    args: [GUEST_PROGRAM],
    asRoot: true,
    tap: { name: DEVICE, configure: { mac: formatMac(GUEST_MAC), mtu: config.mtu } },
    resolvConf: `nameserver ${formatIpv4(config.dns)}\n`,
    stdio: ["pipe", "pipe", "inherit"],
  }).catch((error: Error) => {
    throw new CannotStart(error.message);
  });
}

/** Runs the demo with a real guest. Rejects when this machine cannot, or when a step went wrong. */
async function demonstrate(display: Display, root: string): Promise<void> {
  const { tapSpec } = await import("../host/link/tap-opening.ts");
  const { EngineClient } = await import("../supervisor/engine-client.ts");
  const { LINK_FD } = await import("../supervisor/control.ts");
  const { Live } = await import("../supervisor/live.ts");
  const { openLog } = await import("../supervisor/log.ts");
  const config = demoConfig();
  const command = await prepareGuest(config);
  const services = await startHostServices();
  const log = { level: "warn", format: "text" } as const;
  const directory = mkdtempSync(join(tmpdir(), "sluice-demo-"));
  const socketPath = join(directory, "demo.sock");
  const lineLog = openLog(log);
  const live = new Live({ control: { name: "demo", path: socketPath, maxForwards: 1 } }, lineLog, config);
  const client = new EngineClient({
    config,
    logFd: 1,
    sandbox: true,
    log: lineLog,
    ...live.hooks,
  });
  client.serve({
    link: tapSpec(command.tap, LINK_FD),
    log,
    oneOff: false,
    records: true,
    linkFd: command.tap.fd,
  });
  let page: PageProxy | undefined;
  try {
    const ready = await client.ready;
    const [forwardPort = 0] = ready.forwardPorts;
    display.line(
      `engine: process ${client.pid}, confined; guest: process ${command.child.pid}, its own network namespace`,
    );
    const stop = (): void => void command.child.kill("SIGTERM");
    await live.serve({
      ...ready,
      client,
      config,
      command: "run",
      version: versionOf(root),
      log: lineLog,
      stop,
    });
    page = await startPageProxy({ socketPath, directory: PAGE_DIRECTORY });
    display.line(`watch it, as sluice ui does: ${page.address}`);
    await command.start();
    const { stdin, stdout } = command.child;
    const guest = new Guest(stdin as Writable, stdout as Readable);
    await showAll({ display, config, services, guest, live, forwardPort }, () => client.report());
    await display.pause("The page is there until you press Enter");
    guest.end();
    display.heading("\nThat was all of it. Try it on a command of your own:  npx sluice exec -- sh");
  } finally {
    services.close();
    command.child.kill("SIGTERM");
    await page?.close();
    await client.stop();
    await live.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

function versionOf(root: string): string {
  return (JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string }).version;
}

/** This machine cannot make a guest; the message says why. */
class CannotStart extends Error {}

async function replayInstead(display: Display, root: string): Promise<number> {
  const { replayFile } = await import("../supervisor/replay-run.ts");
  const path = join(root, RECORDED_GUEST);
  if (!existsSync(path)) {
    display.line(`${RECORDED_GUEST} is not there either`);
    return 1;
  }
  display.step("A recorded guest instead: one boot of a Linux 6.1 guest, replayed into the engine");
  const silent = { error: () => {}, warn: () => {}, info: () => {}, debug: () => {} };
  display.line(await replayFile({ path, config: defaultEngineConfig(), speed: 0, log: silent }));
  return 0;
}

/** Runs the demo. `root` is the project's directory. Returns the exit status. */
export async function main(root: string): Promise<number> {
  // A reader that has seen enough (`| head`) is no failure.
  process.stdout.on("error", () => process.exit(0));
  const display = new Display(process.stdout);
  display.heading(
    `sluice: a guest behind a user-mode network (Node ${process.version}, ${process.platform} ${release()})`,
  );
  try {
    if (process.platform !== "linux")
      throw new CannotStart(`this is ${process.platform}; live guests need Linux`);
    await demonstrate(display, root);
    return 0;
  } catch (error) {
    if (!(error instanceof CannotStart)) {
      display.line(`failed: ${error instanceof Error ? error.message : String(error)}`);
      return 1;
    }
    display.line(`no live guest on this machine: ${error.message}`);
    return replayInstead(display, root);
  }
}
