/**
 * The same frames of IPv6 into our engine, libslirp and passt, and what each makes of them, in one table. Where we differ
 * from either, the row says why, by the line of the RFC; a stack that starts to behave otherwise breaks its row.
 *
 * The peers are Debian 12's: libslirp 4.7.0 (QEMU 7.2), passt of 2023. All have the same prefix and addresses. What they do
 * about the host's services is not asked: passt lives in a network of its own.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { formatIpv6 } from "../../src/engine/wire/address-text.ts";
import { frame6, GUEST6 } from "../support/frames6.ts";
import { needs } from "../support/requirements.ts";
import { CASES, MAC, ns } from "./cases6.ts";
import { PATIENCE_MS, SILENCE_MS, STACK_COMMANDS, Stack, type StackName } from "./stacks.ts";

const NAMES: readonly StackName[] = ["sluice", "libslirp", "passt"];
const ROUTER_MAC = [0x52, 0x55, 10, 0, 2, 2];

/** One answer in a few words; what a stack asks for itself (who is the guest?) is none. */
function describe1(frame: Buffer): string {
  if (frame.readUInt16BE(12) !== 0x86dd) return "";
  const at = (offset: number): string =>
    formatIpv6([0, 4, 8, 12].map((word) => frame.readInt32BE(offset + word)));
  const to = at(38) === "ff02::1" ? " to all" : "";
  switch (frame[20]) {
    case 58:
      if (frame[54] === 136) return `NA ${flagsOf(frame[58])}${to}`;
      if (frame[54] === 134) return `RA${to}`;
      return frame[54] === 135 ? "" : `ICMPv6 ${frame[54]}/${frame[55]}`;
    case 17:
      return frame.readUInt16BE(54) === 547 ? `DHCPv6 ${frame[62] === 2 ? "ADVERTISE" : "REPLY"}` : "UDP";
    case 6:
      return (frame[67] & 4) !== 0 ? "RST" : "TCP";
    default:
      return `protocol ${frame[20]}`;
  }
}

function flagsOf(octet: number): string {
  return ["R", "S", "O"].filter((_, i) => (octet & (0x80 >> i)) !== 0).join("");
}

let directory = "";
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "sluice-oracle6-"));
});
afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
});

async function outcome(stack: Stack, packet: Uint8Array, answered: boolean): Promise<string> {
  const replies = await stack.exchange(frame6(packet, ROUTER_MAC, MAC), answered ? PATIENCE_MS : SILENCE_MS);
  if (stack.gone) return "dies";
  return replies.map(describe1).filter(Boolean).join(", ") || "nothing";
}

describe("side by side, IPv6", () => {
  for (const name of NAMES) {
    it(`${name} answers as the table says`, async (context) => {
      needs(context, { commands: [...STACK_COMMANDS[name], ...(name === "passt" ? ["unshare", "ip"] : [])] });
      const stack = await Stack.start(name, directory, 6);
      try {
        // What a stack says of itself at the start is no answer.
        await stack.exchange(frame6(ns(GUEST6, { source: "::", options: [] }), ROUTER_MAC, MAC), 1000);
        const differences: string[] = [];
        for (const row of CASES) {
          const found = await outcome(stack, row.packet, row[name] !== "nothing");
          if (!row[name].split(" or ").includes(found))
            differences.push(`${row.name}: ${row[name]}, but ${found}`);
        }
        expect(differences).toEqual([]);
      } finally {
        await stack.close();
      }
    }, 60_000);
  }

  it("gives a reason, with a number of an RFC, for every row in which we stand alone or differ", () => {
    for (const { sluice, libslirp, passt, why, name } of CASES) {
      if (sluice === libslirp && sluice === passt) continue;
      expect([name, why]).toEqual([name, expect.stringMatching(/RFC \d+/)]);
    }
  });
});
