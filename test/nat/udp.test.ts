/** RFC 4787, requirement by requirement (docs/nat.md has the table), and what RFC 7857 changed of it. */
import { describe, expect, it } from "vitest";
import { EADDRINUSE, EMFILE, type HostNetwork } from "../../src/engine/boundary.ts";
import type { EngineConfig } from "../../src/engine/config.ts";
import { defaultEngineConfig } from "../../src/engine/config.ts";
import { MTU_DEFAULT, UDP_MAPPINGS_MAX } from "../../src/engine/limits.ts";
import { asIpv4, asUdp, packet, udp, udpPayload } from "../hostile/guest-packets.ts";
import { AccountedExchange } from "../support/accounted-exchange.ts";
import { ip } from "../support/frames.ts";

const ONE = ip("198.51.100.1");
const TWO = ip("198.51.100.2");
const MINUTE_MS = 60_000;
const UDP = 17;

/** An exchange, with words for what matters here. */
class Nat extends AccountedExchange {
  /** The guest sends from `port`; returns the handle of the host socket it went out by. */
  out(port: number, to: number, destinationPort: number, text = "out"): number {
    this.send(udp({ sourcePort: port, to, destinationPort, payload: Buffer.from(text) }));
    return this.network.datagrams.at(-1)?.handle ?? -1;
  }

  /** A datagram arrives from outside; what the guest sees of it, "" when nothing. */
  in(handle: number, from: number, fromPort: number, text = "in"): string {
    this.network.arrive(handle, from, fromPort, Buffer.from(text));
    return this.settle()
      .map(asUdp)
      .map(({ source, sourcePort, destinationPort }) => `${source >>> 0}:${sourcePort} to ${destinationPort}`)
      .join(", ");
  }
}

const seen = (from: number, fromPort: number, port: number): string => `${from >>> 0}:${fromPort} to ${port}`;

describe("RFC 4787", () => {
  it("REQ-1: endpoint-independent mapping: one host socket per guest endpoint, wherever it sends", () => {
    const nat = new Nat();
    const handle = nat.out(4000, ONE, 1);
    expect([nat.out(4000, ONE, 2), nat.out(4000, TWO, 1), nat.out(4000, TWO, 65_535)]).toEqual([
      handle,
      handle,
      handle,
    ]);
    expect(nat.out(4001, ONE, 1)).not.toBe(handle);
    expect(nat.core.usage().udp).toBe(2);
  });

  it("REQ-1: the other mappings, where they are chosen", () => {
    const byAddress = new Nat({ udpMapping: "address-dependent" });
    const first = byAddress.out(4000, ONE, 1);
    expect(byAddress.out(4000, ONE, 2)).toBe(first);
    expect(byAddress.out(4000, TWO, 1)).not.toBe(first);
    const byPort = new Nat({ udpMapping: "address-and-port-dependent" });
    const one = byPort.out(4000, ONE, 1);
    expect(byPort.out(4000, ONE, 2)).not.toBe(one);
    expect(byPort.out(4000, ONE, 1)).toBe(one);
  });

  it("REQ-3: no port overloading: two guest endpoints never share a host socket", () => {
    const nat = new Nat();
    const handles = Array.from({ length: 200 }, (_, i) => nat.out(5000 + i, ONE, 7));
    expect(new Set(handles).size).toBe(200);
  });

  it("REQ-5: the mapping lives five minutes by default, and as long as it was told", () => {
    for (const config of [{}, { udpTimeoutMs: 2 * MINUTE_MS }, { udpTimeoutMs: 60 * MINUTE_MS }]) {
      const nat = new Nat(config);
      const { udpTimeoutMs } = { ...defaultEngineConfig(), ...config };
      const handle = nat.out(4000, ONE, 1);
      nat.pass(udpTimeoutMs - 1000);
      expect(nat.in(handle, ONE, 1)).toBe(seen(ONE, 1, 4000));
      nat.pass(3000);
      expect(nat.core.usage().udp).toBe(0);
    }
    expect(defaultEngineConfig().udpTimeoutMs).toBe(5 * MINUTE_MS);
  });

  it("REQ-6: what the guest sends refreshes the mapping; what comes in does not, so no stranger keeps it open", () => {
    const nat = new Nat();
    const handle = nat.out(4000, ONE, 1);
    for (let i = 0; i < 4; i++) {
      nat.pass(4 * MINUTE_MS);
      expect(nat.out(4000, TWO, 9)).toBe(handle);
    }
    for (let i = 0; i < 4; i++) {
      nat.pass(MINUTE_MS);
      expect(nat.in(handle, ONE, 1)).toBe(seen(ONE, 1, 4000));
    }
    nat.pass(MINUTE_MS + 3000);
    expect(nat.core.usage().udp).toBe(0);
  });

  it("REQ-8: address-dependent filtering by default: any port of a host the guest has sent to, and nobody else", () => {
    const nat = new Nat();
    const handle = nat.out(4000, ONE, 1);
    expect(nat.in(handle, ONE, 1)).toBe(seen(ONE, 1, 4000));
    expect(nat.in(handle, ONE, 999)).toBe(seen(ONE, 999, 4000));
    expect(nat.in(handle, TWO, 1)).toBe("");
    expect(nat.core.counters.dropped("inbound-filtered")).toBe(1);
    nat.out(4000, TWO, 5);
    expect(nat.in(handle, TWO, 1)).toBe(seen(TWO, 1, 4000));
  });

  it("REQ-8: the other filterings, where they are chosen", () => {
    const open = new Nat({ udpFiltering: "endpoint-independent" });
    expect(open.in(open.out(4000, ONE, 1), TWO, 77)).toBe(seen(TWO, 77, 4000));
    const strict = new Nat({ udpFiltering: "address-and-port-dependent" });
    const handle = strict.out(4000, ONE, 1);
    expect(strict.in(handle, ONE, 1)).toBe(seen(ONE, 1, 4000));
    expect(strict.in(handle, ONE, 2)).toBe("");
  });

  it("REQ-10: no ALG: addresses and ports in a payload stay as they are, on the ports ALGs listen to", () => {
    const nat = new Nat();
    const text = "Via: SIP/2.0/UDP 10.0.2.15:5060;branch=z9hG4bK c=IN IP4 10.0.2.15 PORT 10,0,2,15,19,137";
    for (const port of [21, 69, 554, 1720, 5060, 5061]) {
      nat.out(5060, ONE, port, text);
      expect(Buffer.from(nat.network.datagrams.at(-1)?.octets ?? []).toString()).toBe(text);
    }
  });

  it("REQ-11: deterministic: the same under pressure, and after every other mapping has gone", () => {
    const nat = new Nat();
    const handle = nat.out(4000, ONE, 1);
    nat.in(handle, ONE, 1);
    for (let port = 10_000; nat.core.usage().udp < UDP_MAPPINGS_MAX; port++) nat.out(port, ONE, 1);
    // One that never had an answer gives way, the oldest first; one that had stays.
    for (let port = 1000; port < 1100; port++) nat.out(port, ONE, 1);
    expect(nat.core.counters.value("udp-mappings-evicted")).toBe(100);
    expect(nat.core.counters.dropped("udp-mappings-full")).toBe(0);
    expect(nat.core.usage().udp).toBe(UDP_MAPPINGS_MAX);
    expect(nat.out(4000, TWO, 2)).toBe(handle);
    expect(nat.in(handle, TWO, 3)).toBe(seen(TWO, 3, 4000));
    nat.pass(4 * MINUTE_MS);
    nat.out(4000, TWO, 2);
    nat.pass(2 * MINUTE_MS);
    expect(nat.core.usage().udp).toBe(1);
    expect(nat.out(4000, ONE, 1)).toBe(handle);
    expect(nat.in(handle, ONE, 4)).toBe(seen(ONE, 4, 4000));
  });

  it("REQ-11: when all mappings are in use, a new one is refused for two minutes (REQ-5)", () => {
    const nat = new Nat();
    for (let port = 10_000; nat.core.usage().udp < UDP_MAPPINGS_MAX; port++) {
      nat.in(nat.out(port, ONE, 1), ONE, 1);
    }
    nat.pass(2 * MINUTE_MS - 1000);
    const opened = nat.core.counters.value("udp-mappings-opened");
    nat.out(9999, ONE, 1);
    expect(nat.core.counters.dropped("udp-mappings-full")).toBe(1);
    expect(nat.core.counters.value("udp-mappings-opened")).toBe(opened);
    nat.pass(1000);
    nat.out(9999, ONE, 1);
    expect(nat.core.counters.value("udp-mappings-opened")).toBe(opened + 1);
    expect(nat.core.usage().udp).toBe(UDP_MAPPINGS_MAX);
  });

  it("REQ-11: a crawler finds a mapping for each of 20,000 conversations a minute", () => {
    const nat = new Nat();
    const [perSecond, seconds] = [334, 4 * 60];
    for (let n = 0; n < perSecond * seconds; n++) {
      if (n % perSecond === 0) nat.pass(1000);
      const port = 1024 + (n % 64_000);
      expect(nat.in(nat.out(port, ONE, 443), ONE, 443)).toBe(seen(ONE, 443, port));
    }
    expect(nat.core.counters.dropped("udp-mappings-full")).toBe(0);
    expect(nat.core.usage().udp).toBeGreaterThan(40_000);
  });

  it.each([
    ["descriptors", EMFILE],
    ["ports", EADDRINUSE],
  ])("REQ-11: when the host has no more %s, what was idle for a minute gives way", (_, shortage) => {
    const nat = new Nat();
    const host: HostNetwork = nat.network;
    const [open, close] = [host.udpOpen.bind(host), host.udpClose.bind(host)];
    let left = 100;
    host.udpOpen = (...asked) => {
      if (left === 0) return shortage;
      left--;
      return open(...asked);
    };
    host.udpClose = (handle) => {
      left++;
      close(handle);
    };
    for (let port = 2000; port < 2100; port++) nat.in(nat.out(port, ONE, 1), ONE, 1);
    nat.out(3000, ONE, 1);
    nat.pass(59_000);
    nat.out(3000, ONE, 1);
    expect(nat.core.counters.dropped("udp-mappings-full")).toBe(2);
    // The one that was idle for longest, but for the first, which the guest has used since.
    const first = nat.out(2000, ONE, 1);
    nat.pass(1000);
    const handle = nat.out(3000, ONE, 1);
    expect(nat.in(handle, ONE, 1)).toBe(seen(ONE, 1, 3000));
    expect(nat.core.counters.value("udp-mappings-evicted")).toBe(1);
    expect(nat.out(2000, ONE, 1)).toBe(first);
    expect(nat.core.usage().udp).toBe(100);
  });

  it("REQ-11: the bound is the one that was asked for", () => {
    const nat = new Nat({ maxUdpMappings: 3 });
    for (let port = 2000; port < 2005; port++) nat.in(nat.out(port, ONE, 1), ONE, 1);
    expect(nat.core.usage().udp).toBe(3);
    expect(nat.core.counters.dropped("udp-mappings-full")).toBe(2);
  });

  it("REQ-5a: a name server's answer is the last thing its mapping is for, when all are taken", () => {
    const nat = new Nat();
    for (let port = 10_000; nat.core.usage().udp < UDP_MAPPINGS_MAX; port++) {
      nat.in(nat.out(port, ONE, 53), ONE, 53);
    }
    nat.out(9999, ONE, 53);
    expect(nat.core.counters.dropped("udp-mappings-full")).toBe(1);
    nat.pass(10_000);
    nat.out(9999, ONE, 53);
    expect(nat.core.counters.value("udp-mappings-evicted")).toBe(1);
  });

  it("REQ-12: an ICMP message ends no mapping: not the guest's own, nor an error the socket reports", () => {
    const nat = new Nat();
    const handle = nat.out(4000, ONE, 1);
    const unreachable = Buffer.concat([Buffer.from([3, 3, 0, 0, 0, 0, 0, 0]), udp({}).subarray(14)]);
    expect(nat.send(packet({ to: ONE, protocol: 1, payload: unreachable })).verdict).toBe("icmp");
    nat.network.failNextReceive(handle);
    nat.settle();
    expect(nat.out(4000, ONE, 1)).toBe(handle);
    expect(nat.in(handle, ONE, 1)).toBe(seen(ONE, 1, 4000));
  });

  it("REQ-13: a datagram larger than the link arrives in fragments, in order", () => {
    const nat = new Nat();
    const handle = nat.out(4000, ONE, 1);
    nat.network.arrive(handle, ONE, 1, Buffer.alloc(4000, 7));
    const fragments = nat.settle().map(asIpv4);
    expect(fragments.map(({ fragmentOffset }) => fragmentOffset)).toEqual([0, 1480, 2960]);
    expect(fragments.map(({ moreFragments }) => moreFragments)).toEqual([true, true, false]);
    for (const { payload } of fragments) expect(payload.length + 20).toBeLessThanOrEqual(MTU_DEFAULT);
    expect(new Set(fragments.map(({ id }) => id)).size).toBe(1);
    const whole = Buffer.concat(fragments.map(({ payload }) => payload));
    expect(whole.subarray(8)).toEqual(Buffer.alloc(4000, 7));
  });

  it("REQ-14: fragments of the guest are taken in order and out of order", () => {
    const nat = new Nat();
    const payload = udpPayload({ to: ONE, payload: Buffer.alloc(3000, 5) });
    const pieces = [0, 1480, 2960].map((from) => ({ from, to: Math.min(from + 1480, payload.length) }));
    for (const [id, order] of [
      [1, [0, 1, 2]],
      [2, [2, 1, 0]],
      [3, [1, 2, 0]],
    ] as const) {
      for (const i of order) {
        const { from, to } = pieces[i];
        const moreFragments = to < payload.length;
        nat.send(
          packet({
            to: ONE,
            protocol: UDP,
            id,
            fragmentOffset: from,
            moreFragments,
            payload: payload.subarray(from, to),
          }),
        );
      }
      expect(nat.network.datagrams).toHaveLength(id);
      expect(nat.network.datagrams.at(-1)?.octets).toEqual(new Uint8Array(3000).fill(5));
    }
  });
});

describe("RFC 7857", () => {
  it("section 7: with endpoint-independent filtering an inbound datagram does not refresh the mapping either", () => {
    const nat = new Nat({ udpFiltering: "endpoint-independent" });
    const handle = nat.out(4000, ONE, 1);
    for (let i = 0; i < 4; i++) {
      nat.pass(MINUTE_MS);
      expect(nat.in(handle, TWO, 1)).toBe(seen(TWO, 1, 4000));
    }
    nat.pass(MINUTE_MS + 3000);
    expect(nat.core.usage().udp).toBe(0);
  });

  it("section 7.1: an error the guest answers with does not refresh the mapping", () => {
    const nat = new Nat();
    nat.out(4000, ONE, 1);
    const unreachable = Buffer.concat([Buffer.from([3, 3, 0, 0, 0, 0, 0, 0]), udp({}).subarray(14)]);
    for (let i = 0; i < 6; i++) {
      nat.pass(MINUTE_MS);
      nat.send(packet({ to: ONE, protocol: 1, payload: unreachable }));
    }
    expect(nat.core.usage().udp).toBe(0);
  });

  it("section 5: mappings of UDP and TCP are independent: the same guest port, a socket each", () => {
    const config: Partial<EngineConfig> = {};
    const nat = new Nat(config);
    const handle = nat.out(40_000, ONE, 80);
    nat.send(
      packet({
        to: ONE,
        protocol: 6,
        payload: Buffer.from("9c400050000003e8000000005002ffff00000000", "hex"),
      }),
      true,
    );
    expect(nat.network.sockets).toHaveLength(1);
    expect(nat.core.usage()).toMatchObject({ tcp: 1, udp: 1 });
    expect(nat.in(handle, ONE, 80)).toBe(seen(ONE, 80, 40_000));
  });
});
