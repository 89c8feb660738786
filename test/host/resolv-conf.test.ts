import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  interpretResolvConf,
  parseResolvConf,
  type ResolvConf,
  readResolvConf,
  resolvConfFile,
} from "../../src/host/resolv-conf.ts";
import { until } from "../support/link-rig.ts";

const v4 = (address: number) => ({ words: [0, 0, 0xffff, address], port: 53, scope: 0 });
const noDevices = (): number => -19;

describe("parsing", () => {
  it("takes nameservers in order, once each, and the last search list", () => {
    const conf = parseResolvConf(
      [
        "# made by hand",
        "; another comment",
        "domain example.org",
        "nameserver 127.0.0.53",
        "  nameserver\t192.0.2.1  trailing words",
        "nameserver 192.0.2.1",
        "nameserver 2001:db8::53",
        "nameserver 198.51.100.7",
        "search a.example b.example",
        "options edns0 trust-ad ndots:2",
      ].join("\n"),
      noDevices,
    );
    expect(conf.resolvers).toEqual([
      v4(0x7f000035),
      v4(0xc0000201 | 0),
      { words: [0x20010db8, 0, 0, 0x53], port: 53, scope: 0 },
      v4(0xc6336407 | 0),
    ]);
    expect(conf.search).toEqual(["a.example", "b.example"]);
  });

  it("keeps the scope of link-local resolvers, by name or number", () => {
    const devices = (name: string): number => (name === "eth7" ? 7 : -19);
    const text = "nameserver fe80::1%eth7\nnameserver fe80::2%3\nnameserver fe80::3%gone0\n";
    const { resolvers } = parseResolvConf(text, devices);
    expect(resolvers.map(({ scope, words }) => [scope, words[0] >>> 0, words[3]])).toEqual([
      [7, 0xfe800000, 1],
      [3, 0xfe800000, 2],
    ]);
  });

  it.each([
    "nameserver",
    "nameserver  ",
    "nameserver not-an-address",
    "nameserver 256.1.1.1",
    "nameserver 1.2.3",
    "nameserver 0.0.0.0",
    "nameserver [2001:db8::1]",
    "nameservers 192.0.2.1",
    "search",
    "\u0000\ufffd\u0001",
    "",
  ])("skips %j", (line) => {
    const { resolvers } = parseResolvConf(`${line}\nnameserver 192.0.2.9\r\n${line}`, noDevices);
    expect(resolvers).toEqual([v4(0xc0000209 | 0)]);
  });
});

describe("following", () => {
  let directory = "";
  let stop: (() => void) | undefined;
  let seen: ResolvConf[] = [];

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "sluice-resolv-"));
    seen = [];
  });

  afterEach(() => {
    stop?.();
    rmSync(directory, { recursive: true });
  });

  const path = (name = "resolv.conf"): string => join(directory, name);
  const follow = (): void => {
    stop = resolvConfFile(path()).follow(() => seen.push(readResolvConf(path())));
  };
  const last = (): number | undefined => seen.at(-1)?.resolvers[0].words[3];

  it("sees a rewrite", async () => {
    writeFileSync(path(), "nameserver 10.0.0.1\n");
    follow();
    writeFileSync(path(), "nameserver 10.0.0.2\n");
    await until(() => last() === 0x0a000002, "the new resolver");
  });

  it("sees replacements by rename, one after the other", async () => {
    writeFileSync(path(), "nameserver 10.0.0.1\n");
    follow();
    for (const host of [2, 3, 4]) {
      writeFileSync(path("new"), `nameserver 10.0.0.${host}\n`);
      renameSync(path("new"), path());
      await until(() => last() === 0x0a000000 + host, `resolver ${host}`);
    }
  });

  it("sees a symbolic link that points elsewhere, and its target rewritten in another directory", async () => {
    mkdirSync(path("run"));
    writeFileSync(path("run/stub"), "nameserver 127.0.0.53\n");
    writeFileSync(path("run/real"), "nameserver 10.0.0.1\n");
    symlinkSync("run/stub", path());
    expect(readResolvConf(path()).resolvers).toEqual([v4(0x7f000035)]);
    follow();
    symlinkSync("run/real", path("new"));
    renameSync(path("new"), path());
    await until(() => last() === 0x0a000001, "the other target");
    writeFileSync(path("run/next"), "nameserver 10.0.0.9\n");
    renameSync(path("run/next"), path("run/real"));
    await until(() => last() === 0x0a000009, "the target's new content");
  });

  it("falls back to the local machine while the file is missing or empty", async () => {
    expect(readResolvConf(path()).resolvers).toEqual([v4(0x7f000001)]);
    follow();
    writeFileSync(path(), "nameserver 10.0.0.1\n");
    await until(() => last() === 0x0a000001, "the file");
    unlinkSync(path());
    await until(() => last() === 0x7f000001, "its loss");
  });

  it("survives a directory that is not there", () => {
    const file = resolvConfFile(join(directory, "no", "such", "file"));
    stop = file.follow(() => {});
    expect(interpretResolvConf(file.text).resolvers).toEqual([v4(0x7f000001)]);
  });
});
