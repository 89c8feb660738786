import { describe, expect, it } from "vitest";
import { Counters, counter } from "../../src/engine/metrics/counters.ts";
import { dropReason } from "../../src/engine/metrics/drop-reasons.ts";
import { formatOctets } from "../../src/supervisor/octets.ts";
import { formatCounters, formatFlows, formatHeap, formatSummary } from "../../src/supervisor/report.ts";

describe("octets", () => {
  it.each([
    [0, "0 B"],
    [999, "999 B"],
    [1000, "1.0 kB"],
    [123_456, "123 kB"],
    [9_870_000_000, "9.9 GB"],
  ])("%d are %s", (octets, text) => {
    expect(formatOctets(octets)).toBe(text);
  });
});

describe("the flow table", () => {
  it("aligns its columns", () => {
    const row = {
      id: 1,
      forward: null,
      ageMs: 50,
      protocol: "tcp",
      direction: "out",
      state: "ESTABLISHED",
      guest: "10.0.2.15:40000",
      remote: "192.0.2.1:80",
      target: "192.0.2.1:80",
      octetsFromGuest: 120,
      octetsToGuest: 1_500_000,
      idleMs: 42,
    } as const;
    const lines = formatFlows([
      row,
      { ...row, protocol: "udp", state: "", guest: "10.0.2.15:5", idleMs: 61_000 },
    ]).split("\n");
    expect(lines[0]).toMatch(/^ {2}PROTO +DIR +STATE +GUEST/);
    expect(lines[1]).toContain("1.5 MB");
    const column = lines[0].indexOf("REMOTE");
    expect(lines[1].indexOf("192.0.2.1:80")).toBe(column);
    expect(lines[2].indexOf("192.0.2.1:80")).toBe(column);
  });

  it("says when it is empty", () => {
    expect(formatFlows([])).toBe("no flows\n");
  });
});

describe("counters", () => {
  const counters = new Counters();
  counters.add(counter("link-octets-from-guest"), 1500);
  counters.add(counter("tcp-opened"), 2);
  for (const name of ["icmp", "icmp", "igmp", "arp-malformed", "tcp-paws", "udp-malformed"] as const) {
    counters.drop(dropReason(name));
  }

  it("are listed by name", () => {
    expect(formatCounters(counters.snapshot())).toContain("tcp-opened");
    expect(formatCounters(counters.snapshot())).toMatch(/drops:\n(.*\n)* {2}icmp +2/);
    expect(formatCounters(new Counters().snapshot())).toBe("counters: none\ndrops: none\n");
  });

  it("make one line with the worst drops first", () => {
    expect(formatSummary(counters.snapshot())).toBe(
      "1.5 kB from the guest, 0 B to it, 2 TCP connections, 0 UDP mappings, 0 DNS queries, 6 dropped (icmp 2, arp-malformed 1, igmp 1, udp-malformed 1, ...)",
    );
  });
});

describe("the heap", () => {
  it("is told in octets", () => {
    expect(formatHeap({ used: 9_000_000, total: 12_000_000, external: 180_000_000 })).toBe(
      "heap:\n  used      9000000\n  total     12000000\n  external  180000000\n",
    );
  });
});
