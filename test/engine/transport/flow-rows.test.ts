/** The flow table as people read it: a row of each connection and mapping, with all it says. */
import { describe, expect, it } from "vitest";
import { defaultEngineConfig } from "../../../src/engine/config.ts";
import { Destinations } from "../../../src/engine/network/destinations.ts";
import { FlowLedger } from "../../../src/engine/transport/flow-ledger.ts";
import { tcpRows, udpRows } from "../../../src/engine/transport/flow-rows.ts";
import { Path } from "../../../src/engine/transport/path.ts";
import { CLOSED, STATE_NAMES, TcpConnection } from "../../../src/engine/transport/tcp/connection.ts";
import type { TcpContext } from "../../../src/engine/transport/tcp/context.ts";
import { PeerRoom, UdpMapping } from "../../../src/engine/transport/udp/mapping.ts";
import { ip } from "../../support/frames.ts";
import { ip6 } from "../../support/frames6.ts";

const NOW_MS = 0x7fffffff;
const LATER_MS = (NOW_MS + 700) | 0;
const destinations = new Destinations(defaultEngineConfig(), null);

/** Flows 1 and 2 began at 100 and 400 of an uptime that is 1000 now; the second came by forward 41. */
function ledgerOf(): FlowLedger {
  let uptimeMs = 100;
  const ledger = new FlowLedger(8, () => uptimeMs);
  ledger.open(1, 0);
  uptimeMs = 400;
  ledger.open(2, 41);
  uptimeMs = 1000;
  return ledger;
}

function ends(isIpv6: boolean): Path {
  const path = new Path(Int32Array.of(...ip6("2001:db8:1:2:3:4:5:6"), ...ip6("2001:db8:a:b:c:d:e:f")));
  Object.assign(path, {
    ...{ ipOctets: isIpv6 ? 40 : 20, guestAddress: ip("10.0.2.15"), guestPort: 40_001 },
    ...{ remoteAddress: ip("192.0.2.1"), remotePort: 50_002 },
  });
  return path;
}

const words = new Int32Array(64);

describe("rows of connections", () => {
  const ESTABLISHED = STATE_NAMES.indexOf("ESTABLISHED");

  function connection(id: number, state: number, isIpv6: boolean): TcpConnection {
    const c = new TcpConnection(id);
    const path = ends(isIpv6);
    words.set(path.pair, id * 8);
    c.setEnds(path, words, id);
    c.setTarget(Int32Array.of(...ip6("2001:db8:9::1"), 60_003));
    return Object.assign(c, {
      ...{ state, outbound: !isIpv6, octetsFromGuest: 12 + id, octetsToGuest: 34 + id, lastHeardMs: NOW_MS },
    });
  }

  it("tell all of each that is not closed", () => {
    const connections = [
      null,
      connection(1, ESTABLISHED, false),
      connection(2, ESTABLISHED, true),
      connection(3, CLOSED, false),
    ];
    const rows = tcpRows({ ledger: ledgerOf(), connections } as unknown as TcpContext, LATER_MS);
    expect(rows).toEqual([
      {
        ...{ id: 1, protocol: "tcp", direction: "out", state: "ESTABLISHED" },
        ...{ guest: "10.0.2.15:40001", remote: "192.0.2.1:50002", target: "[2001:db8:9::1]:60003" },
        ...{ forward: null, octetsFromGuest: 13, octetsToGuest: 35, ageMs: 900, idleMs: 700 },
      },
      {
        ...{ id: 2, protocol: "tcp", direction: "in", state: "ESTABLISHED" },
        ...{ guest: "[2001:db8:1:2:3:4:5:6]:40001", remote: "[2001:db8:a:b:c:d:e:f]:50002" },
        ...{ target: "[2001:db8:9::1]:60003", forward: 41 },
        ...{ octetsFromGuest: 14, octetsToGuest: 36, ageMs: 600, idleMs: 700 },
      },
    ]);
  });
});

describe("rows of mappings", () => {
  function mapping(id: number, isIpv6: boolean): UdpMapping {
    const m = new UdpMapping(id, new PeerRoom(0));
    const path = ends(isIpv6);
    words.set(path.pair, id * 8);
    m.begin(path, words);
    return Object.assign(m, {
      ...{ live: true, octetsFromGuest: 12 + id, octetsToGuest: 34 + id, refreshedMs: NOW_MS },
    });
  }

  it("tell all of each that there is", () => {
    const out = mapping(1, false);
    out.remember(ip("192.0.2.7"), 53);
    out.askedAddress = ip("192.0.2.7");
    const client = mapping(2, true);
    client.inbound = true;
    client.setTarget(Int32Array.of(0, 0, 0xffff, ip("203.0.113.9"), 60_003));
    const gone = mapping(3, false);
    gone.live = false;
    const parts = { ledger: ledgerOf(), destinations, destinations6: null };
    expect(udpRows([null, out, client, gone], parts, LATER_MS)).toEqual([
      {
        ...{ id: 1, protocol: "udp", direction: "out", state: "MAPPED" },
        ...{ guest: "10.0.2.15:40001", remote: "192.0.2.7:53", target: "192.0.2.7:53" },
        ...{ forward: null, octetsFromGuest: 13, octetsToGuest: 35, ageMs: 900, idleMs: 700 },
      },
      {
        ...{ id: 2, protocol: "udp", direction: "in", state: "MAPPED" },
        ...{ guest: "[2001:db8:1:2:3:4:5:6]:40001", remote: "[2001:db8:a:b:c:d:e:f]:50002" },
        ...{ target: "203.0.113.9:60003", forward: 41 },
        ...{ octetsFromGuest: 14, octetsToGuest: 36, ageMs: 600, idleMs: 700 },
      },
    ]);
  });
});
