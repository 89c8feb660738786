/** What is known of a flow besides what carrying it needs, and which flow a frame belongs to. */
import { describe, expect, it } from "vitest";
import { defaultEngineConfig, type EngineConfig } from "../../../src/engine/config.ts";
import { FlowLedger } from "../../../src/engine/transport/flow-ledger.ts";
import { FlowTable, NO_FLOW, packPorts } from "../../../src/engine/transport/flow-table.ts";
import { flowOfFrame } from "../../../src/engine/transport/frame-flow.ts";
import { MappingKeys } from "../../../src/engine/transport/udp/mapping-keys.ts";
import { FrameEnds } from "../../../src/engine/wire/frame-ends.ts";
import { ip } from "../../support/frames.ts";
import { ip6 } from "../../support/frames6.ts";

describe("the ledger", () => {
  it("numbers flows from 1, whatever their ids, and begins anew with each", () => {
    let uptimeMs = 5;
    const ledger = new FlowLedger(4, () => uptimeMs);
    expect([ledger.recorder, ledger.connectedMs, [...ledger.connects]]).toEqual([
      ...[null, 0],
      new Array(13).fill(0),
    ]);
    ledger.open(2, 0);
    ledger.connected(2);
    ledger.retransmits[2] = 3;
    ledger.hasEnded[2] = 1;
    uptimeMs = 70;
    ledger.open(2, 9);
    ledger.open(0, 0);
    const { serial, startedMs, forward, connectMs, retransmits, hasEnded } = ledger;
    const of = (id: number): number[] =>
      [serial, startedMs, forward, connectMs, retransmits, hasEnded].map((list) => list[id] ?? Number.NaN);
    expect([of(2), of(0)]).toEqual([
      [2, 70, 9, -1, 0, 0],
      [3, 70, 0, -1, 0, 0],
    ]);
  });

  it.each([
    [0, 0],
    [1, 0],
    [1.5, 0],
    [2, 1],
    [5, 1],
    [6, 2],
    [999, 8],
    [1000, 8],
    [1001, 9],
    [10_000, 11],
    [10_001, 12],
    [900_000, 12],
  ])("counts a connect of %f ms in class %i, once", (took, place) => {
    let uptimeMs = 100;
    const ledger = new FlowLedger(4, () => uptimeMs);
    ledger.open(1, 0);
    uptimeMs += took;
    ledger.connected(1);
    uptimeMs += 3;
    ledger.connected(1);
    expect(ledger.connectMs[1]).toBe(Math.floor(took));
    expect([...ledger.connects]).toEqual(Array.from({ length: 13 }, (_, i) => (i === place ? 1 : 0)));
    ledger.open(2, 0);
    uptimeMs += 7;
    ledger.connected(2);
    expect(ledger.connectedMs).toBe(Math.floor(took) + 7);
  });
});

describe("the flow of a frame", () => {
  const PAIR = Int32Array.of(...ip6("2001:db8::15"), ...ip6("2001:db8::1"));
  const GUEST = ip("10.0.2.15");
  const REMOTE = ip("192.0.2.1");

  function frame(protocol: number, over: Partial<FrameEnds> = {}): FrameEnds {
    const words = Int32Array.of(0, 0, 0xffff, GUEST, 0, 0, 0xffff, REMOTE);
    return Object.assign(new FrameEnds(), {
      ...{ protocol, isIpv4: true, guestPort: 4000, remotePort: 80, words },
      ...over,
    });
  }
  const frame6 = (protocol: number): FrameEnds => frame(protocol, { isIpv4: false, words: PAIR });

  function rig(udpMapping: EngineConfig["udpMapping"] = "endpoint-independent") {
    const flows = new FlowTable({ int32: () => 7 });
    const keys = new MappingKeys(flows, { ...defaultEngineConfig(), udpMapping });
    return { flows, of: (ends: FrameEnds) => flowOfFrame(flows, keys, ends) };
  }

  it("is the connection between its ends, of either family", () => {
    const { flows, of } = rig();
    expect([of(frame(6)), of(frame6(6))]).toEqual([NO_FLOW, NO_FLOW]);
    const id = flows.insert(6, GUEST, REMOTE, packPorts(4000, 80));
    const id6 = flows.insert6(6, PAIR, packPorts(4000, 80));
    expect([of(frame(6)), of(frame6(6))]).toEqual([id, id6]);
    expect([of(frame(17)), of(frame6(17))]).toEqual([NO_FLOW, NO_FLOW]);
    expect(of(frame(6, { remotePort: 81 }))).toBe(NO_FLOW);
  });

  it("is none for other protocols, nor where there are no ports", () => {
    const { flows, of } = rig();
    flows.insert(1, GUEST, REMOTE, packPorts(4000, 80));
    flows.insert(6, GUEST, REMOTE, packPorts(-1, -1));
    flows.insert(17, GUEST, REMOTE, packPorts(-1, -1));
    expect(of(frame(1))).toBe(NO_FLOW);
    for (const protocol of [6, 17])
      expect(of(frame(protocol, { guestPort: -1, remotePort: -1 }))).toBe(NO_FLOW);
  });

  it("is the port 0's where that is what the frame says", () => {
    const { flows, of } = rig();
    const id = flows.insert(6, GUEST, REMOTE, packPorts(0, 80));
    expect(of(frame(6, { guestPort: 0 }))).toBe(id);
  });

  it("is a UDP client's of these ends rather than the guest's mapping for any remote", () => {
    const { flows, of } = rig();
    const any = flows.insert(17, GUEST, 0, packPorts(4000, 0));
    const any6 = flows.insert6(17, Int32Array.of(...PAIR.subarray(0, 4), 0, 0, 0, 0), packPorts(4000, 0));
    expect([of(frame(17)), of(frame6(17))]).toEqual([any, any6]);
    // No connection has so many remotes.
    expect([of(frame(6)), of(frame6(6))]).toEqual([NO_FLOW, NO_FLOW]);
    const own = flows.insert(17, GUEST, REMOTE, packPorts(4000, 80));
    const own6 = flows.insert6(17, PAIR, packPorts(4000, 80));
    expect([of(frame(17)), of(frame6(17))]).toEqual([own, own6]);
  });

  it("is the mapping of remotes behind NAT64 where there is none of others", () => {
    const { flows, of } = rig();
    const behind = flows.insert(17, GUEST, 1, packPorts(4000, 0));
    expect(of(frame(17))).toBe(behind);
    const any = flows.insert(17, GUEST, 0, packPorts(4000, 0));
    expect(of(frame(17))).toBe(any);
  });

  it.each([
    ["address-dependent", 0],
    ["address-and-port-dependent", 80],
  ] as const)("is the mapping of its remote where mappings are %s", (udpMapping, port) => {
    const { flows, of } = rig(udpMapping);
    flows.insert(17, GUEST, 0, packPorts(4000, 0));
    flows.insert(17, GUEST, ip("192.0.2.2"), packPorts(4000, port));
    flows.insert6(17, Int32Array.of(...PAIR.subarray(0, 4), 0, 0, 0, 0), packPorts(4000, 0));
    expect([of(frame(17)), of(frame6(17))]).toEqual([NO_FLOW, NO_FLOW]);
    const id = flows.insert(17, GUEST, REMOTE, packPorts(4000, port));
    const id6 = flows.insert6(17, PAIR, packPorts(4000, port));
    expect([of(frame(17)), of(frame6(17))]).toEqual([id, id6]);
  });
});
