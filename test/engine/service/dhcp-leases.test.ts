/** Who has which address: the lease table by itself, address by address. */
import { describe, expect, it } from "vitest";
import {
  type Client,
  clientOf,
  hex,
  LeaseTable,
  type Slot,
} from "../../../src/engine/service/dhcp-leases.ts";
import { macOf } from "../../support/dhcp-client.ts";

const FIRST = 100;
const OFFER_SECONDS = 60;
const QUARANTINE_SECONDS = 600;

/** Client number `n`, known by its MAC, or by an identifier of one octet. */
const client = (n: number, identifier?: number): Client =>
  clientOf(Uint8Array.from(macOf(n)), identifier === undefined ? undefined : Uint8Array.of(255, identifier));

function setUp(size = 4, reservations: readonly { readonly n: number; readonly address: number }[] = []) {
  const table = new LeaseTable({
    rangeStart: FIRST,
    rangeSize: size,
    reservations: reservations.map(({ n, address }) => ({ mac: Uint8Array.from(macOf(n)), address })),
    taken: [],
  });
  const log: string[] = [];
  table.onLease = ({ address, mac, expiresAt }) => log.push(`${address} to ${mac[5]} until ${expiresAt}`);
  table.onRelease = ({ address, mac }) => log.push(`${address} from ${mac[5]}`);
  const at = (address: number): Slot => {
    const slot = table.slotAt(address);
    if (slot === undefined) throw new Error(`no slot at ${address}`);
    return slot;
  };
  const bind = (address: number, who: Client, until = 1000): void => table.bind(at(address), who, until);
  const offer = (address: number, who: Client, now = 0): void => table.offer(at(address), who, now);
  const choose = (who: Client, wanted = 0): number | undefined => table.choose(who, wanted)?.address;
  return { table, log, at, bind, offer, choose };
}

describe("a client", () => {
  const mac = Uint8Array.from(macOf(7));

  it("is known by its identifier where that is its own, and by its MAC else", () => {
    const byMac = { key: "mac 020000000007", byMac: true, macKey: "020000000007", mac };
    expect(clientOf(mac, undefined)).toEqual(byMac);
    expect(clientOf(mac, Uint8Array.of(1, ...mac))).toEqual(byMac);
    expect(clientOf(mac, new Uint8Array(0))).toEqual(byMac);
    expect(clientOf(mac, Uint8Array.of(1, ...macOf(8)))).toEqual({
      ...byMac,
      key: "id 01020000000008",
      byMac: false,
    });
    expect(clientOf(mac, mac)).toMatchObject({ key: "id 020000000007", byMac: false });
  });

  it("stays who it is when the message is written over", () => {
    const octets = mac.slice();
    const known = clientOf(octets, undefined);
    octets.fill(0xee);
    expect(known.mac).toEqual(mac);
  });

  it("is written in two digits for each octet", () => {
    expect(hex([0, 1, 15, 16, 255])).toBe("00010f10ff");
  });
});

describe("the addresses there are", () => {
  it("are the range without ours, and reserved ones wherever they are", () => {
    const table = new LeaseTable({
      rangeStart: FIRST,
      rangeSize: 4,
      reservations: [
        { mac: Uint8Array.from(macOf(1)), address: 102 },
        { mac: Uint8Array.from(macOf(2)), address: 500 },
      ],
      taken: [101, 200],
    });
    const addresses = [99, 100, 101, 102, 103, 104, 200, 500].filter((address) => table.slotAt(address));
    expect(addresses).toEqual([100, 102, 103, 500]);
    expect([102, 500, 100].map((address) => table.slotAt(address)?.reservedFor)).toEqual([
      "020000000001",
      "020000000002",
      null,
    ]);
  });

  it("are int32, on both sides of 128.0.0.0", () => {
    const table = new LeaseTable({ rangeStart: 0x7fffffff, rangeSize: 2, reservations: [], taken: [] });
    expect([table.slotAt(0x7fffffff), table.slotAt(-0x80000000)].every(Boolean)).toBe(true);
  });
});

describe("a lease", () => {
  it("is told of with address, MAC and end, when it begins, goes on and ends", () => {
    const { table, log, bind } = setUp();
    bind(101, client(1), 50);
    bind(101, client(1), 90);
    expect(table.leases()).toEqual([{ address: 101, mac: Uint8Array.from(macOf(1)), expiresAt: 90 }]);
    table.expire(89);
    expect(table.isLeased(101)).toBe(true);
    table.expire(90);
    expect([table.isLeased(101), table.leases(), table.leaseFor(Uint8Array.from(macOf(1)))]).toEqual([
      false,
      [],
      null,
    ]);
    expect(log).toEqual(["101 to 1 until 50", "101 to 1 until 90", "101 from 1"]);
  });

  it("is found by its MAC and by its address, an offer is not", () => {
    const { table, bind, offer } = setUp();
    offer(100, client(1));
    bind(101, client(2), 50);
    expect(table.leaseFor(Uint8Array.from(macOf(2)))?.address).toBe(101);
    expect(table.leaseFor(Uint8Array.from(macOf(1)))).toBeNull();
    expect([100, 101, 102, 999].map((address) => table.isLeased(address))).toEqual([
      false,
      true,
      false,
      false,
    ]);
    expect(table.leases()).toHaveLength(1);
  });

  it("of a client ends those that it has besides, and what it was offered", () => {
    const { table, log, bind, offer, at } = setUp();
    const named = client(1, 5);
    bind(100, named);
    offer(101, client(2));
    bind(102, client(3));
    bind(103, named);
    expect([100, 101, 102, 103].map((address) => at(address).state)).toEqual([
      "free",
      "offered",
      "bound",
      "bound",
    ]);
    offer(100, client(2));
    bind(101, client(2));
    expect([100, 101].map((address) => at(address).state)).toEqual(["free", "bound"]);
    expect(log).toEqual([
      "100 to 1 until 1000",
      "102 to 3 until 1000",
      "100 from 1",
      "103 to 1 until 1000",
      "101 to 2 until 1000",
    ]);
    expect(table.leases()).toHaveLength(3);
  });

  it("leaves what another identifier of the same NIC has", () => {
    const { bind, table } = setUp();
    bind(100, client(1, 5));
    bind(101, client(1, 6));
    expect(table.leases().map(({ address }) => address)).toEqual([100, 101]);
  });

  it("that moves to another NIC ends for the one before; for the same one it goes on", () => {
    const { log, bind } = setUp();
    bind(100, client(1, 5));
    bind(100, client(2, 5));
    bind(100, client(2));
    expect(log).toEqual(["100 to 1 until 1000", "100 from 1", "100 to 2 until 1000", "100 to 2 until 1000"]);
  });

  it("ends once, and is not told of to nobody", () => {
    const { table, log, bind, at } = setUp();
    bind(100, client(1));
    table.release(at(100));
    table.release(at(100));
    expect(log).toEqual(["100 to 1 until 1000", "100 from 1"]);
    table.onLease = table.onRelease = null;
    bind(100, client(1));
    table.release(at(100));
    expect(log).toHaveLength(2);
  });
});

describe("an offer", () => {
  it("ends after a minute, and is no lease that has ended", () => {
    const { table, log, offer, at } = setUp();
    offer(100, client(1), 10);
    expect([at(100).state, table.nextExpiry()]).toEqual(["offered", 10 + OFFER_SECONDS]);
    table.expire(69);
    expect(at(100).state).toBe("offered");
    table.expire(70);
    expect([at(100).state, log]).toEqual(["free", []]);
  });

  it("of what the client has already changes nothing", () => {
    const { table, bind, offer, at } = setUp();
    bind(100, client(1), 5000);
    const { usedAt } = at(100);
    offer(100, client(1, 9), 10);
    expect(at(100)).toMatchObject({ state: "bound", until: 5000, usedAt, client: client(1) });
    expect(table.nextExpiry()).toBe(5000);
  });
});

describe("the next end", () => {
  it("is the soonest of offers, leases and quarantines; there is none where all is free", () => {
    const { table, bind, offer, at } = setUp();
    expect(table.nextExpiry()).toBe(Infinity);
    bind(100, client(1), 900);
    expect(table.nextExpiry()).toBe(900);
    table.decline(at(100), 0);
    expect(table.nextExpiry()).toBe(QUARANTINE_SECONDS);
    bind(101, client(1), Infinity);
    offer(102, client(2), 0);
    expect(table.nextExpiry()).toBe(OFFER_SECONDS);
    table.expire(OFFER_SECONDS);
    expect(table.nextExpiry()).toBe(QUARANTINE_SECONDS);
    table.expire(QUARANTINE_SECONDS);
    expect(table.nextExpiry()).toBe(Infinity);
    expect(table.isLeased(101)).toBe(true);
  });
});

describe("the address for a client", () => {
  it("is the one reserved for it, before what it has", () => {
    const { bind, choose, table, at } = setUp(4, [{ n: 1, address: 103 }]);
    bind(100, client(1));
    expect(choose(client(1), 101)).toBe(103);
    expect(choose(client(2), 103)).toBe(101);
    table.decline(at(103), 0);
    expect(choose(client(1), 101)).toBe(100);
  });

  it("is what it has or was offered, before what it would like", () => {
    const { bind, choose, offer } = setUp();
    bind(101, client(1));
    offer(102, client(2));
    expect([choose(client(1), 103), choose(client(2), 103)]).toEqual([101, 102]);
  });

  it("is not what its identifier has, where that is reserved for another NIC", () => {
    const { bind, choose } = setUp(4, [{ n: 1, address: 102 }]);
    bind(102, client(1, 5));
    expect([choose(client(1, 5)), choose(client(2, 5))]).toEqual([102, 100]);
  });

  it("is what its NIC has then, though all others are taken", () => {
    const { bind, choose } = setUp(2, [{ n: 1, address: 100 }]);
    bind(100, client(1, 5));
    bind(101, client(2));
    expect(choose(client(2, 5))).toBe(101);
  });

  it("is what its identifier has, before what its NIC has", () => {
    const { bind, choose, table } = setUp();
    bind(100, client(1));
    bind(101, client(2, 5));
    expect(choose(client(1, 5))).toBe(101);
    expect(table.heldBy(client(1, 6))?.address).toBe(100);
    expect(table.heldBy(client(3))).toBeUndefined();
  });

  it("is what it had, while that is free, before what it would like", () => {
    const { bind, choose, table, at } = setUp();
    bind(102, client(1));
    table.release(at(102));
    expect(choose(client(1), 101)).toBe(102);
    expect(choose(client(1, 9), 101)).toBe(102);
    expect(choose(client(2), 101)).toBe(101);
    bind(102, client(2));
    expect(choose(client(1), 101)).toBe(101);
  });

  it("is what it would like, before one never used, before the one unused longest, before an offer", () => {
    const { bind, choose, table, at, offer } = setUp(3);
    bind(101, client(1));
    bind(100, client(2));
    table.release(at(100));
    table.release(at(101));
    expect(choose(client(3), 101)).toBe(101);
    expect(choose(client(3), 7)).toBe(102);
    bind(102, client(4));
    expect(choose(client(3), 7)).toBe(101);
    offer(101, client(5));
    expect(choose(client(3), 7)).toBe(100);
    offer(100, client(6));
    expect(choose(client(3), 7)).toBe(101);
    offer(101, client(5));
    expect(choose(client(3), 7)).toBe(100);
    bind(100, client(6));
    bind(101, client(5));
    expect(choose(client(3), 7)).toBeUndefined();
  });

  it("is nobody else's: not reserved, leased or in quarantine", () => {
    const { bind, at, table } = setUp(5, [{ n: 9, address: 104 }]);
    bind(100, client(1));
    table.decline(at(101), 0);
    table.offer(at(102), client(2), 0);
    const may = (who: Client): number[] =>
      [100, 101, 102, 103, 104].filter((address) => table.mayHave(at(address), who));
    expect(may(client(3))).toEqual([102, 103]);
    expect(may(client(1))).toEqual([100, 102, 103]);
    expect(may(client(9))).toEqual([102, 103, 104]);
    table.decline(at(104), 0);
    expect(may(client(9))).toEqual([102, 103]);
  });
});

describe("an address that is free again", () => {
  it("is nobody's, though its client is remembered", () => {
    const { table, at, bind, choose } = setUp();
    bind(100, client(1));
    expect([table.isHeldBy(at(100), client(1)), table.isHeldBy(at(100), client(2))]).toEqual([true, false]);
    table.release(at(100));
    expect([table.isHeldBy(at(100), client(1)), table.heldBy(client(1))]).toEqual([false, undefined]);
    expect(choose(client(1), 103)).toBe(100);
  });
});

describe("an address that is declined", () => {
  it("rests for ten minutes, and nobody is remembered there", () => {
    const { table, at, bind, choose, log } = setUp();
    bind(100, client(1), 50);
    table.decline(at(100), 5);
    expect(at(100)).toMatchObject({ state: "declined", client: null, until: 5 + QUARANTINE_SECONDS });
    expect(table.isHeldBy(at(100), client(1))).toBe(false);
    expect(log).toEqual(["100 to 1 until 50", "100 from 1"]);
    table.expire(604);
    expect(at(100).state).toBe("declined");
    table.expire(605);
    expect([at(100).state, choose(client(1), 103)]).toEqual(["free", 103]);
    expect(log).toHaveLength(2);
  });

  it.each([
    [1, 0],
    [2, 1],
    [3, 1],
    [4, 2],
    [5, 2],
  ])("of %i is one of %i that rest at a time; the one declined first returns early", (size, most) => {
    const { table, at } = setUp(size);
    // From the last to the first, so that their order is not that of their numbers.
    const addresses = Array.from({ length: size }, (_, i) => FIRST + size - 1 - i);
    for (const address of addresses) table.decline(at(address), 0);
    expect(addresses.filter((address) => at(address).state === "declined")).toEqual(
      most === 0 ? [] : addresses.slice(-most),
    );
  });
});
