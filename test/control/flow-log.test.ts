/** The flow log: what its lines say, that its schema takes them, and what becomes of readers that do not read. */
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Ajv2020 } from "ajv/dist/2020.js";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { z } from "zod";
import { entryOf as otherEntryOf } from "../../src/control/flow-log/entry.ts";
import { FlowLines } from "../../src/control/flow-log/flow-lines.ts";
import { startFlowLog } from "../../src/control/flow-log/flow-log.ts";
import { type FlowLogEntry, flowLogEntrySchema } from "../../src/control/flow-log/schema.ts";
import type { FlowEnded, FlowOpened } from "../../src/control/records.ts";
import { FLOW_END_REASONS } from "../../src/engine/metrics/flow-end.ts";
import { AT_MS, dropped, ended, HeldRecords, opened, question } from "./record-samples.ts";

const SCHEMA_FILE = fileURLToPath(new URL("../../docs/flow-log.schema.json", import.meta.url));
const NAMES: Readonly<Record<string, string>> = { "203.0.113.91": "packages.example.com" };
const context = {
  instance: "agent-7",
  namesOf: (address: string) => (NAMES[address] === undefined ? [] : [{ name: NAMES[address] }]),
};

type LoggedRecord = FlowOpened | FlowEnded | Parameters<typeof otherEntryOf>[0];

/** What a record's line says. */
function entryOf(record: LoggedRecord, { instance, namesOf }: typeof context): FlowLogEntry {
  const lines = new FlowLines({ instance, namesOf });
  if (record.type === "flow-opened") return JSON.parse(lines.opened(record));
  if (record.type === "flow-ended") return JSON.parse(lines.ended(record));
  return otherEntryOf(record, { instance, namesOf });
}

const isValid = new Ajv2020({ strict: true, validateFormats: false }).compile(
  JSON.parse(readFileSync(SCHEMA_FILE, "utf8")),
);

it("docs/flow-log.schema.json is what the lines are made by (npx vitest run test/control/flow-log.test.ts -u writes it)", async () => {
  const schema = z.toJSONSchema(flowLogEntrySchema);
  await expect(`${JSON.stringify(schema, null, 2)}\n`).toMatchFileSnapshot(SCHEMA_FILE);
});

describe("a line", () => {
  it("of a connection has the octets of both ends, names and the Community ID", () => {
    expect(entryOf(ended(), context)).toEqual({
      "@timestamp": "2026-12-01T09:30:12.512Z",
      ecs: { version: "9.0.0" },
      event: {
        kind: "event",
        category: ["network"],
        type: ["connection", "end", "allowed"],
        action: "flow-end",
        outcome: "success",
        start: "2026-12-01T09:30:10.101Z",
        end: "2026-12-01T09:30:12.512Z",
        duration: 2_411_000_000,
      },
      network: {
        transport: "tcp",
        type: "ipv4",
        iana_number: "6",
        community_id: expect.stringMatching(/^1:/),
        direction: "egress",
        bytes: 48_211,
        packets: 21,
      },
      source: { ip: "10.0.2.15", port: 48122, bytes: 1820, packets: 12 },
      destination: {
        ip: "203.0.113.91",
        port: 443,
        bytes: 46_391,
        packets: 9,
        domain: "packages.example.com",
      },
      sluice: {
        instance: "agent-7",
        flow: 1842,
        end: "closed",
        ended_by: "guest",
        connect_ms: 23,
        retransmits: 0,
      },
    });
  });

  it("of a client of a forward has the client as source, and what the guest saw of it", () => {
    const line = entryOf(
      ended({
        direction: "in",
        forward: 3,
        remote: { address: "10.0.2.2", port: 50_000 },
        target: { address: "127.0.0.1", port: 50_000 },
        guest: { address: "10.0.2.15", port: 22 },
      }),
      context,
    );
    expect(line.source).toEqual({
      ip: "127.0.0.1",
      port: 50_000,
      bytes: 46_391,
      packets: 9,
      nat: { ip: "10.0.2.2", port: 50_000 },
    });
    expect(line.destination).toEqual({ ip: "10.0.2.15", port: 22, bytes: 1820, packets: 12 });
    expect([line.network?.direction, line.sluice.forward]).toEqual(["ingress", 3]);
  });

  it("of a connection to the gateway says where it really went", () => {
    const target = { address: "127.0.0.1", port: 8080 };
    const line = entryOf(ended({ remote: { address: "10.0.2.2", port: 8080 }, target }), context);
    expect(line.destination).toMatchObject({ ip: "10.0.2.2", nat: { ip: "127.0.0.1", port: 8080 } });
  });

  it("of a connection that never was is a failure with the host's error", () => {
    const line = entryOf(ended({ reason: "refused", connectMs: null, hostError: "ECONNREFUSED" }), context);
    expect([line.event.outcome, line.error?.code]).toEqual(["failure", "ECONNREFUSED"]);
    const reset = entryOf(ended({ reason: "host-reset", hostError: "ECONNRESET" }), context);
    expect(reset.event.outcome).toBe("success");
  });

  it("is one line of JSON, whatever its instance and its names are called", () => {
    const instance = 'a"\\\n\u2028';
    const name = 'x\\034"<b>.example';
    const lines = new FlowLines({ instance, namesOf: () => [{ name }] });
    for (const line of [lines.opened(opened()), lines.ended(ended({ hostError: "errno 4000" }))]) {
      expect(line.indexOf("\n")).toBe(line.length - 1);
      const entry = flowLogEntrySchema.parse(JSON.parse(line));
      expect([entry.sluice.instance, entry.destination?.domain]).toEqual([instance, name]);
    }
  });

  it("has times to the millisecond, in whatever order they come", () => {
    const lines = new FlowLines(context);
    for (const ms of [0, 7, 999, 1000, 1012, 999, AT_MS, 8.64e15]) {
      const entry = JSON.parse(lines.ended(ended({ atMs: ms, startMs: AT_MS - ms })));
      expect([entry["@timestamp"], entry.event.end, entry.event.start]).toEqual([
        new Date(ms).toISOString(),
        new Date(ms).toISOString(),
        new Date(AT_MS - ms).toISOString(),
      ]);
    }
  });

  it("of every kind is what the schema says", () => {
    const ip6 = { address: "2001:db8::1", port: 443 };
    const lines = [
      entryOf(opened(), context),
      ...FLOW_END_REASONS.map((reason) => entryOf(ended({ reason }), context)),
      entryOf(ended({ protocol: "udp", connectMs: null, reason: "expired", endedBy: "sluice" }), context),
      entryOf(ended({ guest: { address: "fd71::15", port: 1 }, remote: ip6, target: ip6 }), context),
      entryOf(question(), context),
      entryOf(question({ rcode: null, addresses: [], answeredBy: "nobody", transport: "tcp" }), context),
      entryOf({ type: "link", atMs: AT_MS, up: true, name: "tap tap0" }, context),
      entryOf({ type: "forward", atMs: AT_MS, action: "added", id: 2, rule: "tcp::2222-:22" }, context),
      entryOf({ type: "records-lost", atMs: AT_MS, count: 7 }, context),
    ];
    for (const line of lines) {
      expect(flowLogEntrySchema.parse(line)).toEqual(line);
      expect([isValid(line), isValid.errors]).toEqual([true, null]);
    }
    expect(isValid({ ...lines[0], more: 1 })).toBe(false);
  });
});

describe("the log", () => {
  let directory = "";
  let path = "";
  let fd = -1;
  const records = new HeldRecords();
  const warnings: string[] = [];
  const start = (level: "ends" | "all" = "ends") =>
    startFlowLog({ ...context, records, fd, level, warn: (message) => warnings.push(message) });
  const lines = () =>
    readFileSync(path, "utf8")
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line));

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "sluice-flow-log-"));
    path = join(directory, "flows.ndjson");
    fd = openSync(path, "a");
    warnings.length = 0;
  });
  afterEach(() => {
    vi.useRealTimers();
    closeSync(fd);
    rmSync(directory, { recursive: true });
  });

  it("has one line for each end, in order, and beginnings only where they are wanted", async () => {
    const ends = start();
    records.tell(opened());
    for (let flow = 1; flow <= 1000; flow++) records.tell(ended({ flow }));
    await ends.close();
    expect(lines().map(({ sluice }) => sluice.flow)).toEqual(Array.from({ length: 1000 }, (_, i) => i + 1));
    const all = start("all");
    records.tell(opened());
    await all.close();
    expect(lines().at(-1)?.event.action).toBe("flow-start");
    expect(records.readers.size).toBe(0);
  });

  it("tells denials of one target together: the first at once, the others every ten seconds", async () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
    const log = start();
    for (let i = 0; i < 5; i++) records.tell(dropped({ times: 2 }));
    records.tell(dropped({ remote: { address: "169.254.169.254", port: 81 } }));
    records.tell(dropped({ reason: "icmp", protocol: null, guest: null, remote: null }));
    vi.advanceTimersByTime(10_000);
    records.tell(dropped());
    vi.advanceTimersByTime(20_001);
    records.tell(dropped());
    await log.close();
    expect(lines().map(({ destination, sluice }) => [destination.port, sluice.times])).toEqual([
      [80, 2],
      [81, 1],
      [80, 8],
      [80, 1],
      [80, 1],
    ]);
    expect(lines()[0].event).toMatchObject({ action: "flow-denied", reason: "destination-refused" });
    expect(lines().every((line) => isValid(line))).toBe(true);
  });

  it("tells what is left of denials at the end", async () => {
    const log = start();
    for (let i = 0; i < 3; i++) records.tell(dropped());
    await log.close();
    expect(lines().map(({ sluice }) => sluice.times)).toEqual([1, 2]);
  });

  it("says once that it can write no more", async () => {
    closeSync(fd);
    fd = openSync(path, "r");
    const log = start();
    records.tell(ended());
    records.tell(ended());
    await log.close();
    expect(warnings).toEqual([expect.stringContaining("the flow log ends here: EBADF")]);
  });
});
