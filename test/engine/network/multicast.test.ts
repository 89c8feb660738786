/** Queries to groups: closed by default; where they are allowed they leave, and answers come from whoever they come. */
import { describe, expect, it } from "vitest";
import type { EngineConfig } from "../../../src/engine/config.ts";
import { asUdp, packet, udpPayload } from "../../hostile/guest-packets.ts";
import { AccountedExchange } from "../../support/accounted-exchange.ts";
import { ip } from "../../support/frames.ts";

const SSDP = ip("239.255.255.250");
const MDNS = ip("224.0.0.251");
const ANSWERER = ip("192.0.2.40");
const [UDP, TCP, IGMP] = [17, 6, 2];

class Guest extends AccountedExchange {
  constructor(config: Partial<EngineConfig> = { allowMulticast: true }) {
    super(config);
  }

  query(to: number, ttl: number, sourcePort = 5000): string {
    const payload = udpPayload({ to, sourcePort, destinationPort: 1900, payload: Buffer.from("who?") });
    return this.send(packet({ to, ttl, protocol: UDP, payload })).verdict;
  }

  /** An answer to the mapping that sent last; whether the guest heard it. */
  answered(from = ANSWERER, port = 49_152): boolean {
    const handle = this.network.datagrams.at(-1)?.handle ?? -1;
    this.network.arrive(handle, from, port, Buffer.from("me"));
    const [frame] = this.settle();
    if (frame === undefined) return false;
    const { source, sourcePort, destinationPort } = asUdp(frame);
    expect([source, sourcePort, destinationPort]).toEqual([from, port, 5000]);
    return true;
  }
}

describe("a datagram to a group", () => {
  it("is refused by default, and under --restrict whatever else is allowed", () => {
    expect(new Guest({}).query(SSDP, 4)).toBe("destination-refused");
    expect(new Guest({}).query(MDNS, 1)).toBe("ipv4-ttl-expired");
    const restricted = new Guest({ allowMulticast: true, restrict: true });
    expect(restricted.query(SSDP, 4)).toBe("destination-restricted");
  });

  it("leaves with the TTL the guest gave it, to a group beyond the local network at most with SSDP's", () => {
    const guest = new Guest();
    const sent = (to: number, ttl: number) => {
      expect(guest.query(to, ttl)).toBe("handled");
      expect(guest.network.datagrams.at(-1)).toMatchObject({ address: to, port: 1900 });
      return guest.network.groupTtls.at(-1)?.ttl;
    };
    expect([sent(SSDP, 1), sent(SSDP, 2), sent(SSDP, 4), sent(SSDP, 64)]).toEqual([1, 2, 4, 4]);
    expect([sent(MDNS, 255), sent(MDNS, 1), sent(ip("224.0.1.1"), 255)]).toEqual([255, 1, 4]);
    // One mapping, told only when something changes.
    expect(guest.core.usage().udp).toBe(1);
    const told = guest.network.groupTtls.length;
    sent(SSDP, 4);
    expect(guest.network.groupTtls).toHaveLength(told);
  });

  it("stays here with a TTL of 0", () => {
    const guest = new Guest();
    expect(guest.query(SSDP, 0)).toBe("ipv4-ttl-expired");
    expect(guest.core.usage().udp).toBe(0);
  });

  it("is answered by whoever hears it, for half a minute", () => {
    const guest = new Guest();
    guest.query(SSDP, 2);
    expect([guest.answered(), guest.answered(ip("192.0.2.41"), 1900)]).toEqual([true, true]);
    guest.pass(29_000);
    expect(guest.answered()).toBe(true);
    guest.pass(2000);
    expect(guest.answered()).toBe(false);
    expect(guest.core.counters.dropped("inbound-filtered")).toBe(1);
    guest.query(SSDP, 2);
    expect(guest.answered()).toBe(true);
  });

  it("opens no other mapping of the guest to strangers, nor a later one in its place", () => {
    const guest = new Guest({ allowMulticast: true, udpTimeoutMs: 120_000 });
    guest.query(SSDP, 2);
    guest.send(
      packet({
        to: ip("198.51.100.7"),
        protocol: UDP,
        payload: udpPayload({ to: ip("198.51.100.7"), sourcePort: 5001 }),
      }),
    );
    expect(guest.answered()).toBe(false);
    guest.pass(130_000);
    expect(guest.core.usage().udp).toBe(0);
    guest.send(
      packet({
        to: ip("198.51.100.7"),
        protocol: UDP,
        payload: udpPayload({ to: ip("198.51.100.7"), sourcePort: 5000 }),
      }),
    );
    expect(guest.answered()).toBe(false);
  });

  it("has no part in TCP, IGMP or broadcast", () => {
    const guest = new Guest();
    const [segment, report] = [Buffer.alloc(20), Buffer.from("1600e9f8efffffef", "hex")];
    segment.writeUInt32BE(0x1388_0050);
    segment.writeUInt16BE(0x5002, 12);
    expect(guest.send(packet({ to: SSDP, protocol: TCP, payload: segment }), true).verdict).toBe(
      "destination-refused",
    );
    expect(guest.send(packet({ to: SSDP, ttl: 1, protocol: IGMP, payload: report })).verdict).toBe("igmp");
    expect(guest.query(ip("255.255.255.255"), 64)).toBe("destination-refused");
    expect(guest.query(ip("10.0.2.255"), 64)).toBe("destination-no-service");
    expect(guest.query(ip("240.0.0.1"), 64)).toBe("destination-refused");
  });

  it("is in the flow table by its group", () => {
    const guest = new Guest();
    guest.query(SSDP, 2);
    expect(guest.core.flows(guest.now)).toMatchObject([{ remote: "239.255.255.250:1900" }]);
  });
});
