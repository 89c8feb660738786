import { describe, expect, it } from "vitest";
import { Admission } from "../../../src/engine/network/admission.ts";

const GUEST = 0x0a00020f;
const TIMEOUT_MS = 300_000;

function wish(remoteAddress: number, remotePort = 53) {
  return { guestAddress: GUEST, remoteAddress, remotePort };
}

describe("what an embedding program says of a flow", () => {
  it("is asked for once per UDP remote while a mapping would live, allowed or not", () => {
    const asked: number[] = [];
    const admission = new Admission((_protocol, _guest, remote) => {
      asked.push(remote);
      return remote !== 2;
    }, TIMEOUT_MS);
    for (let n = 0; n < 100; n++) {
      expect(admission.udp(wish(1), n)).toBe(true);
      expect(admission.udp(wish(2), n)).toBe(false);
    }
    expect(asked).toEqual([1, 2]);
    expect(admission.udp(wish(1), TIMEOUT_MS)).toBe(true);
    expect(asked).toEqual([1, 2, 1]);
  });

  it("is asked for anew for another port, another guest, and across the wrap of the clock", () => {
    let asked = 0;
    const admission = new Admission(() => ++asked > 0, TIMEOUT_MS);
    const end = 0x7fffffff;
    admission.udp(wish(1), end);
    admission.udp(wish(1), (end + 10) | 0);
    expect(asked).toBe(1);
    admission.udp(wish(1, 54), end);
    admission.udp({ ...wish(1), guestAddress: GUEST + 1 }, end);
    expect(asked).toBe(3);
  });

  it("is right about any number of remotes, whatever it has forgotten", () => {
    const admission = new Admission((_protocol, _guest, remote) => remote % 3 !== 0, TIMEOUT_MS);
    for (let round = 0; round < 2; round++) {
      for (let remote = 1; remote < 20_000; remote++) {
        expect(admission.udp(wish(remote), round)).toBe(remote % 3 !== 0);
      }
    }
  });

  it("is asked for with every TCP connection", () => {
    const asked: unknown[][] = [];
    const admission = new Admission((...question) => asked.push(question) > 1, TIMEOUT_MS);
    expect(admission.tcp(wish(7, 443))).toBe(false);
    expect(admission.tcp(wish(7, 443))).toBe(true);
    expect(asked[0]).toEqual(["tcp", GUEST, 7, 443]);
  });
});
