import { describe, expect, it } from "vitest";
import { guestNsswitch } from "../../../src/host/process/name-service.ts";

describe("guestNsswitch", () => {
  it.each([
    ["files dns", "files dns"],
    ["files myhostname dns", "files myhostname dns"],
    // Debian with libnss-mdns, Fedora, Arch.
    ["files mdns4_minimal [NOTFOUND=return] dns", "files dns"],
    ["files myhostname resolve [!UNAVAIL=return] dns", "files myhostname dns"],
    ["mymachines resolve [!UNAVAIL=return] files myhostname dns", "files myhostname dns"],
    ["files [SUCCESS=return NOTFOUND=continue] dns", "files [SUCCESS=return NOTFOUND=continue] dns"],
    ["files sss", "files dns"],
    ["resolve", "dns"],
    ["files", "files"],
    ["files resolve[!UNAVAIL=return] dns # a comment", "files dns# a comment"],
  ])("hosts: %s -> %s", (sources, kept) => {
    expect(guestNsswitch(`hosts: ${sources}\n`)).toBe(`hosts: ${kept}\n`);
  });

  it("leaves other databases and comments as they are", () => {
    const text = "# hosts: resolve\npasswd:\tfiles systemd sss\n\tHosts: x\nnetworks: files\n";
    expect(guestNsswitch(text)).toBe(text);
    expect(guestNsswitch(`${text}  hosts:files  wins dns`)).toBe(`${text}  hosts: files dns`);
  });
});
