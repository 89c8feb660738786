/** The rules of the tree that a reader relies on, checked against the sources. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const SOURCES = readdirSync(join(ROOT, "src"), { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".ts"))
  .map((file) => ({ file: join("src", file), text: readFileSync(join(ROOT, "src", file), "utf8") }));

/** Lower layers first; a file may import from its own layer and from those before it. */
const LAYERS = [
  ["src/engine/limits.ts", "src/engine/metrics/"],
  ["src/engine/boundary.ts", "src/engine/memory/", "src/engine/time/", "src/engine/config.ts", "src/config/"],
  ["src/engine/wire/"],
  ["src/engine/link/"],
  ["src/engine/network/"],
  ["src/engine/api.ts", "src/engine/transport/", "src/engine/service/"],
  ["src/engine/engine.ts"],
];
const CORE = ["src/engine/"];

function layerOf(file: string): number {
  return LAYERS.findIndex((prefixes) => prefixes.some((prefix) => file.startsWith(prefix)));
}

function importsOf(text: string): { from: string; typeOnly: boolean }[] {
  const found = text.matchAll(/^(import|export)\s+(type\s)?[^"';]*?from\s+"([^"]+)"/gms);
  return [...found].map(([, , type, from]) => ({ from, typeOnly: type !== undefined }));
}

describe("architecture", () => {
  it("finds the sources", () => {
    expect(SOURCES.length).toBeGreaterThan(80);
  });

  it("lets only host, cli, kubevirt's host side and the library entry touch Node or the shim", () => {
    const outside = SOURCES.filter(({ file }) => CORE.some((prefix) => file.startsWith(prefix))).flatMap(
      ({ file, text }) => {
        const imports = importsOf(text).map(({ from }) => from);
        const bad = imports.filter((from) => from.startsWith("node:") || from.includes("/host/"));
        const calls = text.match(
          /\b(Date\.now|setTimeout|setInterval|setImmediate|Math\.random|process)\b[.(]/g,
        );
        return [...bad, ...(calls ?? [])].map((what) => `${file}: ${what}`);
      },
    );
    expect(outside).toEqual([]);
  });

  it("imports downward", () => {
    const upward = SOURCES.flatMap(({ file, text }) => {
      const layer = layerOf(file);
      if (layer < 0) return [];
      return importsOf(text)
        .filter(({ from, typeOnly }) => from.startsWith(".") && !typeOnly)
        .map(({ from }) => relative(ROOT, resolve(ROOT, dirname(file), from)))
        .filter((target) => layerOf(target) < 0 || layerOf(target) > layer)
        .map((target) => `${file} -> ${target}`);
    });
    expect(upward).toEqual([]);
  });

  it("keeps files and lines to a readable size", () => {
    const tooLong = SOURCES.filter(({ text }) => text.split("\n").length > 530).map(({ file }) => file);
    expect(tooLong).toEqual([]);
  });

  it("has no catch-all folders and no left markers", () => {
    const names = SOURCES.filter(({ file }) => /(utils|helpers|common)(\/|\.ts$)/.test(file));
    const marks = SOURCES.filter(({ text }) =>
      /\b(TODO|FIXME)\b|@ts-ignore|@ts-expect-error|\bas any\b[^-a-z ]/.test(text),
    );
    expect([...names, ...marks].map(({ file }) => file)).toEqual([]);
  });

  it("allocates nothing per packet by the calls that are known to", () => {
    const hot = ["wire", "link", "network", "transport"].map((room) => `src/engine/${room}/`);
    const calls = SOURCES.filter(({ file }) => hot.some((prefix) => file.startsWith(prefix)))
      .filter(({ file }) => !/wire\/(pcap|dhcp|dns)|flow-rows/.test(file))
      .flatMap(({ file, text }) =>
        [...text.matchAll(/\.subarray\(|\.readU?Int|Buffer\.(from|alloc|concat)|new (Map|Set)\(/g)].map(
          ([call]) => `${file}: ${call}`,
        ),
      )
      // Once per start.
      .filter((found) => found !== "src/engine/link/arp.ts: new Set(");
    expect(calls).toEqual([]);
  });
});
