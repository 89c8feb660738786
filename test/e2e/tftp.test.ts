/**
 * `--tftp` with the clients that people have: in a namespace, and in the ROMs and loaders of machines without a disk. What
 * it lets nobody out of is in test/host/served-folder.test.ts; here the engine that serves is confined.
 */
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { bootProgram, EXIT_DEVICE, EXIT_STATUS } from "../support/boot-program.ts";
import { run, sluice } from "../support/program.ts";
import { needs, TUN_DEVICE } from "../support/requirements.ts";

const directory = mkdtempSync(join(tmpdir(), "sluice-test-tftp-"));
chmodSync(directory, 0o755);
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const served = join(directory, "served");
const fetched = join(directory, "fetched");
mkdirSync(join(served, "sub"), { recursive: true });
mkdirSync(fetched);
chmodSync(fetched, 0o777);
const LINE = "This machine was booted by TFTP.";
const program = bootProgram(LINE, 30_000);
writeFileSync(join(served, "boot.0"), program);
writeFileSync(join(served, "sub", "large"), Buffer.alloc(3_000_000, program));
writeFileSync(join(served, "text"), "one\ntwo\n");
writeFileSync(join(directory, "outside"), "secret");
symlinkSync("sub/large", join(served, "by-link"));
symlinkSync("../outside", join(served, "out"));

const exec = (command: readonly string[]) =>
  sluice(["exec", "--tftp", served, "--tun-device", TUN_DEVICE, "--", ...command], { cwd: fetched }).ended;

describe("a client in a namespace fetches a file", () => {
  it.for([
    { client: "curl", args: ["--silent", "--show-error", "-o", "got", "tftp://10.0.2.2/sub/large"] },
    { client: "curl", args: ["-sS", "--tftp-blksize", "1400", "-o", "got", "tftp://10.0.2.2/by-link"] },
    { client: "busybox", args: ["tftp", "-g", "-l", "got", "-r", "sub/large", "10.0.2.2"] },
    { client: "busybox", args: ["tftp", "-g", "-b", "1468", "-l", "got", "-r", "/sub/large", "10.0.2.2"] },
    {
      client: "atftp",
      args: [
        "-g",
        "-l",
        "got",
        "-r",
        "sub/large",
        "--option",
        "windowsize 16",
        "--option",
        "blksize 1400",
        "10.0.2.2",
      ],
    },
    { client: "tftp", args: ["-m", "binary", "10.0.2.2", "-c", "get", "sub/large", "got"] },
  ])("$client $args", async ({ client, args }, context) => {
    needs(context, { tun: true, userNamespaces: true, commands: [client] });
    const got = join(fetched, "got");
    rmSync(got, { force: true });
    const { status, stderr } = await exec([client, ...args]);
    expect([status, stderr.replace(/^(got.*%.*|Option .*)$/gm, "").trim()]).toEqual([0, ""]);
    expect(Buffer.compare(readFileSync(got), readFileSync(join(served, "sub", "large")))).toBe(0);
  });

  it("as text", async (context) => {
    needs(context, { tun: true, userNamespaces: true, commands: ["curl"] });
    const { status, stdout } = await exec(["curl", "-sS", "tftp://10.0.2.2/text;mode=netascii"]);
    expect([status, stdout]).toEqual([0, "one\r\ntwo\r\n"]);
  });

  it("and none that is not in the folder", async (context) => {
    needs(context, { tun: true, userNamespaces: true, commands: ["curl"] });
    // Statuses of curl's: 68 file not found, 69 permission. Where the link leads there is nothing in the engine's view.
    for (const [path, status] of [
      ["missing", 68],
      ["out", 68],
      ["/etc/passwd", 68],
      ["sub", 69],
    ] as const) {
      const ended = await exec(["curl", "-sS", `tftp://10.0.2.2/${path}`]);
      expect([path, ended.status, ended.stdout]).toEqual([path, status, ""]);
    }
  });
});

describe("the folder", () => {
  it.each(["/", "/missing", join(served, "text")])("is not %s", async (path) => {
    const { status, stderr } = await sluice(["exec", "--tftp", path, "--", "true"]).ended;
    expect(stderr).toContain(`--tftp: found "${path}"; allowed: a folder that is there, other than /`);
    expect(status).toBe(2);
  });

  it("is told of at the start when the engine's user may not enter it", async (context) => {
    needs(context, { root: true, tun: true });
    const closed = join(directory, "closed");
    mkdirSync(closed, { mode: 0o700 });
    const { status, stderr } = await sluice(["exec", "--tftp", closed, "--", "true"]).ended;
    expect(stderr).toMatch(
      /--tftp .*closed: .*permission denied.*the engine, which reads it, runs as uid 65534/,
    );
    expect(status).toBe(1);
  });
});

describe("a machine without a disk", () => {
  it.for([
    { model: "e1000", rom: "pxe-e1000.rom" },
    { model: "virtio", rom: "pxe-virtio.rom" },
    { model: "rtl8139", rom: "pxe-rtl8139.rom" },
    { model: "ne2k_pci", rom: "pxe-ne2k_pci.rom" },
    { model: "pcnet", rom: "pxe-pcnet.rom" },
  ])("boots by the iPXE of its $model card", async ({ model, rom }, context) => {
    needs(context, { commands: ["qemu-system-x86_64"], files: [`/usr/lib/ipxe/qemu/${rom}`] });
    const { status, stdout, stderr } = await sluice([
      ...["qemu", "--tftp", served, "--boot-file", "boot.0", "--model", model, "--"],
      ...["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-accel", "tcg"],
      ...["-m", "64", "-boot", "n", "-no-reboot", "-serial", "stdio", ...EXIT_DEVICE],
    ]).ended;
    expect([stderr, stdout, status]).toEqual(["", `${LINE}\r\n`, EXIT_STATUS]);
  });

  const OVMF = ["/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"];
  const GRUB = "/usr/lib/grub/x86_64-efi/moddep.lst";
  it("boots GRUB by OVMF's own PXE, and GRUB reads its configuration the same way", async (context) => {
    needs(context, { commands: ["qemu-system-x86_64", "grub-mkimage"], files: [...OVMF, GRUB] });
    const grub = join(served, "grub");
    mkdirSync(grub);
    const modules = ["efinet", "tftp", "net", "normal", "serial", "echo", "halt", "sleep"];
    const image = [
      "-O",
      "x86_64-efi",
      "-p",
      "(tftp,10.0.2.2)/grub",
      "-o",
      join(grub, "core.efi"),
      ...modules,
    ];
    expect(spawnSync("grub-mkimage", image, { encoding: "utf8" }).stderr).toBe("");
    writeFileSync(
      join(grub, "grub.cfg"),
      `serial --unit=0\nterminal_output serial\necho "${LINE} ($net_default_server)"\nhalt\n`,
    );
    const variables = join(directory, "variables.fd");
    copyFileSync(OVMF[1], variables);
    const socket = join(directory, "ovmf.sock");
    const engine = sluice([
      ...["run", "--qemu-listen", `unix:${socket}`, "--tftp", served, "--boot-file", "grub/core.efi"],
    ]);
    await engine.says(/ready/);
    // Without the card's ROM, which is iPXE.
    const qemu = run("qemu-system-x86_64", [
      ...[
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-accel",
        "tcg",
        "-m",
        "256",
        "-machine",
        "q35",
      ],
      ...["-drive", `if=pflash,format=raw,readonly=on,file=${OVMF[0]}`],
      ...["-drive", `if=pflash,format=raw,file=${variables}`, "-serial", "stdio", "-boot", "n"],
      ...["-netdev", `stream,id=n0,server=off,addr.type=unix,addr.path=${socket}`],
      ...["-device", "virtio-net-pci,netdev=n0,romfile=,bootindex=1"],
    ]);
    try {
      await qemu.says(new RegExp(`${LINE.replaceAll(".", "\\.")} \\(10\\.0\\.2\\.2\\)`), "stdout");
    } finally {
      qemu.child.kill("SIGKILL");
      await qemu.ended;
      engine.child.kill("SIGTERM");
      await engine.ended;
    }
    expect(existsSync(socket)).toBe(false);
  });
});
