/** Events out of a stream that is cut anywhere. */
import { expect, it } from "vitest";
import { EventStreamParser } from "../../src/control/event-source.ts";
import { formatIdle, Rates } from "../../src/page/format.ts";

const TEXT = 'id: 7\nevent: dns\ndata: {"a":\ndata: 1}\n\n: a comment\n\ndata:x\nid:8\n\nretry: 5\n\n';
const EVENTS = [
  { id: "7", type: "dns", data: '{"a":\n1}' },
  { id: "8", type: "message", data: "x" },
];

it("reads events however the text is cut", () => {
  for (let size = 1; size <= TEXT.length; size++) {
    const parser = new EventStreamParser();
    const events = [];
    for (let at = 0; at < TEXT.length; at += size) events.push(...parser.push(TEXT.slice(at, at + size)));
    expect(events).toEqual(EVENTS);
  }
});

it("reads lines that end in CR LF, and a stream without an end", () => {
  const parser = new EventStreamParser();
  expect(parser.push("data: 1\r\n\r\ndata: 2\r\n")).toEqual([{ id: "", type: "message", data: "1" }]);
  expect(parser.push("\r\n")).toEqual([{ id: "", type: "message", data: "2" }]);
});

it("ends a stream whose event has no end", () => {
  const parser = new EventStreamParser();
  const piece = `data: ${"x".repeat(65_530)}\n`;
  expect(() => {
    for (let i = 0; i < 20; i++) parser.push(piece);
  }).toThrow("over 1 MiB");
  expect(() => new EventStreamParser().push("x".repeat(1_048_577))).toThrow("over 1 MiB");
});

it("counters have rates from one look to the next", () => {
  const rates = new Rates();
  expect(rates.update({ a: 5 }, 1000)("a")).toBe(0);
  const rate = rates.update({ a: 25, b: 10 }, 3000);
  expect([rate("a"), rate("b"), rate("c")]).toEqual([10, 5, 0]);
});

it("idle times", () => {
  expect([0, 450, 12_000, 180_000, 7_200_000].map(formatIdle)).toEqual([
    "0.0 s",
    "0.4 s",
    "12 s",
    "3 min",
    "2 h",
  ]);
});
