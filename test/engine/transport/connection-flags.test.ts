/** The yes-or-no state of a connection: every flag is one of its own. */
import { describe, expect, it } from "vitest";
import { ConnectionFlags } from "../../../src/engine/transport/tcp/connection-flags.ts";

const FLAGS = [
  "outbound",
  "finSent",
  "sendSmall",
  "finKnown",
  "guestFin",
  "guestFinTaken",
  "hostShutdown",
  "timestamps",
  "sack",
  "rttTiming",
  "hostReadable",
  "hostHangup",
  "hostUrgent",
  "hostFailed",
  "peerAsked",
  "hostWritable",
  "hostEof",
  "ackPending",
  "touched",
  "ackDelayed",
  "starved",
  "ready",
  "peeking",
  "peekEnds",
  "noPeeking",
] as const;

const setOf = (flags: ConnectionFlags): string[] => FLAGS.filter((flag) => flags[flag]);

describe("a connection", () => {
  it("begins as the guest's, with a host that takes octets", () => {
    const flags = new ConnectionFlags();
    expect(setOf(flags)).toEqual(["outbound", "hostWritable"]);
    expect(flags.check).toBe(0);
  });

  it.each(FLAGS)("has %s apart from all others", (flag) => {
    const flags = new ConnectionFlags();
    flags.bits = 0;
    expect(setOf(flags)).toEqual([]);
    flags[flag] = true;
    expect(setOf(flags)).toEqual([flag]);
    flags[flag] = true;
    expect(setOf(flags)).toEqual([flag]);
    flags[flag] = false;
    expect(setOf(flags)).toEqual([]);
    for (const other of FLAGS) flags[other] = true;
    flags[flag] = false;
    expect(setOf(flags)).toEqual(FLAGS.filter((other) => other !== flag));
    flags[flag] = false;
    flags[flag] = true;
    expect(setOf(flags)).toEqual([...FLAGS]);
    expect(flags.check).toBe(0);
  });

  it("has what its guest must show beside them", () => {
    const flags = new ConnectionFlags();
    for (const other of FLAGS) flags[other] = true;
    for (let what = 0; what <= 7; what++) {
      flags.check = what;
      expect(flags.check).toBe(what);
      expect(setOf(flags)).toEqual([...FLAGS]);
    }
    flags.check = 5;
    for (const other of FLAGS) flags[other] = false;
    expect(flags.check).toBe(5);
  });
});
