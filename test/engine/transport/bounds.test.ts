/** The bounds of flows, where they are not the default ones. */
import { describe, expect, it } from "vitest";
import type { EngineConfig } from "../../../src/engine/config.ts";
import { SYN } from "../../../src/engine/wire/tcp.ts";
import { tcp, udp } from "../../hostile/guest-packets.ts";
import { AccountedExchange } from "../../support/accounted-exchange.ts";

/** Half-open connections of so many guest ports; what became of each SYN. */
function open(exchange: AccountedExchange, first: number, count: number): string[] {
  return Array.from(
    { length: count },
    (_, i) => exchange.send(tcp({ sourcePort: first + i, flags: SYN, sequence: 1 })).verdict,
  );
}

function bounded(config: Partial<EngineConfig>): AccountedExchange {
  return new AccountedExchange(config);
}

describe("the bound", () => {
  it("of half-open connections has the oldest give way", () => {
    const exchange = bounded({ maxHalfOpen: 5 });
    expect(new Set(open(exchange, 1000, 20))).toEqual(new Set(["handled"]));
    expect(exchange.core.usage().tcp).toBe(5);
    expect(exchange.core.counters.value("tcp-half-open-evicted")).toBe(15);
  });

  it("of flows holds for TCP and UDP together, and is exact when it is no power of two", () => {
    const exchange = bounded({ maxFlows: 100 });
    for (let port = 0; port < 60; port++) exchange.send(udp({ sourcePort: 2000 + port }));
    open(exchange, 1000, 45);
    expect(exchange.core.usage()).toMatchObject({ tcp: 40, udp: 60 });
    // A half-open connection gives way to another, and to no datagram.
    expect(exchange.core.counters.value("tcp-half-open-evicted")).toBe(5);
    expect(exchange.send(udp({ sourcePort: 3000 })).verdict).toBe("flow-table-full");
    exchange.expectRest();
    expect(exchange.send(udp({ sourcePort: 3000 })).verdict).toBe("handled");
  });
});
