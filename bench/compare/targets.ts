/** The project's performance targets, each a comparison of figures from one run. */
import type { EngineId } from "./engines.ts";
import type { Results } from "./results.ts";
import { figure, runsOf } from "./results.ts";

export interface Target {
  readonly work: string;
  readonly wanted: string;
  /** What was measured, in words; "not measured" where a figure is missing. */
  readonly found: string;
  readonly met: boolean | undefined;
}

const TAP_PEERS: readonly EngineId[] = ["slirp4netns", "pasta"];
const STREAM_PEERS: readonly EngineId[] = ["passt", "libslirp", "gvproxy"];
const PEERS: readonly EngineId[] = [...TAP_PEERS, ...STREAM_PEERS];
const IDLE_FLOW_OCTETS = 1024;
const START_MS = 100;
const IDLE_RSS_MIB = 70;
/** With its supervisor, what both share with the others shared out. */
const IDLE_PSS_MIB = 16;
/** Two medians of the same thing differ by this much from run to run. */
const SAME = 1.05;
/** What IPv6 must reach of IPv4. */
const IPV6_SHARE = 0.95;

/** One side of a ratio: what it is called and its figure. */
interface Side {
  readonly name: string;
  readonly value: number;
}

class TargetTable {
  readonly rows: Target[] = [];
  readonly #results: Results;

  constructor(results: Results) {
    this.#results = results;
  }

  side(caseId: string, engine: EngineId, key?: string): Side {
    return { name: engine, value: figure(this.#results, caseId, engine, key) };
  }

  /** The best of several engines in a case. */
  best(caseId: string, engines: readonly EngineId[], better: "higher" | "lower"): Side {
    const sides = engines.map((engine) => this.side(caseId, engine)).filter((s) => Number.isFinite(s.value));
    sides.sort((a, b) => (better === "higher" ? b.value - a.value : a.value - b.value));
    return sides[0] ?? { name: "no peer", value: Number.NaN };
  }

  atLeast(work: string, factor: number, ours: Side, theirs: Side): void {
    this.#ratio(work, `at least ${factor} x ${theirs.name}`, ours, theirs, (ratio) => ratio >= factor);
  }

  atMost(work: string, factor: number, ours: Side, theirs: Side): void {
    this.#ratio(work, `at most ${factor} x ${theirs.name}`, ours, theirs, (ratio) => ratio <= factor);
  }

  below(work: string, limit: number, unit: string, value: number): void {
    const known = Number.isFinite(value);
    const found = known ? `${short(value)} ${unit}` : "not measured";
    this.rows.push({ work, wanted: `under ${limit} ${unit}`, found, met: known ? value < limit : undefined });
  }

  /** A case in which every run must have worked. */
  works(work: string, caseId: string, engine: EngineId): void {
    const result = runsOf(this.#results, caseId, engine);
    const known = result !== undefined;
    const found = known
      ? `${result.runs.length} of ${result.runs.length + result.failures.length} runs`
      : "not measured";
    this.rows.push({ work, wanted: "works", found, met: known ? result.failures.length === 0 : undefined });
  }

  #ratio(work: string, wanted: string, ours: Side, theirs: Side, test: (ratio: number) => boolean): void {
    const ratio = ours.value / theirs.value;
    const known = Number.isFinite(ratio);
    const found = known
      ? `${ratio.toFixed(2)} x (${short(ours.value)} against ${short(theirs.value)})`
      : "not measured";
    this.rows.push({ work, wanted, found, met: known ? test(ratio) : undefined });
  }
}

/** Three significant digits, without exponent. */
export function short(value: number): string {
  if (!Number.isFinite(value)) return "-";
  const magnitude = Math.abs(value);
  if (magnitude >= 1000) return Math.round(value).toLocaleString("en-GB");
  return magnitude >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

function throughputTargets(t: TargetTable): void {
  for (const streams of [1, 4]) {
    const up = `tcp-up-1500-${streams}`;
    const down = `tcp-down-1500-${streams}`;
    const what = `TAP, MTU 1500, ${streams === 1 ? "one stream" : "four streams"}`;
    t.atLeast(`${what}, up`, 12, t.side(up, "sluice"), t.side(up, "slirp4netns"));
    t.atLeast(`${what}, down`, 6, t.side(down, "sluice"), t.side(down, "slirp4netns"));
  }
  for (const direction of ["up", "down"]) {
    const id = `tcp-${direction}-1500-1`;
    t.atLeast(`TAP, MTU 1500, one stream, ${direction}`, 0.45, t.side(id, "sluice"), t.side(id, "loopback"));
  }
  for (const streams of [1, 4]) {
    const up = `tcp-up-65520-${streams}`;
    const down = `tcp-down-65520-${streams}`;
    const what = `TAP, MTU 65520, ${streams === 1 ? "one stream" : "four streams"}`;
    t.atLeast(`${what}, up`, 2, t.side(up, "sluice"), t.side(up, "slirp4netns"));
    t.atLeast(`${what}, up`, 1, t.side(up, "sluice"), t.side(up, "pasta-tuned"));
    t.atLeast(`${what}, down`, 1.3, t.side(down, "sluice"), t.side(down, "pasta"));
    t.atLeast(`${what}, down`, 1, t.side(down, "sluice"), t.side(down, "pasta-tuned"));
  }
  for (const [direction, factor] of [
    ["up", 3],
    ["down", 1.3],
  ] as const) {
    const one = `tcp-${direction}-1500-1`;
    const ours = t.side(one, "sluice-plain");
    t.atLeast(`TAP without offload, ${direction}`, factor, ours, t.side(one, "slirp4netns"));
    const four = t.side(`tcp-${direction}-1500-4`, "sluice-plain");
    t.atLeast(`TAP without offload, four streams against one, ${direction}`, 0.95, four, ours);
  }
  for (const [mtu, up, down] of [
    [1500, 3, 1.4],
    [65520, 2, 1.1],
  ] as const) {
    for (const [direction, factor] of [
      ["up", up],
      ["down", down],
    ] as const) {
      const id = `tcp-${direction}-${mtu}-1`;
      const theirs = t.best(id, STREAM_PEERS, "higher");
      t.atLeast(`stream socket, MTU ${mtu}, ${direction}`, factor, t.side(id, "sluice-stream"), theirs);
    }
  }
}

/** A card in shared memory, behind its bridge: against our stream socket, passt's shared memory, and our TAP without one. */
function sharedTargets(t: TargetTable): void {
  const against = [
    ["sluice-stream", 3, 3.5, 1.4, 1.3],
    ["passt-vhost", 4, 1.3, 2, 0.9],
    ["sluice", 0.85, 0.9, 0.9, 0.85],
  ] as const;
  for (const [peer, ...factors] of against) {
    for (const [i, direction] of (["up", "down", "up", "down"] as const).entries()) {
      const mtu = i < 2 ? 1500 : 65520;
      const id = `tcp-${direction}-${mtu}-1`;
      t.atLeast(
        `vhost-user, MTU ${mtu}, ${direction}`,
        factors[i],
        t.side(id, "sluice-vhost"),
        t.side(id, peer),
      );
    }
  }
  for (const [peer, up, down] of [
    ["sluice-stream", 0.3, 0.3],
    ["passt-vhost", 0.6, 0.9],
    ["sluice", 0.8, 0.8],
  ] as const) {
    for (const [direction, factor] of [
      ["up", up],
      ["down", down],
    ] as const) {
      const id = `tcp-${direction}-1500-1`;
      const ours = t.side(id, "sluice-vhost", "cpuSecondsPerGb");
      const what = `CPU per gigabyte, vhost-user, MTU 1500, ${direction}`;
      t.atMost(what, factor, ours, t.side(id, peer, "cpuSecondsPerGb"));
    }
  }
  for (const [peer, factor] of [
    ["sluice-stream", 1],
    ["passt-vhost", 1],
    ["sluice", 1.25],
  ] as const) {
    t.atMost(
      "round trip, vhost-user, p50",
      factor,
      t.side("round-trip", "sluice-vhost"),
      t.side("round-trip", peer),
    );
  }
}

function requestTargets(t: TargetTable): void {
  t.atMost("round trip, p50", 1, t.side("round-trip", "sluice"), t.side("round-trip", "slirp4netns"));
  t.atMost(
    "round trip, p99",
    1,
    t.side("round-trip", "sluice", "p99Us"),
    t.side("round-trip", "slirp4netns", "p99Us"),
  );
  t.atLeast("connect, exchange, close", 1.3, t.side("connect", "sluice"), t.best("connect", PEERS, "higher"));
  const first = "connect-first";
  t.atLeast("connects, first two seconds", 1, t.side(first, "sluice"), t.side(first, "pasta"));
  for (const size of [64, 1400]) {
    for (const direction of ["up", "down"]) {
      const id = `udp-${direction}-${size}`;
      const ours = t.side(id, "sluice");
      t.atLeast(`UDP, ${size} octets, ${direction}`, 2, ours, t.side(id, "slirp4netns"));
      t.atLeast(`UDP, ${size} octets, ${direction}`, 1, ours, t.best(id, PEERS, "higher"));
    }
  }
  t.atMost("500 connections", 1.1, t.side("open-500", "sluice"), t.best("open-500", PEERS, "lower"));
  t.works("5,000 connections", "open-5000", "sluice");
}

function costTargets(t: TargetTable): void {
  for (const [direction, factor] of [
    ["up", 0.12],
    ["down", 0.17],
  ] as const) {
    const id = `tcp-${direction}-1500-1`;
    const ours = t.side(id, "sluice", "cpuSecondsPerGb");
    const what = `CPU per gigabyte, TAP, MTU 1500, ${direction}`;
    t.atMost(what, factor, ours, t.side(id, "slirp4netns", "cpuSecondsPerGb"));
    t.atMost(what, 1, ours, t.side(id, "passt", "cpuSecondsPerGb"));
  }
  t.below("idle flow, of 10,000", IDLE_FLOW_OCTETS, "octets", t.side("idle-10000", "sluice").value);
  const withAll = { name: "10,000", value: t.side("idle-10000", "sluice", "p50AllUs").value };
  const withTen = { name: "with ten", value: t.side("idle-10000", "sluice", "p50TenUs").value };
  t.atMost("round trip beside 10,000 idle flows", SAME, withAll, withTen);
  t.below("start to first answered SYN", START_MS, "ms", t.side("start", "sluice").value);
  const idle = t.side("start", "sluice", "idleRssKb").value;
  t.below("idle RSS of the engine", IDLE_RSS_MIB, "MiB", idle / 1024);
  const many = "idle-engines-100";
  t.below("one idle engine of 100", IDLE_PSS_MIB, "MiB", t.side(many, "sluice-stream").value);
  t.below("100 idle engines", 1, "% of a core", t.side(many, "sluice-stream", "cpuPercent").value);
}

/** IPv6 is no slower than IPv4, but for what its header is longer by. */
function ipv6Targets(t: TargetTable): void {
  const tcp = [1500, 65520].flatMap((mtu) => [1, 4].map((streams) => `${mtu}-${streams}`));
  const cases = [...tcp.map((rest) => ["tcp", rest]), ["udp", "64"], ["udp", "1400"]];
  for (const [protocol, rest] of cases) {
    for (const direction of ["up", "down"]) {
      for (const engine of ["sluice", "sluice-stream", "sluice-vhost"] as const) {
        const id = `${protocol}-${direction}-${rest}`;
        const [six, four] = [t.side(`${id}-ipv6`, engine), t.side(id, engine)];
        t.atLeast(`${engine}, ${id}, IPv6`, IPV6_SHARE, six, { ...four, name: "IPv4" });
      }
    }
  }
}

/** What a log, watchers and a policy may take of an engine without. */
function additionTargets(t: TargetTable): void {
  const without = (id: string, key?: string): Side => ({ ...t.side(id, "sluice", key), name: "without" });
  const atLeast = (work: string, factor: number, id: string, engine: EngineId): void =>
    t.atLeast(work, factor, t.side(id, engine), without(id));
  const atMost = (work: string, factor: number, id: string, engine: EngineId, key?: string): void =>
    t.atMost(work, factor, t.side(id, engine, key), without(id, key));
  atLeast("connects with a flow log", 0.97, "log-connect", "sluice-log");
  atLeast("TCP down, watched", 0.97, "watched-tcp-down", "sluice-watched");
  atMost("round trip, p99, watched", 1.2, "watched-round-trip", "sluice-watched", "p99Us");
  for (const direction of ["up", "down"]) {
    atLeast(`TCP ${direction} under a policy`, 0.98, `policy-tcp-${direction}`, "sluice-policy");
  }
  atLeast("connects under a policy, by address", 0.95, "policy-connect", "sluice-policy");
  atLeast("connects under a policy, by name in TLS", 0.85, "policy-connect-named", "sluice-policy");
  atMost("round trip under a policy, p50", SAME, "policy-round-trip", "sluice-policy");
  atMost("round trip under a policy, p99", 1.2, "policy-round-trip", "sluice-policy", "p99Us");
  atLeast("UDP up, 64 octets, under a policy", 0.95, "policy-udp-up-64", "sluice-policy");
}

export function computeTargets(results: Results): Target[] {
  const table = new TargetTable(results);
  throughputTargets(table);
  sharedTargets(table);
  requestTargets(table);
  costTargets(table);
  ipv6Targets(table);
  additionTargets(table);
  for (const direction of ["up", "down"]) {
    const id = `qemu-${direction}`;
    const work = `QEMU TCG guest over stream, ${direction}`;
    table.atLeast(work, 1.2, table.side(id, "qemu-sluice"), table.side(id, "qemu-user"));
  }
  return table.rows;
}
