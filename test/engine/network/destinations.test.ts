/** What a guest hears that may not go where it wants: a reset for TCP, at once, whatever the reason; UDP has no such word. */
import { describe, expect, it } from "vitest";
import type { EngineConfig } from "../../../src/engine/config.ts";
import { asTcp, GATEWAY, REMOTE, tcp, udp } from "../../hostile/guest-packets.ts";
import { AccountedExchange } from "../../support/accounted-exchange.ts";
import { ip } from "../../support/frames.ts";

const [SYN, RST, ACK] = [2, 4, 16];
const SERVICE = ip("10.0.2.100");

/** The DNS address answers for itself: test/engine/service/dns-over-tcp.test.ts. */
describe("under restrict", () => {
  const restricted: Partial<EngineConfig> = {
    restrict: true,
    allowHostLoopback: true,
    allowLinkLocal: true,
    guestForwards: [{ address: SERVICE, port: 7, target: { kind: "unix", path: "/service" } }],
  };

  for (const [name, to, destinationPort] of [
    ["an address outside", REMOTE, 80],
    ["the gateway", GATEWAY, 80],
    ["a link-local address", ip("169.254.169.254"), 80],
    ["another port of a guest forward", SERVICE, 8],
  ] as const) {
    it(`a connection to ${name} is reset at once, a datagram dropped`, () => {
      const exchange = new AccountedExchange(restricted);
      const syn = exchange.send(tcp({ to, destinationPort, flags: SYN, sequence: 41 }));
      expect(syn.verdict).toBe("destination-restricted");
      expect(syn.replies.map(asTcp)).toMatchObject([{ flags: RST | ACK, acknowledgment: 42 }]);
      const datagram = exchange.send(udp({ to, destinationPort }));
      expect(datagram).toEqual({ verdict: "destination-restricted", replies: [] });
      expect(exchange.network.sockets).toEqual([]);
      expect(exchange.network.datagrams).toEqual([]);
      exchange.expectRest();
    });
  }

  it("guest forwards are served", () => {
    const exchange = new AccountedExchange(restricted);
    const { replies } = exchange.send(tcp({ to: SERVICE, destinationPort: 7, flags: SYN, sequence: 41 }));
    expect(replies.map(asTcp)).toMatchObject([{ flags: SYN | ACK, acknowledgment: 42 }]);
  });
});
