/** Flows as JSON without their objects: the same as of these, for every kind of flow there is. */
import { expect, it } from "vitest";
import { FlowPage } from "../../src/control/flow-page.ts";
import { JsonOctets } from "../../src/control/json-octets.ts";
import type { FlowRecord } from "../../src/control/record-decoder.ts";
import { flowPageSchema } from "../../src/control/schema.ts";

const NAME = 'odd\\034name\\".example';
const namesOf = (address: string) =>
  address === "203.0.113.7" ? [NAME, "www.example.com"].map((name) => ({ name, answeredAtMs: 1 })) : [];

const TCP: FlowRecord = {
  flow: 17,
  place: 3,
  protocol: "tcp",
  direction: "out",
  state: "ESTABLISHED",
  guest: { address: "10.0.2.15", port: 50_000 },
  remote: { address: "203.0.113.7", port: 443 },
  target: { address: "203.0.113.7", port: 443 },
  forward: null,
  octetsFromGuest: 2 ** 40,
  octetsToGuest: 0,
  ageMs: 12,
  idleMs: 3,
};
const UDP: FlowRecord = {
  ...TCP,
  flow: 18,
  protocol: "udp",
  direction: "in",
  state: "MAPPED",
  guest: { address: "fd00::15", port: 53 },
  target: { address: "::1", port: 5353 },
  forward: 2,
};

it.each([
  ["none", [], null],
  ["one", [TCP], null],
  ["several, and more to come", [TCP, UDP, TCP], 4096],
] as const)("a page of %s says what its schema wants", (_what, rows, next) => {
  const page = new FlowPage({ namesOf }, 1);
  for (const row of rows) page.add(row);
  const parsed = JSON.parse(page.end(next).octets.toString());
  expect(flowPageSchema.parse(parsed)).toEqual({
    flows: rows.map(({ flow: id, place: _, ...row }) => ({
      id,
      ...row,
      names: namesOf(row.target.address).map(({ name }) => name),
    })),
    next,
  });
});

it("takes the octets of another page again once they are given back, and not before", () => {
  const pageOf = (rows: number) => {
    const page = new FlowPage({ namesOf }, rows);
    page.add(TCP);
    return page.end(null);
  };
  const first = pageOf(10);
  const second = pageOf(10);
  expect(second.octets.buffer).not.toBe(first.octets.buffer);
  first.giveBack();
  const third = pageOf(10);
  expect(third.octets.buffer).toBe(first.octets.buffer);
  third.giveBack();
  expect(pageOf(1000).octets.buffer).not.toBe(first.octets.buffer);
});

it("tells every whole number as JSON does", () => {
  const numbers = [0, 9, 10, 99, 100, 65_535, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 53 - 1];
  const json = new JsonOctets(Buffer.alloc(1));
  for (const number of numbers) {
    json.number(number);
    json.put(" ");
  }
  json.value("é\u2028");
  expect(json.all().toString()).toBe(`${numbers.join(" ")} "é\u2028"`);
});
