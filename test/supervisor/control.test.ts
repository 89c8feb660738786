import { PassThrough } from "node:stream";
import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { defaultEngineConfig } from "../../src/engine/config.ts";
import { asNews, decodeLine, encodeLine, type Order, readLines } from "../../src/supervisor/control.ts";

describe("orders", () => {
  it("carry a configuration with its octets", () => {
    const order: Order = {
      type: "start",
      plan: {
        config: defaultEngineConfig(),
        link: { kind: "tap-fd", fd: 5 },
        log: { level: "info", format: "text" },
        pcap: false,
        resolvConf: "nameserver 192.0.2.1\n",
        sandbox: true,
        oneOff: false,
      },
    };
    expect(decodeLine(encodeLine(order).trimEnd())).toEqual(order);
  });
});

describe("news", () => {
  it("are taken only in their form", () => {
    const ready = { type: "ready", linkName: "tap t", listenPort: 0, forwardPorts: [80] };
    expect(asNews(ready)).toEqual(ready);
    expect(asNews({ ...ready, forwardPorts: [70_000] })).toBeUndefined();
    expect(asNews({ type: "ended", reason: "because", message: "" })).toBeUndefined();
    expect(asNews({ type: "command", index: "0" })).toBeUndefined();
    const over = { type: "question-over", id: 3, end: "gone" };
    expect(asNews(over)).toEqual(over);
    expect(asNews({ ...over, end: "bored" })).toBeUndefined();
    expect(asNews({ ...over, id: "3" })).toBeUndefined();
  });

  it("never throw on anything else", () => {
    fc.assert(
      fc.property(fc.anything(), (value) => {
        expect(() => asNews(value)).not.toThrow();
      }),
    );
  });
});

describe("lines", () => {
  it("come whole, however they are cut", async () => {
    const stream = new PassThrough();
    const lines: string[] = [];
    readLines(stream, (line) => lines.push(line));
    for (const piece of ["a", "b\nc", "\n\nd", "\n"]) stream.write(piece);
    stream.end();
    await new Promise((resolve) => stream.once("end", resolve));
    expect(lines).toEqual(["ab", "c", "", "d"]);
  });

  it("cost no more than their length, in however many pieces they come", () => {
    const split = String.prototype.split;
    let looked = 0;
    const spy = vi.spyOn(String.prototype, "split").mockImplementation(function (this: string, ...args) {
      looked += this.length;
      return Reflect.apply(split, this, args);
    });
    const lines: number[] = [];
    try {
      const stream = new PassThrough();
      readLines(stream, (line) => lines.push(line.length));
      for (let i = 0; i < 64; i++) stream.emit("data", "x".repeat(65_536));
      stream.emit("data", "\n");
    } finally {
      spy.mockRestore();
    }
    expect(lines).toEqual([4_194_304]);
    expect(looked).toBe(4_194_305);
  });

  it("end the stream when one does not end", async () => {
    const stream = new PassThrough();
    readLines(stream, () => {});
    const failed = new Promise<Error>((resolve) => stream.once("error", resolve));
    for (let i = 0; i < 5; i++) stream.write("x".repeat(1_048_576));
    expect((await failed).message).toContain("4 MiB");
  });
});
