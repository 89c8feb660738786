/** RFC 5382, requirement by requirement (docs/nat.md has the table), and what RFC 7857 changed of it. */
import { describe, expect, it } from "vitest";
import { ECONNREFUSED, EHOSTUNREACH } from "../../src/engine/boundary.ts";
import { asTcp, OpenConnection, REMOTE, tcp } from "../hostile/guest-packets.ts";
import { AccountedExchange } from "../support/accounted-exchange.ts";
import { ip } from "../support/frames.ts";

const [FIN, SYN, RST, ACK] = [1, 2, 4, 16];
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const OTHER = ip("198.51.100.8");

describe("RFC 5382", () => {
  it("REQ-1: a connection is a host socket of its own, whatever the guest's port (see docs/nat.md)", () => {
    const exchange = new AccountedExchange();
    new OpenConnection(exchange, 100);
    new OpenConnection(exchange, 200, { to: OTHER });
    new OpenConnection(exchange, 300, { destinationPort: 81 });
    expect(exchange.network.sockets).toHaveLength(3);
    expect(exchange.core.usage().tcp).toBe(3);
  });

  it("REQ-2: half-close by the guest: its FIN goes out, octets still come in until the host's FIN", () => {
    const exchange = new AccountedExchange();
    const connection = new OpenConnection(exchange, 100);
    connection.send(FIN | ACK);
    exchange.pass(10);
    const [socket] = exchange.network.sockets;
    expect(socket.shutDown).toBe(true);
    socket.give(Buffer.from("late"));
    expect(Buffer.from(asTcp(exchange.settle()[0]).payload).toString()).toBe("late");
    connection.engine += 4;
    socket.end();
    expect(asTcp(exchange.settle()[0]).flags).toBe(FIN | ACK);
    connection.engine += 1;
    connection.send(ACK);
    expect(socket.state).toBe("closed");
    exchange.expectRest();
  });

  it("REQ-3: nobody reaches the guest by a connection's port but its peer: only declared ports are listened on", () => {
    const exchange = new AccountedExchange();
    new OpenConnection(exchange, 100);
    // A socket that is connected takes no one else's segments; and the engine asks for no listener by itself.
    expect(exchange.core.config.forwards).toEqual([]);
    expect(exchange.network.sockets).toHaveLength(1);
  });

  it("REQ-5: an idle connection is kept two hours and four minutes at least, and longer while the guest answers", () => {
    const exchange = new AccountedExchange();
    const connection = new OpenConnection(exchange, 100);
    exchange.pass(2 * HOUR_MS - 1000);
    exchange.pass(4 * MINUTE_MS + 2000);
    expect(exchange.core.usage().tcp).toBe(1);
    // The guest answers the keepalive: for another two hours nothing is asked.
    connection.send(ACK);
    expect(exchange.pass(HOUR_MS)).toEqual([]);
    expect(exchange.network.sockets[0].state).toBe("open");
  });

  it("REQ-5: half-open connections are kept for four minutes, and then are not", () => {
    const exchange = new AccountedExchange();
    exchange.network.connectTo = () => 0;
    exchange.send(tcp({ flags: SYN, sequence: 1 }));
    exchange.pass(3 * MINUTE_MS - 1000);
    expect(exchange.core.usage().tcp).toBe(1);
    exchange.pass(2 * MINUTE_MS);
    expect(exchange.core.usage().tcp).toBe(0);
  });

  it("REQ-6: no ALG: addresses and ports in the octets stay as they are, on the ports ALGs listen to", () => {
    const exchange = new AccountedExchange();
    const text = "PORT 10,0,2,15,19,137\r\n";
    for (const destinationPort of [21, 554, 1720, 1723, 2000, 5060, 6667]) {
      const connection = new OpenConnection(exchange, 100, { destinationPort, sourcePort: destinationPort });
      connection.send(ACK, Buffer.from(text));
      expect(Buffer.from(exchange.network.sockets.at(-1)?.octets ?? []).toString()).toBe(text);
    }
  });

  it("REQ-7: no port overloading: two guest ports to the same destination are two sockets", () => {
    const exchange = new AccountedExchange();
    for (let i = 0; i < 50; i++) new OpenConnection(exchange, 100, { sourcePort: 3000 + i });
    expect(new Set(exchange.network.sockets).size).toBe(50);
  });

  it("REQ-9: what ICMP told the host's kernel reaches the guest as its connection's end", () => {
    for (const errno of [ECONNREFUSED, EHOSTUNREACH]) {
      const exchange = new AccountedExchange();
      exchange.network.connectTo = () => errno;
      const { replies } = exchange.send(tcp({ flags: SYN, sequence: 1 }));
      expect(asTcp(replies[0])).toMatchObject({ flags: RST | ACK, acknowledgment: 2 });
    }
  });

  it("REQ-10: an ICMP message of the guest ends no connection", () => {
    const exchange = new AccountedExchange();
    const connection = new OpenConnection(exchange, 100);
    const frame = tcp({ flags: ACK, sequence: 1 });
    const icmp = Buffer.concat([
      frame.subarray(0, 34),
      Buffer.from([3, 1, 0, 0, 0, 0, 0, 0]),
      frame.subarray(14, 42),
    ]);
    icmp[23] = 1;
    icmp.writeUInt16BE(icmp.length - 14, 16);
    icmp.writeUInt16BE(0, 24);
    let sum = 0;
    for (let i = 14; i < 34; i += 2) sum += icmp.readUInt16BE(i);
    icmp.writeUInt16BE(~((sum & 0xffff) + (sum >>> 16)) & 0xffff, 24);
    expect(exchange.send(icmp).verdict).toBe("icmp");
    connection.send(ACK, Buffer.from("still here"));
    expect(Buffer.from(exchange.network.sockets[0].octets).toString()).toBe("still here");
  });
});

describe("RFC 7857", () => {
  it("section 2.1: after both FINs the connection is kept for less than it would be idle, and then is gone", () => {
    const exchange = new AccountedExchange();
    const connection = new OpenConnection(exchange, 100);
    exchange.network.sockets[0].end();
    exchange.settle();
    connection.engine += 1;
    connection.send(FIN | ACK);
    exchange.pass(30_000);
    expect(exchange.core.usage().tcp).toBe(1);
    exchange.pass(4 * MINUTE_MS);
    expect(exchange.core.usage().tcp).toBe(0);
  });

  it("section 2.2: a RST that is not exact ends nothing; one that is reaches the other side at once", () => {
    const exchange = new AccountedExchange();
    const connection = new OpenConnection(exchange, 100);
    exchange.send(tcp({ flags: RST, sequence: connection.guest + 5 }));
    exchange.send(tcp({ flags: RST, sequence: connection.guest - 5 }));
    expect(exchange.network.sockets[0].state).toBe("open");
    exchange.send(tcp({ flags: RST, sequence: connection.guest }));
    expect(exchange.network.sockets[0].state).toBe("reset");
    expect(exchange.core.usage().tcp).toBe(0);
  });

  it("section 9: initial sequence numbers and host ports are not to be guessed from one another (RFC 6528, 6056)", () => {
    const exchange = new AccountedExchange();
    const numbers = Array.from({ length: 20 }, (_, i) => {
      const { engine } = new OpenConnection(exchange, 100, { sourcePort: 2000 + i, to: REMOTE });
      return engine;
    });
    const steps = numbers.slice(1).map((n, i) => (n - numbers[i]) | 0);
    expect(new Set(steps).size).toBe(steps.length);
  });
});
