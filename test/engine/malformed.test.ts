/**
 * Packets that broke other people's parsers, through the whole stack. The 200 captures of tcpdump's test suite lie
 * outside the project and are read where they are; without them mutations of the recorded guest's frames do the work.
 *
 * Each frame goes in as it is, and made to look like the guest's, with and without a link that vouches for its
 * checksum. Everything is done twice, with different octets behind every frame: had any been read, something would
 * come out differently.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { CaptureFormatError, LINKTYPE_ETHERNET, readCapture } from "../../src/engine/wire/pcap.ts";
import { AccountedExchange } from "../support/accounted-exchange.ts";
import { recordedGuest } from "../support/recorded-guest.ts";
import { asFromGuest, wrapped } from "../support/rewritten-frame.ts";

const CAPTURES = fileURLToPath(new URL("../../../shared/pcaps/malformed", import.meta.url));
const FRAME_MAX = 65_535;

interface Case {
  readonly name: string;
  readonly octets: Uint8Array;
}

/** Every packet of every capture; what a damaged file holds up to its damage. */
function captured(): Case[] {
  const cases: Case[] = [];
  for (const file of readdirSync(CAPTURES).filter((name) => /\.pcap(ng)?$/.test(name))) {
    try {
      let n = 0;
      for (const { linkType, octets } of readCapture(new Uint8Array(readFileSync(join(CAPTURES, file))))) {
        const frame = linkType === LINKTYPE_ETHERNET ? octets : wrapped(octets);
        cases.push({ name: `${file} ${n++}`, octets: frame.subarray(0, FRAME_MAX) });
      }
    } catch (error) {
      if (!(error instanceof CaptureFormatError)) throw error;
    }
  }
  return cases;
}

/** Frames of the recorded guest with octets of their headers replaced, by a fixed generator. */
function mutated(): Case[] {
  let state = 1;
  const random = (below: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    return (state >>> 8) % below;
  };
  const frames = recordedGuest().filter(({ fromGuest }) => fromGuest);
  return Array.from({ length: 4000 }, (_, n) => {
    const octets = frames[random(frames.length)].octets.slice();
    for (let k = random(4) + 1; k > 0; k--)
      octets[12 + random(Math.min(octets.length - 12, 60))] = random(256);
    return { name: `mutation ${n}`, octets: octets.subarray(0, 14 + random(octets.length - 13)) };
  });
}

function cases(): Case[] {
  if (existsSync(CAPTURES)) return captured();
  process.stderr.write(`NOTE malformed.test.ts: no captures in ${CAPTURES}; mutations of our own instead\n`);
  return mutated();
}

const all = cases();

/** What becomes of every frame, in short, with `poison` behind each. */
function run(shape: (octets: Uint8Array) => Uint8Array, vouched: boolean, poison: number) {
  const exchange = new AccountedExchange({}, poison);
  const outcomes = all.map(({ name, octets }) => {
    const { verdict, replies } = exchange.send(shape(octets), vouched);
    exchange.now += 1;
    return `${name}: ${verdict} ${replies.map((reply) => Buffer.from(reply).toString("base64")).join(" ")}`;
  });
  return { exchange, outcomes };
}

describe("malformed packets through the whole stack", () => {
  const shapes: [string, (octets: Uint8Array) => Uint8Array, boolean][] = [
    ["as they are", (octets) => octets, false],
    ["as the guest's", asFromGuest, false],
    ["as the guest's, checksums vouched for", asFromGuest, true],
  ];
  for (const [name, shape, vouched] of shapes) {
    it(`${name}: counted once each, no octet read behind them, nothing kept`, () => {
      expect(all.length).toBeGreaterThan(300);
      const zeros = run(shape, vouched, 0);
      const ones = run(shape, vouched, 0xff);
      expect(ones.outcomes).toEqual(zeros.outcomes);
      expect(ones.exchange.core.counters.snapshot()).toEqual(zeros.exchange.core.counters.snapshot());
      zeros.exchange.expectRest();
    });
  }

  it("gets past the door: the frames made the guest's reach every layer", () => {
    const { exchange } = run(asFromGuest, true, 0);
    const { drops } = exchange.core.counters.snapshot();
    for (const reason of ["ipv4-malformed", "icmp", "tcp-no-connection"]) {
      expect([reason, drops[reason] ?? 0]).not.toEqual([reason, 0]);
    }
  });
});
