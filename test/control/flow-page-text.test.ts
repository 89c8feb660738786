/** Flows as JSON without their objects: the same as of these, for every kind of flow there is. */
import { expect, it } from "vitest";
import { FlowPageText } from "../../src/control/flow-page-text.ts";
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
  const page = new FlowPageText({ namesOf });
  for (const row of rows) page.add(row);
  const parsed = JSON.parse(page.end(next));
  expect(flowPageSchema.parse(parsed)).toEqual({
    flows: rows.map(({ flow: id, place: _, ...row }) => ({
      id,
      ...row,
      names: namesOf(row.target.address).map(({ name }) => name),
    })),
    next,
  });
});
