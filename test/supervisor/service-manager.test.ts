/** What a service manager hears, played by a datagram socket. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openServiceManager, takeServiceManager } from "../../src/supervisor/service-manager.ts";
import { NotifySocket } from "../support/notify-socket.ts";
import { until } from "../support/program.ts";

let directory: string;
let warnings: string[];
const log = {
  error: () => {},
  warn: (message: string) => void warnings.push(message),
  info: () => {},
  debug: () => {},
};

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "sluice-test-notify-"));
  warnings = [];
});
afterEach(() => rmSync(directory, { recursive: true }));

describe("a service manager", () => {
  it.for(["a path", "an abstract name"])("hears of the start and the end at %s", (kind) => {
    const path = join(directory, "notify");
    const socket = new NotifySocket(kind === "a path" ? path : `@${path}`);
    const manager = openServiceManager({ NOTIFY_SOCKET: socket.address }, log);
    manager?.ready("ready: all\nof it");
    manager?.ready("another", 4711);
    manager?.stopping("SIGTERM received");
    manager?.close();
    expect(socket.heard()).toEqual([
      "READY=1\nSTATUS=ready: all of it",
      "MAINPID=4711\nREADY=1\nSTATUS=another",
      "STOPPING=1\nSTATUS=SIGTERM received",
    ]);
    expect(warnings).toEqual([]);
    socket.close();
  });

  it("hears as often as it wants that all is well, as long as it is", async () => {
    const socket = new NotifySocket(join(directory, "notify"));
    const env = { NOTIFY_SOCKET: socket.address, WATCHDOG_USEC: "100000", WATCHDOG_PID: String(process.pid) };
    const manager = openServiceManager(env, log);
    let well = true;
    manager?.watch((answered) => void (well && answered()));
    const pings: string[] = [];
    await until(() => pings.push(...socket.heard()) >= 4, "four pings");
    expect(new Set(pings)).toEqual(new Set(["WATCHDOG=1"]));
    well = false;
    socket.heard();
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(socket.heard()).toEqual([]);
    manager?.close();
    socket.close();
  });

  it.for([{}, { WATCHDOG_USEC: "100000", WATCHDOG_PID: "1" }, { WATCHDOG_USEC: "soon" }])(
    "that wants no pings hears none: %j",
    (env) => {
      const socket = new NotifySocket(join(directory, "notify"));
      const manager = openServiceManager({ NOTIFY_SOCKET: socket.address, ...env }, log);
      manager?.watch((answered) => answered());
      expect(socket.heard()).toEqual([]);
      manager?.close();
      socket.close();
    },
  );

  it.for([
    ["/no/such/socket", /no such file/],
    ["vsock:2:1234", /neither a path nor/],
    [`/${"long".repeat(40)}`, /too long/],
  ] as const)("that cannot be told at %s is told of", ([address, why]) => {
    expect(openServiceManager({ NOTIFY_SOCKET: address }, log)).toBeUndefined();
    expect(warnings).toEqual([expect.stringMatching(why)]);
  });

  it("is this process's own: no command that it starts inherits the names", () => {
    const socket = new NotifySocket(join(directory, "notify"));
    Object.assign(process.env, {
      NOTIFY_SOCKET: socket.address,
      WATCHDOG_USEC: "30000000",
      WATCHDOG_PID: String(process.pid),
    });
    takeServiceManager(log)?.close();
    expect(Object.keys(process.env).filter((name) => /^(NOTIFY|WATCHDOG)_/.test(name))).toEqual([]);
    socket.close();
  });

  it("is nobody where there is none", () => {
    expect(openServiceManager({}, log)).toBeUndefined();
    expect(openServiceManager({ NOTIFY_SOCKET: "" }, log)).toBeUndefined();
    expect(warnings).toEqual([]);
  });
});
