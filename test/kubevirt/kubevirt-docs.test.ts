/** docs/kubevirt.md tells the truth: each row of its table names files that have a test with the row's number in its title. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { withCard } from "../../src/kubevirt/binding/domain-xml.ts";

const ROOT = new URL("../../", import.meta.url);
const DOCUMENT = readFileSync(new URL("docs/kubevirt.md", ROOT), "utf8");

/** `| K20 | text | files |`. */
const ROWS = [...DOCUMENT.matchAll(/^\| (K\d+) \| ([^|]+) \| ([^|]+) \|$/gm)].map(([, number, , files]) => ({
  number,
  files: [...files.matchAll(/`([^`]+)`/g)].map(([, file]) => file),
}));

const NUMBERS = [
  "K20",
  "K21",
  "K22",
  "K23",
  "K24",
  "K25",
  "K26",
  "K27",
  "K28",
  "K29",
  "K30",
  "K31",
  "K32",
  "K33",
  "K34",
  "K35",
  "K36",
  "K37",
  "K38",
  "K39",
];

describe("docs/kubevirt.md", () => {
  it("has one row for each requirement of the plugin", () => {
    expect(ROWS.map(({ number }) => number)).toEqual(NUMBERS);
  });

  it.each(ROWS)("$number is tested where the table says", ({ number, files }) => {
    expect(files.length).toBeGreaterThan(0);
    for (const file of files) {
      const text = readFileSync(new URL(`test/${file}`, ROOT), "utf8");
      const titles = [...text.matchAll(/"((?:K\d+ )+[^"]*)"/g)].map(([, title]) => title);
      expect(
        titles.some((title) => new RegExp(`\\b${number}\\b`).test(title)),
        `${number} in ${file}`,
      ).toBe(true);
    }
  });

  it("shows the interface as it is made", () => {
    const made = withCard("<domain><devices/></domain>", {
      name: "default",
      mac: "02:11:22:33:44:55",
      model: "virtio-non-transitional",
      source: { kind: "vhost-user", path: "/var/run/kubevirt-hooks/hook-sidecar-0/engine/card.sock" },
      mtu: 65520,
      isDown: false,
      takesMemory: false,
    });
    const [, shown = ""] = /^```xml\n(.*?)^```/ms.exec(DOCUMENT) ?? [];
    expect(made).toBe(
      `<domain>${shown.replace(/>\s+</g, "><").trim().replace("<interface", "<devices><interface")}</devices></domain>`,
    );
  });
});
