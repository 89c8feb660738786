import { describe, expect, it } from "vitest";
import { Admission } from "../../../src/engine/network/admission.ts";
import { formatIpv4 } from "../../../src/engine/wire/address-text.ts";
import { ip6 } from "../../support/frames6.ts";

const GUEST = 0x0a00020f;
const TIMEOUT_MS = 300_000;

function wish(remoteAddress: number, remotePort = 53) {
  return { guestAddress: GUEST, remoteAddress, remotePort };
}

describe("what an embedding program says of a flow", () => {
  it("is asked for once per UDP remote while a mapping would live, allowed or not", () => {
    const asked: string[] = [];
    const admission = new Admission((_protocol, _guest, remote) => {
      asked.push(remote);
      return remote !== "0.0.0.2";
    }, TIMEOUT_MS);
    for (let n = 0; n < 100; n++) {
      expect(admission.udp(wish(1), n)).toBe(true);
      expect(admission.udp(wish(2), n)).toBe(false);
    }
    expect(asked).toEqual(["0.0.0.1", "0.0.0.2"]);
    expect(admission.udp(wish(1), TIMEOUT_MS)).toBe(true);
    expect(asked).toEqual(["0.0.0.1", "0.0.0.2", "0.0.0.1"]);
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
    const allowed = new Set(
      Array.from({ length: 20_000 }, (_, n) => n)
        .filter((n) => n % 3 !== 0)
        .map(formatIpv4),
    );
    const admission = new Admission((_protocol, _guest, remote) => allowed.has(remote), TIMEOUT_MS);
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
    expect(asked[0]).toEqual(["tcp", "10.0.2.15", "0.0.0.7", 443]);
  });

  it("N44 is asked for with IPv6 addresses as RFC 5952 writes them, once per connection and remote", () => {
    const asked: unknown[][] = [];
    const admission = new Admission((...question) => asked.push(question) !== 3, TIMEOUT_MS);
    const wish6 = (remote: string, remotePort: number) => ({
      pair: Int32Array.from([...ip6("fd71:1ae0:d44d:2::15"), ...ip6(remote)]),
      remotePort,
    });
    expect(admission.tcp6(wish6("2001:db8::1", 443))).toBe(true);
    expect(asked.at(-1)).toEqual(["tcp", "fd71:1ae0:d44d:2::15", "2001:db8::1", 443]);
    for (let n = 0; n < 10; n++) {
      expect(admission.udp6(wish6("2001:db8::1", 53), n)).toBe(true);
      expect(admission.udp6(wish6("2001:db8::2", 53), n)).toBe(false);
    }
    expect(asked.slice(1)).toEqual([
      ["udp", "fd71:1ae0:d44d:2::15", "2001:db8::1", 53],
      ["udp", "fd71:1ae0:d44d:2::15", "2001:db8::2", 53],
    ]);
    admission.udp6(wish6("2001:db8::1", 53), TIMEOUT_MS);
    expect(asked).toHaveLength(4);
  });
});
