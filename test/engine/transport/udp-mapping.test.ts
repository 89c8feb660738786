/** What a mapping remembers of the remotes its guest sent to, and how much all of them together may. */
import { describe, expect, it } from "vitest";
import { UDP_PEERS_PER_MAPPING_MAX } from "../../../src/engine/limits.ts";
import { PeerRoom, UdpMapping } from "../../../src/engine/transport/udp/mapping.ts";

/** Remembers the first `count` addresses; how many of them are known afterwards. */
function fill(mapping: UdpMapping, count: number): number {
  for (let address = 1; address <= count; address++) mapping.remember(address, 9);
  return Array.from({ length: count }, (_, i) => mapping.knows(i + 1, 9)).filter(Boolean).length;
}

describe("a mapping's remotes", () => {
  it("are remembered up to a bound, then the oldest gives way", () => {
    const mapping = new UdpMapping(1, new PeerRoom(1_000_000));
    expect(fill(mapping, UDP_PEERS_PER_MAPPING_MAX + 10)).toBe(UDP_PEERS_PER_MAPPING_MAX);
    expect(mapping.knows(10, 9)).toBe(false);
    expect(mapping.knows(11, 9)).toBe(true);
  });

  it("take no more room than all mappings together may, and give it back", () => {
    const room = new PeerRoom(100);
    const [one, two] = [new UdpMapping(1, room), new UdpMapping(2, room)];
    // 4 of its own, and 4 + 8 + 16 + 32 of the hundred: 64 more are not left.
    expect(fill(one, 1000)).toBe(64);
    expect(room.left).toBe(40);
    expect(fill(two, 1000)).toBe(32);
    expect(room.left).toBe(12);
    one.reset();
    expect(room.left).toBe(72);
    two.reset();
    expect(room.left).toBe(100);
    expect(fill(two, 1000)).toBe(64);
  });
});
