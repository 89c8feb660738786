/** Which IPv4 addresses are a guest's. */
import { describe, expect, it } from "vitest";
import { GuestSubnet, Sources } from "../../../src/engine/network/sources.ts";
import { ip } from "../../support/frames.ts";

const GUEST = ip("10.0.2.15");
const [OTHER, LEASED, NEXT] = [ip("10.0.2.16"), ip("10.0.2.17"), ip("10.0.2.18")];

describe("a guest's address", () => {
  it("is the declared one and the others that are listed", () => {
    const sources = new Sources(GUEST, 2, [OTHER]);
    expect([GUEST, OTHER, LEASED, 0].map((address) => sources.isGuest(address))).toEqual([
      true,
      true,
      false,
      false,
    ]);
  });

  it("is a leased one as long as the lease lasts", () => {
    const sources = new Sources(GUEST, 3, [OTHER]);
    for (const address of [LEASED, NEXT]) sources.lease(address);
    expect([LEASED, NEXT].map((address) => sources.isGuest(address))).toEqual([true, true]);
    sources.release(LEASED);
    expect([LEASED, NEXT].map((address) => sources.isGuest(address))).toEqual([false, true]);
    sources.release(NEXT);
    expect([LEASED, NEXT].map((address) => sources.isGuest(address))).toEqual([false, false]);
  });

  it("is leased once, however often it is asked for, and there is room for all that may be", () => {
    const sources = new Sources(GUEST, 2, [OTHER]);
    for (const address of [LEASED, LEASED, OTHER, LEASED, NEXT]) sources.lease(address);
    expect([OTHER, LEASED, NEXT].map((address) => sources.isGuest(address))).toEqual([true, true, true]);
    sources.release(LEASED);
    expect(sources.isGuest(LEASED)).toBe(false);
    expect([OTHER, NEXT].map((address) => sources.isGuest(address))).toEqual([true, true]);
  });

  it("is nobody's once its lease has ended, and there is room for another then", () => {
    const sources = new Sources(GUEST, 1);
    for (let n = 0; n < 10; n++) {
      sources.lease(LEASED + n);
      expect([sources.isGuest(LEASED + n), sources.isGuest(0)]).toEqual([true, false]);
      sources.release(LEASED + n);
      expect([sources.isGuest(LEASED + n), sources.isGuest(0)]).toEqual([false, false]);
    }
  });

  it("stays one that is listed, when a lease on it ends, and so does the declared one", () => {
    const sources = new Sources(GUEST, 1, [OTHER, NEXT]);
    sources.lease(LEASED);
    for (const address of [OTHER, NEXT, GUEST, ip("10.0.2.99")]) sources.release(address);
    expect([GUEST, OTHER, NEXT, LEASED].map((address) => sources.isGuest(address))).toEqual([
      true,
      true,
      true,
      true,
    ]);
  });

  it("is any that may be had in the subnet, where that is good", () => {
    const sources = new Sources(GUEST, 0, [], new GuestSubnet(ip("10.0.2.0"), 24, [ip("10.0.2.2")]));
    expect([OTHER, ip("10.0.2.2"), ip("10.0.3.16")].map((address) => sources.isGuest(address))).toEqual([
      true,
      false,
      false,
    ]);
  });
});

describe("a subnet", () => {
  const own = [ip("10.0.2.2"), ip("10.0.2.3")];

  it.each([
    ["10.0.1.255", false, false],
    ["10.0.2.0", true, false],
    ["10.0.2.1", true, true],
    ["10.0.2.2", true, false],
    ["10.0.2.3", true, false],
    ["10.0.2.254", true, true],
    ["10.0.2.255", true, false],
    ["10.0.3.0", false, false],
    ["10.0.3.1", false, false],
  ])("of 24 bits: %s is inside %s, may be a guest's %s", (text, isInside, mayHold) => {
    const subnet = new GuestSubnet(ip("10.0.2.0"), 24, own);
    expect([subnet.contains(ip(text)), subnet.mayHold(ip(text))]).toEqual([isInside, mayHold]);
    expect(subnet.isOwn(ip(text))).toBe(own.includes(ip(text)));
  });

  it("given by any of its addresses is the same", () => {
    const subnet = new GuestSubnet(ip("10.0.2.77"), 24, []);
    expect(["10.0.2.1", "10.0.3.1"].map((text) => subnet.contains(ip(text)))).toEqual([true, false]);
  });

  it.each([
    [8, "10.255.255.254", "11.0.0.1"],
    [25, "10.0.0.126", "10.0.0.129"],
    [30, "10.0.0.2", "10.0.0.5"],
  ])("of %i bits ends where it ends", (prefixLength, inside, outside) => {
    const subnet = new GuestSubnet(ip("10.0.0.0"), prefixLength, []);
    expect([inside, outside].map((text) => subnet.mayHold(ip(text)))).toEqual([true, false]);
    expect([inside, outside].map((text) => subnet.contains(ip(text)))).toEqual([true, false]);
  });

  it("of no bits is everything but the first address and the last", () => {
    const subnet = new GuestSubnet(0, 0, []);
    expect([0, 1, ip("200.1.2.3"), -1].map((address) => subnet.mayHold(address))).toEqual([
      false,
      true,
      true,
      false,
    ]);
    expect(subnet.contains(ip("200.1.2.3"))).toBe(true);
  });
});
