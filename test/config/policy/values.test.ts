/** Times, limits and flows as a policy has them: read, and written again. */
import { describe, expect, it } from "vitest";
import { formatDuration, parseDuration } from "../../../src/config/policy/duration.ts";
import { parseFlow } from "../../../src/config/policy/flow.ts";
import { isHosting } from "../../../src/config/policy/hosting-suffixes.ts";
import {
  guestLimitDocument,
  guestLimitOf,
  limitDocument,
  limitOf,
} from "../../../src/config/policy/limit.ts";
import { refusal } from "../../support/refusal.ts";

describe("a time", () => {
  it.each([
    ["0s", 0],
    ["1ms", 1],
    ["1s", 1000],
    ["1m", 60_000],
    ["1h", 3_600_000],
    ["1d", 86_400_000],
    ["999999d", 86_399_913_600_000],
    ["1001ms", 1001],
    ["90s", 90_000],
    ["25h", 90_000_000],
  ])("%s is %i ms, and written so", (text, ms) => {
    expect(parseDuration(text)).toBe(ms);
    expect(formatDuration(ms)).toBe(text);
  });

  it("is written in the largest unit that divides it", () => {
    const texts = ["0ms", "60s", "1000ms", "60m", "24h", "48h", "0d"];
    expect(texts.map((text) => formatDuration(parseDuration(text)))).toEqual([
      ...["0s", "1m", "1s", "1h", "1d", "2d", "0s"],
    ]);
  });

  it.each(["", "60", "s", "-1s", "1.5s", "1 s", " 1s", "1s ", "1w", "1S", "1000000s", "1ss", "x1s"])(
    "is not %j",
    (text) => {
      expect(refusal(() => parseDuration(text))).toEqual(["a time such as 60s, 10m or 2h", text]);
    },
  );
});

describe("a limit", () => {
  it.each([
    ["1B", 1],
    ["7B", 7],
    ["1kB", 1000],
    ["1MB", 1_000_000],
    ["1GB", 1_000_000_000],
    ["1KiB", 1024],
    ["1MiB", 1_048_576],
    ["1GiB", 1_073_741_824],
    ["1500kB", 1_500_000],
    ["1001B", 1001],
    ["3MiB", 3_145_728],
    ["512KiB", 524_288],
  ])("of %s is %i octets, in all or a second, and written so", (text, octets) => {
    const written = { rate: `${text}/s`, bytes: text };
    const limit = { rate: octets, bytes: octets };
    expect(limitOf({ allow: "a.example", limit: written })).toEqual(limit);
    expect(limitDocument(limit)).toEqual(written);
  });

  it("is written in the largest unit that says it exactly", () => {
    // 125 MiB and 131,072 kB are the same: the larger unit has it.
    expect(limitDocument({ bytes: 131_072_000 })).toEqual({ bytes: "125MiB" });
    expect(limitDocument({ bytes: 1_024_000 })).toEqual({ bytes: "1000KiB" });
  });

  it("of a rule has its parts, and no others", () => {
    expect(limitOf({ allow: "a.example" })).toBeUndefined();
    for (const [written, limit] of [
      [{}, {}],
      [{ connections: 9 }, { connections: 9 }],
      [{ new: "20/s" }, { newFlows: 20 }],
      [
        { connections: 1, new: "1/s" },
        { connections: 1, newFlows: 1 },
      ],
    ] as const) {
      expect(limitOf({ allow: "a.example", limit: written })).toStrictEqual(limit);
      expect(limitDocument(limit)).toStrictEqual(written);
    }
  });

  it("of the guest has its parts, and no others", () => {
    expect(guestLimitOf({ version: 1 })).toBeUndefined();
    for (const [written, limit] of [
      [{}, {}],
      [{ new: "500/s" }, { newFlows: 500 }],
      [{ dns: "100/s" }, { questions: 100 }],
    ] as const) {
      expect(guestLimitOf({ version: 1, limit: written })).toStrictEqual(limit);
      expect(guestLimitDocument(limit)).toStrictEqual(written);
    }
  });
});

describe("a flow", () => {
  const words = [0, 0, 0xffff, (203 << 24) | (113 << 8) | 9];

  it.each([
    ["www.example.com", { name: "www.example.com" }, 443, "tcp"],
    ["www.example.com:80", { name: "www.example.com" }, 80, "tcp"],
    ["www.example.com:80/tcp", { name: "www.example.com" }, 80, "tcp"],
    ["ntp.example.net:123/udp", { name: "ntp.example.net" }, 123, "udp"],
    ["www.example.com/quic", { name: "www.example.com" }, 443, "quic"],
    ["203.0.113.9:443", { words }, 443, "tcp"],
    ["203.0.113.9:53/udp", { words }, 53, "udp"],
    ["[2001:db8::1]:22", { words: [0x20010db8, 0, 0, 1] }, 22, "tcp"],
  ])("%s", (text, host, port, protocol) => {
    expect(parseFlow(text)).toEqual({ host, port, protocol });
  });

  it.each([
    "203.0.113.9",
    "203.0.113.9/tcp",
    "203.0.113.0/24:443",
    "[2001:db8::/32]:22",
    "*.example.com",
    "*:443",
    "@public:443",
    "@any:443",
    "www.example.com:80,443",
    "www.example.com:80-81",
    "203.0.113.9:80,443",
  ])("is not %s", (text) => {
    expect(refusal(() => parseFlow(text))).toEqual([
      "one name or address and one port, such as packages.example.com, 203.0.113.9:443, ntp.example.net:123/udp or cdn.example.net:443/quic",
      undefined,
    ]);
  });
});

it("names under a hosting suffix are anybody's, and only those", () => {
  const anybodys = ["github.io", "me.github.io", "a.b.blob.core.windows.net", "x.on.aws"];
  expect(anybodys.map(isHosting)).toEqual([true, true, true, true]);
  expect(["io", "notgithub.io", "github.io.example", "com"].map(isHosting)).toEqual([
    false,
    false,
    false,
    false,
  ]);
});
