/**
 * The packet path allocates nothing: half a million packets (after as many to warm up) through the real link code and
 * real sockets, TCP both ways with losses and UDP, may leave next to nothing on the heap. What little there is (the
 * compiler's notes on code that runs for the first time) does not grow with the packets.
 */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { builtOnce } from "../support/built-once.ts";

const LOAD = fileURLToPath(new URL("heap-load.mjs", import.meta.url));
const PACKETS = 1_000_000;
/** So large a nursery that 128 octets a packet would fit: what is allocated shows in the heap's size. */
const NURSERY_MIB = 64;

interface Result {
  readonly packets: number;
  readonly octetsPerPacket: number;
  readonly collections: number;
  readonly echoes: number;
  readonly answers: number;
  readonly counters: Readonly<Record<string, number>>;
  readonly drops: Readonly<Record<string, number>>;
}

async function run(family: 4 | 6): Promise<Result> {
  const child = spawn(
    process.execPath,
    [
      "--expose-gc",
      `--max-semi-space-size=${NURSERY_MIB}`,
      `--min-semi-space-size=${NURSERY_MIB}`,
      LOAD,
      String(PACKETS),
      String(family),
    ],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  let out = "";
  let problems = "";
  child.stdout.on("data", (text) => {
    out += text;
  });
  child.stderr.on("data", (text) => {
    problems += text;
  });
  const status = await new Promise((resolve) => child.once("close", resolve));
  expect([status, problems]).toEqual([0, ""]);
  return JSON.parse(out) as Result;
}

it.each([4, 6] as const)(
  "a million packets over IPv%d leave the heap as it was",
  async (family) => {
    // The built program, as users run it: what the tests' own transpiler makes is not what is measured.
    expect(await builtOnce()).toBe(0);
    const { packets, octetsPerPacket, collections, echoes, answers, counters, drops } = await run(family);
    expect(packets).toBeGreaterThan(PACKETS * 0.45);
    // All of it took place: losses in both directions, repaired; datagrams and their echoes.
    expect(counters["tcp-fast-retransmits"]).toBeGreaterThan(50);
    expect(counters["tcp-out-of-order"]).toBeGreaterThan(1000);
    expect(counters["tcp-octets-from-guest"]).toBeGreaterThan(50_000_000);
    expect(counters["tcp-octets-to-guest"]).toBeGreaterThan(50_000_000);
    expect(echoes).toBeGreaterThan(10_000);
    // Names too, some of them asked twice at a time.
    expect(answers).toBeGreaterThan(5000);
    expect(counters["dns-merged"]).toBeGreaterThan(2000);
    expect(drops).toEqual({});
    expect(collections).toBeLessThanOrEqual(1);
    expect(octetsPerPacket).toBeLessThan(1);
  },
  120_000,
);
