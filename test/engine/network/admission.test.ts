import { describe, expect, it } from "vitest";
import { DROP_REASONS } from "../../../src/engine/metrics/drop-reasons.ts";
import { Admission, AdmissionJudge } from "../../../src/engine/network/admission.ts";
import { GO, reasonOf, ticketOf } from "../../../src/engine/network/destinations.ts";
import { formatIpv4 } from "../../../src/engine/wire/address-text.ts";
import { ip6 } from "../../support/frames6.ts";

const GUEST = 0x0a00020f;
const TIMEOUT_MS = 300_000;

function wish(remoteAddress: number, remotePort = 53, guestAddress = GUEST) {
  return { guestAddress, remoteAddress, remotePort };
}

function wish6(remote: string, remotePort: number, guest = "fd71:1ae0:d44d:2::15") {
  return { pair: Int32Array.from([...ip6(guest), ...ip6(remote)]), remotePort };
}

/** Asks of many flows twice, of which every third is refused: those that were answered wrongly. */
function wrongOf(ask: (n: number, round: number) => boolean): number[] {
  const wrong: number[] = [];
  for (let round = 0; round < 2; round++)
    for (let n = 1; n < 10_000; n++) if (ask(n, round) !== (n % 3 !== 0)) wrong.push(n);
  return wrong;
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
    expect(wrongOf((remote, round) => admission.udp(wish(remote), round))).toEqual([]);
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

  it("is remembered for as long as it stands, to the millisecond, over either family", () => {
    for (const ask of [
      (admission: Admission, now: number) => admission.udp(wish(1), now),
      (admission: Admission, now: number) => admission.udp6(wish6("2001:db8::1", 53), now),
    ]) {
      let asked = 0;
      const admission = new Admission(() => ++asked > 0, TIMEOUT_MS);
      const counts = [0, TIMEOUT_MS - 1, TIMEOUT_MS, 2 * TIMEOUT_MS - 1, 2 * TIMEOUT_MS].map((now) => {
        ask(admission, (now + 0x7ffffff0) | 0);
        return asked;
      });
      expect(counts).toEqual([1, 1, 2, 2, 3]);
    }
  });

  it("is asked for before anything is known, of whoever has address and port 0", () => {
    let asked = 0;
    const admission = new Admission(() => ++asked > 0, TIMEOUT_MS);
    expect(admission.udp(wish(0, 0, 0), 0)).toBe(true);
    expect(admission.udp6({ pair: new Int32Array(8), remotePort: 0 }, 0)).toBe(true);
    expect(asked).toBe(2);
  });

  it.each<[string, (n: number) => Parameters<typeof wish>]>([
    ["ports", (n) => [1, n]],
    ["guests", (n) => [1, 53, n]],
  ])("is right about any number of %s", (_name, of) => {
    let current = 0;
    const admission = new Admission(() => current % 3 !== 0, TIMEOUT_MS);
    const wrong = wrongOf((n, round) => {
      current = n;
      return admission.udp(wish(...of(n)), round);
    });
    expect(wrong).toEqual([]);
  });

  it.each([0, 1, 2, 3, 4, 5, 6, 7, 8])(
    "is right about any number of flows of IPv6 that differ in one word: %i",
    (word) => {
      let current = 0;
      const admission = new Admission(() => current % 3 !== 0, TIMEOUT_MS);
      const pair = new Int32Array(8).fill(7);
      const wrong = wrongOf((n, round) => {
        current = n;
        if (word < 8) pair[word] = n;
        return admission.udp6({ pair, remotePort: word < 8 ? 53 : n }, round);
      });
      expect(wrong).toEqual([]);
    },
  );

  it("is forgotten for no other flow of IPv6 but one that takes its place", () => {
    let asked = 0;
    const admission = new Admission(() => ++asked > 0, TIMEOUT_MS);
    const asksOf = (flow: { pair: Int32Array; remotePort: number }): boolean => {
      const before = asked;
      admission.udp6(flow, 0);
      return asked > before;
    };
    const first = wish6("2001:db8::1", 53);
    const other = { pair: new Int32Array(8).fill(7), remotePort: 53 };
    const wrong: number[] = [];
    asksOf(first);
    for (let n = 1; n < 50_000; n++) {
      other.pair[7] = n;
      asksOf(other);
      if (asksOf(first) && !asksOf(other)) wrong.push(n);
      asksOf(first);
    }
    expect(wrong).toEqual([]);
  });

  it("is asked for once by a flow of either family that is alone", () => {
    let asked = 0;
    const admission = new Admission(() => ++asked > 0, TIMEOUT_MS);
    for (let n = 0; n < 5; n++) {
      admission.udp(wish(1), 0);
      admission.udp6(wish6("2001:db8::1", 53), 0);
    }
    expect(asked).toBe(2);
  });

  it("spreads over its places: few of a thousand flows are forgotten", () => {
    for (const ask of [
      (admission: Admission, n: number) => admission.udp(wish(n), 0),
      (admission: Admission, n: number) => admission.udp(wish(1, n), 0),
      (admission: Admission, n: number) => admission.udp6(wish6("2001:db8::1", n), 0),
      (admission: Admission, n: number) => admission.udp6(wish6(`2001:db8::${n.toString(16)}`, 53), 0),
    ]) {
      let asked = 0;
      const admission = new Admission(() => ++asked > 0, TIMEOUT_MS);
      for (let n = 0; n < 1000; n++) ask(admission, n);
      asked = 0;
      for (let n = 0; n < 1000; n++) ask(admission, n);
      expect(asked).toBeLessThan(300);
    }
  });

  it("that comes later is not remembered: a datagram does not go meanwhile", () => {
    let says: boolean | number = 5;
    const admission = new Admission(() => says, TIMEOUT_MS);
    const ask = () => [admission.udp(wish(1), 0), admission.udp6(wish6("2001:db8::1", 53), 0)];
    expect(ask()).toEqual([false, false]);
    says = true;
    expect(ask()).toEqual([true, true]);
    says = false;
    expect(ask()).toEqual([true, true]);
  });
});

describe("the verdict", () => {
  const flow = wish(1);
  const flow6 = wish6("2001:db8::1", 53);
  const judge = (says: boolean | number) => new AdmissionJudge(new Admission(() => says, TIMEOUT_MS));

  it("is to go, or a refusal with its reason", () => {
    const allowing = judge(true);
    expect([
      allowing.tcp(flow),
      allowing.tcp6(flow6),
      allowing.udp(flow, 0),
      allowing.udp6(flow6, 0),
    ]).toEqual(new Array(4).fill(GO));
    const refusing = judge(false);
    const reasons = [
      refusing.tcp(flow),
      refusing.tcp6(flow6),
      refusing.udp(flow, 0),
      refusing.udp6(flow6, 0),
    ];
    expect(reasons.map((verdict) => DROP_REASONS[reasonOf(verdict)])).toEqual(
      new Array(4).fill("destination-refused"),
    );
  });

  it("has the ticket by which the word on a connection comes later, and none for a datagram", () => {
    for (const ticket of [0, 1, 4711]) {
      const waiting = judge(ticket);
      expect([waiting.tcp(flow), waiting.tcp6(flow6)].map(ticketOf)).toEqual([ticket, ticket]);
      const [datagram, datagram6] = [waiting.udp(flow, 0), waiting.udp6(flow6, 0)];
      for (const verdict of [datagram, datagram6])
        expect(DROP_REASONS[reasonOf(verdict)]).toBe("destination-refused");
    }
  });
});
