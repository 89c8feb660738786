/**
 * A machine without a disk whose firmware has IPv6: iPXE in the card's ROM, OVMF by PXE and by HTTP. It finds its router,
 * asks DHCPv6 what to boot (option 59), and fetches it.
 */
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { reportOf } from "../support/namespace-guest.ts";
import { type Running, run, sluice } from "../support/program.ts";
import { needs } from "../support/requirements.ts";

const ROUTER = "fd71:1ae0:d44d:2::2";
const LINE = "booted over IPv6";
const OVMF = ["/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"];
const GRUB = "/usr/lib/grub/x86_64-efi/moddep.lst";
const MODULES = ["efinet", "tftp", "net", "normal", "serial", "echo", "halt", "sleep", "terminal"];

const directory = mkdtempSync(join(tmpdir(), "sluice-test-boot6-"));
const served = join(directory, "served");
/** What was asked for over HTTP, at ::1. */
const asked: string[] = [];
const web = createServer((request, response) => {
  asked.push(`${request.method} ${decodeURIComponent(request.url!)}`);
  const page = request.url === "/core.efi" ? readFileSync(join(served, "core.efi")) : script();
  // OVMF asks for the length first, with HEAD.
  response.setHeader("Content-Length", page.length);
  response.end(page);
});
const port = (): number => (web.address() as AddressInfo).port;

/** Says what it has of IPv6, by asking for it. */
function script(): string {
  const settings = ["net0.dhcpv6/ip6", "net0.dhcpv6/dns6"].map((name) => `\${${name}}`);
  return `#!ipxe\nchain http://[${ROUTER}]:${port()}/lease/${settings.join("/")}\n`;
}

beforeAll(() => {
  mkdirSync(served, { mode: 0o755 });
  return new Promise<void>((resolve) => web.listen(0, "::1", resolve));
});
beforeEach(() => {
  asked.length = 0;
});
afterAll(() => {
  web.closeAllConnections();
  web.close();
  rmSync(directory, { recursive: true, force: true });
});

/** Boots QEMU behind an engine; `look` waits for what is to happen. Gives the engine's counters and drops. */
async function boot(
  options: readonly string[],
  machine: readonly string[],
  look: (qemu: Running) => Promise<unknown>,
): Promise<{ counters: Readonly<Record<string, number>>; drops: Readonly<Record<string, number>> }> {
  const socket = join(directory, "guest.sock");
  const engine = sluice(["run", "--qemu-listen", `unix:${socket}`, "--ipv6", "on", ...options]);
  await engine.says(/ready/);
  const qemu = run("qemu-system-x86_64", [
    ...[
      "-nodefaults",
      "-no-user-config",
      "-display",
      "none",
      "-accel",
      "tcg",
      "-serial",
      "stdio",
      "-boot",
      "n",
    ],
    ...["-netdev", `stream,id=n0,server=off,addr.type=unix,addr.path=${socket}`, ...machine],
  ]);
  try {
    await look(qemu);
    return await reportOf(engine);
  } finally {
    qemu.child.kill("SIGKILL");
    await qemu.ended;
    engine.child.kill("SIGTERM");
    await engine.ended;
  }
}

describe("iPXE", () => {
  it("boots from its card by the URL that DHCPv6 names, and has its address there", async (context) => {
    needs(context, { commands: ["qemu-system-x86_64"], files: ["/usr/lib/ipxe/qemu/pxe-virtio.rom"] });
    const { drops } = await boot(
      ["--ipv4", "off", "--allow-host-loopback", "--boot-file", `http://[${ROUTER}]:${port()}/script.ipxe`],
      ["-m", "128", "-device", "virtio-net-pci,netdev=n0,bootindex=1"],
      async () => {
        while (asked.length < 2) await new Promise((resolve) => setTimeout(resolve, 50));
      },
    );
    expect(asked.slice(0, 2)).toEqual([
      "GET /script.ipxe",
      `GET /lease/fd71:1ae0:d44d:2::15/fd71:1ae0:d44d:2::3`,
    ]);
    // It asks for IPv4 as well.
    expect(Object.keys(drops).filter((name) => name !== "link-down")).toEqual(["ipv4-off"]);
  });
});

describe("OVMF", () => {
  /** Without the card's ROM, which is iPXE; the firmware's own PXE is for the families that are said to be `y`. */
  function machine(pxe4: "y" | "n", pxe6: "y" | "n"): string[] {
    const variables = join(directory, "variables.fd");
    copyFileSync(OVMF[1], variables);
    const support = (family: string, value: string): string[] => [
      "-fw_cfg",
      `name=opt/org.tianocore/${family}PXESupport,string=${value}`,
    ];
    return [
      ...["-m", "256", "-machine", "q35", ...support("IPv4", pxe4), ...support("IPv6", pxe6)],
      ...["-drive", `if=pflash,format=raw,readonly=on,file=${OVMF[0]}`],
      ...["-drive", `if=pflash,format=raw,file=${variables}`],
      ...["-device", "virtio-net-pci,netdev=n0,romfile=,bootindex=1"],
    ];
  }

  /** GRUB, which looks for its configuration there. */
  function image(prefix: string, ...more: string[]): void {
    const words = ["-O", "x86_64-efi", "-p", prefix, "-o", join(served, "core.efi"), ...more, ...MODULES];
    expect(spawnSync("grub-mkimage", words, { encoding: "utf8" }).stderr).toBe("");
  }

  const SAY = `serial --unit=0\nterminal_output serial\necho "${LINE} ($net_default_server)"\nhalt\n`;

  beforeEach((context) =>
    needs(context, { commands: ["qemu-system-x86_64", "grub-mkimage"], files: [...OVMF, GRUB] }),
  );

  it("boots GRUB by PXE from the folder of --tftp, and GRUB reads its configuration there", async () => {
    image(`(tftp,${ROUTER})/`);
    writeFileSync(join(served, "grub.cfg"), SAY);
    const { counters, drops } = await boot(
      ["--ipv4", "off", "--tftp", served, "--boot-file", "core.efi"],
      machine("n", "y"),
      (qemu) => qemu.says(new RegExp(`${LINE} \\(${ROUTER}\\)`), "stdout"),
    );
    expect(counters).toMatchObject({ "tftp-completed": 2 });
    expect(Object.keys(drops).filter((name) => name !== "link-down")).toEqual(["mld"]);
  });

  it("boots GRUB by HTTP", async () => {
    const config = join(directory, "early.cfg");
    writeFileSync(config, SAY);
    image("/", "-c", config);
    await boot(
      // Over IPv4, which it tries first, it is to hear of nothing.
      ["--allow-host-loopback", "--dhcp6-option", `59=text:http://[${ROUTER}]:${port()}/core.efi`],
      machine("n", "n"),
      (qemu) => qemu.says(new RegExp(LINE), "stdout"),
    );
    expect(asked).toEqual(["HEAD /core.efi", "GET /core.efi"]);
  }, 400_000);
});
