/** The list of cases. */
import type { EngineId } from "./engines.ts";
import { measureWatchedRoundTrip, measureWatchedStream } from "./measure-control.ts";
import { measureMany } from "./measure-many.ts";
import { measureNamed, underPolicy } from "./measure-policy.ts";
import { measureQemu } from "./measure-qemu.ts";
import { measureIdle, measureOpen, measureStart } from "./measure-scale.ts";
import { measureConnections, measureRoundTrip, measureStreams } from "./measure-tcp.ts";
import { measureDatagrams } from "./measure-udp.ts";
import type { Case, OwnGuestCase } from "./measurement.ts";

const TAP: readonly EngineId[] = ["sluice", "slirp4netns", "pasta"];
const SHARED: readonly EngineId[] = ["sluice-vhost", "passt-vhost"];
const STREAM: readonly EngineId[] = ["sluice-stream", "passt", "libslirp", "gvproxy", ...SHARED];
/** libslirp in QEMU carries no packet over 1500. */
const STREAM_LARGE: readonly EngineId[] = ["sluice-stream", "passt", "gvproxy", ...SHARED];

/** gvproxy has no IPv6. */
const withIpv6 = (engines: readonly EngineId[]): EngineId[] => engines.filter((id) => id !== "gvproxy");

/** The same over IPv6. */
function overIpv6(cases: readonly Case[]): Case[] {
  return cases.map((over) => ({
    ...over,
    id: `${over.id}-ipv6`,
    title: `${over.title}, IPv6`,
    family: 6,
    engines: withIpv6(over.engines),
  }));
}

const IDLE_FLOWS = 10_000;
/** Of an engine, in which its code runs for the first time. */
const FIRST_MS = 2000;

function throughput(): Case[] {
  const cases: Case[] = [];
  for (const mtu of [1500, 65520]) {
    for (const streams of [1, 4]) {
      for (const direction of ["up", "down"] as const) {
        const special: readonly EngineId[] = mtu === 1500 ? ["sluice-plain"] : ["pasta-tuned"];
        const stream = mtu === 1500 ? STREAM : STREAM_LARGE;
        cases.push({
          id: `tcp-${direction}-${mtu}-${streams}`,
          title: `TCP ${direction}, MTU ${mtu}, ${streams === 1 ? "one stream" : `${streams} streams`}`,
          unit: "Gbit/s",
          better: "higher",
          mtu,
          engines: ["loopback", ...TAP, ...special, ...stream],
          measure: (context) => measureStreams(context, direction, streams),
        });
      }
    }
  }
  return cases;
}

function datagrams(): Case[] {
  return (["up", "down"] as const).flatMap((direction): Case[] => [
    {
      id: `udp-${direction}-64`,
      title: `UDP ${direction}, 64 octets, at most 1 % lost`,
      unit: "packets/s",
      better: "higher",
      mtu: 1500,
      engines: ["loopback", ...TAP, ...STREAM],
      measure: (context) => measureDatagrams(context, direction, 64, "packets"),
    },
    {
      id: `udp-${direction}-1400`,
      title: `UDP ${direction}, 1400 octets, at most 1 % lost`,
      unit: "Mbit/s",
      better: "higher",
      mtu: 1500,
      engines: ["loopback", ...TAP, ...STREAM],
      measure: (context) => measureDatagrams(context, direction, 1400, "mbit"),
    },
  ]);
}

function open(count: number, held: boolean): Case {
  return {
    id: `open-${count}`,
    title: `${count} connections opened at once${held ? ", held" : ""} and checked`,
    unit: "ms",
    better: "lower",
    mtu: 1500,
    engines: ["loopback", ...TAP, ...STREAM],
    measure: (context) => measureOpen(context, count, held),
  };
}

function many(count: number): OwnGuestCase {
  return {
    id: `idle-engines-${count}`,
    title: `memory of one idle engine, of ${count} (PSS)`,
    unit: "MiB",
    better: "lower",
    mtu: 1500,
    engines: ["sluice-stream", "passt"],
    measureWithOwnGuest: (_, laboratory, engine) => measureMany(laboratory, engine, count),
  };
}

/** What it costs to see what it does, and to keep a policy: each beside the same engine without. */
function additions(): Case[] {
  const common = { mtu: 1500 } as const;
  const perSecond = { ...common, unit: "per second", better: "higher" } as const;
  const gbit = { ...common, unit: "Gbit/s", better: "higher" } as const;
  const us = { ...common, unit: "us", better: "lower" } as const;
  const policy: readonly EngineId[] = ["sluice", "sluice-policy"];
  const watched: readonly EngineId[] = ["sluice", "sluice-watched"];
  return [
    {
      ...{ ...perSecond, id: "log-connect", title: "connect, exchange, close, with a flow log" },
      ...{ engines: ["sluice", "sluice-log"], measure: (context) => measureConnections(context) },
    },
    {
      ...{ ...us, id: "watched-round-trip", title: "round trip beside 10,000 flows, watched" },
      ...{ engines: watched, measure: (context) => measureWatchedRoundTrip(context, IDLE_FLOWS) },
    },
    {
      ...{ ...gbit, id: "watched-tcp-down", title: "TCP down beside 10,000 flows, watched" },
      ...{ engines: watched, measure: (context) => measureWatchedStream(context, IDLE_FLOWS) },
    },
    ...(["up", "down"] as const).map(
      (direction): Case => ({
        ...{ ...gbit, id: `policy-tcp-${direction}`, title: `TCP ${direction} under a policy` },
        engines: policy,
        measure: (context) => underPolicy(context, (each) => measureStreams(each, direction, 1)),
      }),
    ),
    {
      ...{ ...us, id: "policy-round-trip", title: "round trip under a policy" },
      ...{ engines: policy, measure: (context) => underPolicy(context, measureRoundTrip) },
    },
    {
      ...{
        ...perSecond,
        id: "policy-connect",
        title: "connect, exchange, close, under a policy of addresses",
      },
      engines: policy,
      measure: (context) => underPolicy(context, (each) => measureConnections(each)),
    },
    {
      ...{
        ...perSecond,
        id: "policy-connect-named",
        title: "connect, show a name in TLS, close, under a policy",
      },
      ...{ engines: policy, measure: measureNamed },
    },
    {
      ...{ ...common, id: "policy-udp-up-64", title: "UDP up, 64 octets, under a policy", unit: "packets/s" },
      ...{ better: "higher", engines: policy },
      measure: (context) => underPolicy(context, (each) => measureDatagrams(each, "up", 64, "packets")),
    },
  ];
}

function qemu(): OwnGuestCase[] {
  return (["up", "down"] as const).map((direction) => ({
    id: `qemu-${direction}`,
    title: `QEMU guest without acceleration, TCP ${direction}`,
    unit: "Gbit/s",
    better: "higher",
    mtu: 1500,
    engines: ["qemu-sluice", "qemu-user"],
    measureWithOwnGuest: (options, laboratory, engine) => measureQemu(options, laboratory, engine, direction),
  }));
}

export const CASES: readonly (Case | OwnGuestCase)[] = [
  ...throughput(),
  {
    id: "round-trip",
    title: "round trip of one octet, median",
    unit: "us",
    better: "lower",
    mtu: 1500,
    engines: ["loopback", ...TAP, ...STREAM],
    measure: measureRoundTrip,
  },
  {
    id: "connect",
    title: "connect, exchange, close",
    unit: "per second",
    better: "higher",
    mtu: 1500,
    engines: ["loopback", ...TAP, ...STREAM],
    measure: (context) => measureConnections(context),
  },
  {
    id: "connect-first",
    title: "connect, exchange, close, in the first two seconds",
    unit: "per second",
    better: "higher",
    mtu: 1500,
    engines: ["loopback", ...TAP, ...STREAM],
    measure: (context) =>
      measureConnections({
        ...context,
        options: { ...context.options, warmupMs: 1, windowMs: FIRST_MS },
      }),
  },
  ...datagrams(),
  open(500, false),
  open(2000, true),
  open(5000, false),
  {
    id: "idle-10000",
    title: "resident memory of one idle TCP flow, of 10,000",
    unit: "octets",
    better: "lower",
    mtu: 1500,
    engines: TAP,
    measure: (context) => measureIdle(context, IDLE_FLOWS),
  },
  {
    id: "start",
    title: "start of the process to the first answered SYN",
    unit: "ms",
    better: "lower",
    mtu: 1500,
    engines: [...TAP, ...STREAM],
    measure: measureStart,
  },
  ...overIpv6([...throughput(), ...datagrams()]),
  ...additions(),
  many(20),
  many(100),
  ...qemu(),
];
