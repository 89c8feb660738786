/** Which addresses a guest may have without a lease, what becomes of others, and where forwards go then. */
import { describe, expect, it } from "vitest";
import { EAGAIN, type HostNetwork } from "../../../src/engine/boundary.ts";
import type { EngineConfig, Forward } from "../../../src/engine/config.ts";
import { asIpv4, asTcp, asUdp, udp } from "../../hostile/guest-packets.ts";
import { AccountedExchange } from "../../support/accounted-exchange.ts";
import { ip } from "../../support/frames.ts";
import { openForward } from "../../support/open-forward.ts";

const REMOTE = ip("198.51.100.7");
const STATIC = ip("10.0.2.100");
const OTHER = ip("10.0.2.101");
const ANY = { anyGuestAddress: true } as const;

function verdict(config: Partial<EngineConfig>, from: string): string {
  return new AccountedExchange(config).send(udp({ from: ip(from) })).verdict;
}

describe("a guest with an address of its own", () => {
  it("is dropped, and told of once with the option that would admit it", () => {
    const exchange = new AccountedExchange();
    for (let i = 0; i < 100; i++) {
      expect(exchange.send(udp({ from: STATIC + i })).verdict).toBe("ipv4-spoofed-source");
    }
    expect(exchange.warnings).toEqual([
      "packets from 10.0.2.100 are dropped: the guest's address is 10.0.2.15, and 10.0.2.100 is not leased to it; " +
        "--guest-addr 10.0.2.100 would admit it, and --guest-addr any all of the subnet's",
    ]);
  });

  it("is told of once, too, when it is not of the subnet", () => {
    const exchange = new AccountedExchange();
    for (const from of ["192.168.1.5", "192.168.1.6", "8.8.8.8"]) exchange.send(udp({ from: ip(from) }));
    expect(exchange.warnings).toEqual([
      "packets from 192.168.1.5 are dropped: it is outside of the guest's subnet 10.0.2.0/24, which --net would change",
    ]);
  });

  it("is not told of where nobody chose the address", () => {
    const exchange = new AccountedExchange();
    for (const from of [
      "169.254.3.4",
      "0.0.0.0",
      "127.0.0.1",
      "224.0.0.1",
      "255.255.255.255",
      "10.0.2.0",
      "10.0.2.2",
      "10.0.2.3",
      "10.0.2.255",
    ]) {
      expect(exchange.send(udp({ from: ip(from) })).verdict).toBe("ipv4-spoofed-source");
    }
    expect(exchange.warnings).toEqual([]);
  });

  it("is served where it is listed, and leases come and go beside it", () => {
    const config = { otherGuestAddresses: [STATIC] };
    expect(verdict(config, "10.0.2.100")).toBe("handled");
    expect(verdict(config, "10.0.2.15")).toBe("handled");
    expect(verdict(config, "10.0.2.101")).toBe("ipv4-spoofed-source");
  });

  it("is served anywhere in the subnet with any, but never as us, nor as the network or everybody", () => {
    for (const from of ["10.0.2.1", "10.0.2.15", "10.0.2.100", "10.0.2.254"])
      expect([from, verdict(ANY, from)]).toEqual([from, "handled"]);
    const config = { ...ANY, guestForwards: [service("10.0.2.50")] };
    for (const from of ["10.0.2.0", "10.0.2.255", "10.0.2.2", "10.0.2.3", "10.0.2.50", "10.0.3.1", "0.0.0.0"])
      expect([from, verdict(config, from)]).toEqual([from, "ipv4-spoofed-source"]);
  });
});

function service(address: string): EngineConfig["guestForwards"][number] {
  return { address: ip(address), port: 7, target: { kind: "tcp", host: ip("127.0.0.1"), port: 7 } };
}

describe("forwards that name no guest", () => {
  const forward: Forward = {
    protocol: "udp",
    hostAddress: ip("127.0.0.1"),
    hostPort: 53,
    guestAddress: 0,
    guestPort: 53,
  };

  class Forwarded extends AccountedExchange {
    readonly handle: number;

    constructor(config: Partial<EngineConfig>) {
      super({ ...config, forwards: [forward] });
      this.handle = this.network.udpForward(0);
      openForward(this.core, this.handle);
    }

    /** A client sends; the guest address it is passed on to, 0 for nowhere yet. */
    ask(): number {
      this.network.arrive(this.handle, REMOTE, 4000, Buffer.from("?"));
      const frames = this.settle().filter((frame) => frame[12] === 8 && frame[13] === 0);
      return frames.length === 0 ? 0 : asUdp(frames[0]).to;
    }
  }

  it("go to the first address that was listed, whoever is heard from", () => {
    const exchange = new Forwarded({ otherGuestAddresses: [STATIC] });
    exchange.send(udp({ from: STATIC }));
    exchange.send(udp({}));
    expect(exchange.ask()).toBe(ip("10.0.2.15"));
  });

  it("wait with any for the guest to be heard from, and stay with that one", () => {
    const exchange = new Forwarded({ ...ANY, forwardsFollowGuest: true });
    expect(exchange.ask()).toBe(0);
    // The usual address is asked for: a guest that has it and is silent would not be heard from otherwise.
    const asked = exchange.pass(3000).map((frame) => [frame[13], ...frame.subarray(38, 42)]);
    expect(new Set(asked.map(String))).toEqual(new Set(["6,10,0,2,15"]));
    const [waiting] = exchange.send(udp({ from: STATIC })).replies.map(asUdp);
    expect(waiting.to).toBe(STATIC);
    exchange.send(udp({ from: OTHER }));
    expect(exchange.ask()).toBe(STATIC);
  });

  it("reach a guest that has the usual address and never said a word, once it answers ARP", () => {
    const exchange = new Forwarded({ ...ANY, forwardsFollowGuest: true });
    exchange.ask();
    const reply = Buffer.from(
      "5255 0a000202 525400123456 0806 0001 0800 06 04 0002 525400123456 0a00020f 52550a000202 0a000202".replaceAll(
        " ",
        "",
      ),
      "hex",
    );
    const [waiting] = [...exchange.send(reply).replies, ...exchange.pass(300)].map(asUdp);
    expect(waiting.to).toBe(ip("10.0.2.15"));
  });

  it("find the guest anew when the link is attached anew", () => {
    const exchange = new Forwarded({ ...ANY, forwardsFollowGuest: true });
    exchange.send(udp({ from: STATIC }));
    expect(exchange.ask()).toBe(STATIC);
    exchange.core.attach(null, exchange.now);
    exchange.core.attach(exchange.link, exchange.now);
    exchange.send(udp({ from: OTHER }));
    expect(exchange.ask()).toBe(OTHER);
  });

  it("take no TCP client before the guest is known", () => {
    const exchange = new AccountedExchange({
      ...ANY,
      forwardsFollowGuest: true,
      forwards: [{ ...forward, protocol: "tcp" }],
    });
    let waiting = 1;
    const host: HostNetwork = exchange.network;
    host.tcpAccept = (_listener, _token, from) => {
      if (waiting-- <= 0) return EAGAIN;
      from.set([0, 0, 0xffff, REMOTE, 4000]);
      return 0;
    };
    openForward(exchange.core, 77);
    exchange.pass(1000);
    expect([waiting, exchange.core.usage().tcp]).toEqual([1, 0]);
    const [syn] = exchange.send(udp({ from: STATIC })).replies;
    expect([asTcp(syn).flags, asTcp(syn).sourcePort, asIpv4(syn).destination]).toEqual([2, 4000, STATIC]);
  });
});
