/** docs/vhost-user.md's lines for libvirt, as they stand there, in a domain that libvirt of Debian unstable starts. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { domainXml, LibvirtGuest, libvirtLacks } from "../support/libvirt-guest.ts";
import { PROJECT_ROOT } from "../support/project-root.ts";
import { needsGuest } from "../support/qemu-guest.ts";

const lacks = libvirtLacks("vhost-user under libvirt");

/** A machine with what the page says of its memory and its card. */
function domain(): string {
  const page = readFileSync(join(PROJECT_ROOT, "docs/vhost-user.md"), "utf8");
  const [, memory = "", card = ""] =
    /```xml\n([\s\S]*?)<devices>\n([\s\S]*?)<\/devices>\n```/.exec(page) ?? [];
  return domainXml(memory, card);
}

describe.skipIf(lacks.length > 0)("a guest of libvirt's with the page's card", () => {
  it("has a lease and a way out; a declared port is reached, another refused", async (context) => {
    needsGuest(context);
    const guest = new LibvirtGuest();
    try {
      writeFileSync(join(guest.folder, "domain.xml"), domain().replaceAll("FOLDER", guest.folder));
      const { stdout, stderr } = await guest.run("vhost-libvirt.sh").ended;
      expect(stdout.trim().split("\n"), stderr).toEqual([
        "valid: yes",
        "state: running",
        "lease: 10.0.2.15/24",
        "egress: from-outside",
        "declared: from-the-guest",
        "undeclared: refused",
        "status: 0",
      ]);
    } finally {
      guest.remove();
    }
  });
});
