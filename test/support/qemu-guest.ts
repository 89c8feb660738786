/**
 * A Linux guest under QEMU, without acceleration, or as a program (User-Mode Linux): busybox, one network card (eth0) and a shell script of the test's,
 * which talks to the test over the serial console.
 *
 *     needsGuest(context);
 *     const guest = bootGuest({
 *       netdev: ["-netdev", `stream,id=n0,addr.type=unix,addr.path=${path}`, "-device", "virtio-net-pci,netdev=n0"],
 *       script: "udhcpc -i eth0 -n -q\necho guest-ready\nread line\necho got $line",
 *     });
 *     await guest.waitFor(/^guest-ready\n/m);
 *     guest.send("hello\n");
 *     expect(await guest.exited).toBe(0);        // the script ended and the guest powered off
 *     expect(guest.status).toBe(0);              // the script's own status
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cpioArchive } from "./cpio.ts";
import { bootFiles, type GuestKernel } from "./guest-kernel.ts";
import { type Needs, needs } from "./requirements.ts";

/** Programs such a guest is made of. */
const QEMU_NEEDS: Needs = { commands: ["qemu-system-x86_64", "busybox"] };
const UML_NEEDS: Needs = { commands: ["linux.uml", "busybox"] };

/** Call it first in a test with such a guest: skips it, as `needs` does, where QEMU or a kernel cannot be had. */
export function needsGuest(context: Parameters<typeof needs>[0], kernel: GuestKernel = "virtio"): void {
  needs(context, kernel === "uml" ? UML_NEEDS : QEMU_NEEDS);
  try {
    bootFiles(kernel);
  } catch (error) {
    process.stderr.write(`no kernel for the guest: ${(error as Error).message}\n`);
    needs(context, { commands: [`a kernel (${kernel})`] });
  }
}

/** The kernel's command line under QEMU; a test that appends its own begins with it. */
export const KERNEL_ARGUMENTS = "console=ttyS0 quiet panic=-1 reboot=t mitigations=off random.trust_cpu=on";

/** A machine without acceleration that others load may take long. */
const BOOT_LIMIT_MS = 60_000;

export interface GuestScript {
  /** Shell script for busybox sh, run as root; ends with the guest powering off. */
  readonly script: string;
  /** Default `virtio`; `e1000` has only the e1000 driver. */
  readonly kernel?: GuestKernel;
  /** Further files in the guest, by absolute path. */
  readonly files?: Readonly<Record<string, Uint8Array | string>>;
}

/**
 * A script that does what `QemuGuest.run` types into the console. `before` is run first; then `guest-ready` is said.
 */
export function shellScript(before: string): string {
  return `${before}
echo guest-ready
while read -r number line; do
  (eval "$line") </dev/null
  echo "guest-done $number $?"
done
`;
}

export interface GuestOptions extends GuestScript {
  /** QEMU's `-netdev` and `-device` arguments; User-Mode Linux's of its cards. */
  readonly netdev: readonly string[];
  /** What is run, in place of qemu-system-x86_64, such as `["node", "sluice.cjs", "qemu", "--", "qemu-system-x86_64"]`. */
  readonly command?: readonly string[];
  /** Let a `reboot -f` in the guest start it anew; otherwise QEMU exits then. */
  readonly reboots?: boolean;
  /** File descriptors for QEMU: the first is 3, and so on. */
  readonly descriptors?: readonly number[];
}

/** A directory with what one boot needs, and QEMU's arguments for it: machine, kernel, console, no network. */
export class GuestBoot {
  readonly directory = mkdtempSync(join(tmpdir(), "sluice-test-guest-"));
  readonly args: readonly string[];
  /** The program, and what makes it end where the guest would start anew. */
  readonly program: string;
  readonly endsOnReboot: readonly string[];
  /** What ends it and all of it: User-Mode Linux has processes of its own, which it ends itself. */
  readonly killSignal: NodeJS.Signals;

  /** Throws when there is no kernel and none can be downloaded. */
  constructor(script: GuestScript) {
    const boot = bootFiles(script.kernel ?? "virtio");
    const initrd = join(this.directory, "initrd");
    writeFileSync(initrd, Buffer.concat([readFileSync(boot.initrd), scriptArchive(script)]));
    if (script.kernel === "uml") {
      // Its memory is a file below TMPDIR, as are its console's sockets below HOME.
      this.program = boot.kernel;
      this.endsOnReboot = [];
      this.killSignal = "SIGTERM";
      this.args = [
        "mem=192M",
        `initrd=${initrd}`,
        `uml_dir=${this.directory}/`,
        "con0=fd:0,fd:1",
        "con=null",
        "console=tty0",
        "quiet",
      ];
      return;
    }
    this.program = "qemu-system-x86_64";
    this.endsOnReboot = ["-no-reboot"];
    this.killSignal = "SIGKILL";
    this.args = [
      ...["-nodefaults", "-no-user-config", "-display", "none", "-accel", "tcg", "-m", "192"],
      ...["-kernel", boot.kernel, "-initrd", initrd],
      ...["-append", KERNEL_ARGUMENTS],
      ...["-serial", "stdio", "-monitor", "none"],
    ];
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Starts a guest; does not wait for it. */
export function bootGuest(options: GuestOptions): QemuGuest {
  return new QemuGuest(options);
}

export class QemuGuest {
  /** All that came over the console so far, without carriage returns. */
  output = "";
  /** QEMU's own words. */
  errors = "";
  /** Settles with QEMU's exit status once it has ended; -1 when a signal ended it. */
  readonly exited: Promise<number>;
  readonly process: ChildProcess;
  private readonly boot: GuestBoot;
  private readonly killSignal: NodeJS.Signals;
  private readonly waiters = new Set<() => void>();
  private ended = false;
  private lines = 0;

  constructor(options: GuestOptions) {
    this.boot = new GuestBoot(options);
    const [command, ...words] = options.command ?? [this.boot.program];
    // What started QEMU ends it, and cannot when it is killed itself: QEMU would go on, with these pipes.
    this.killSignal = options.command === undefined ? this.boot.killSignal : "SIGTERM";
    const reboot = options.reboots ? [] : this.boot.endsOnReboot;
    this.process = spawn(command, [...words, ...this.boot.args, ...reboot, ...options.netdev], {
      stdio: ["pipe", "pipe", "pipe", ...(options.descriptors ?? [])],
    });
    this.process.stdin!.on("error", () => {});
    this.process.stdout!.setEncoding("utf8").on("data", (text: string) => {
      this.output += text.replaceAll("\r", "");
      this.wake();
    });
    this.process.stderr!.setEncoding("utf8").on("data", (text: string) => {
      this.errors += text;
    });
    this.exited = new Promise((resolve, reject) => {
      this.process.once("error", reject);
      this.process.once("close", (code) => {
        this.ended = true;
        this.boot.remove();
        this.wake();
        resolve(code ?? -1);
      });
    });
    this.exited.catch(() => {});
  }

  /** The script's exit status, or undefined when the guest did not get to the script's end. */
  get status(): number | undefined {
    const text = /^guest-exit (\d+)$/m.exec(this.output)?.[1];
    return text === undefined ? undefined : Number(text);
  }

  /** Waits for the `occurrence`-th match on the console. Throws, with the console, when time is up or QEMU ended. */
  async waitFor(marker: RegExp, occurrence = 1, timeoutMs = BOOT_LIMIT_MS): Promise<RegExpMatchArray> {
    const all = new RegExp(marker.source, [...new Set(`${marker.flags}g`)].join(""));
    const end = performance.now() + timeoutMs;
    for (;;) {
      const matches = [...this.output.matchAll(all)];
      if (matches.length >= occurrence) return matches[occurrence - 1];
      const left = end - performance.now();
      if (this.ended || left <= 0) {
        const why = this.ended ? "QEMU ended" : `${timeoutMs} ms passed`;
        throw new Error(
          `${why} before ${marker} (${occurrence}) was on the console:\n${this.output}\n${this.errors}`,
        );
      }
      await this.change(left);
    }
  }

  /** Types into the console. */
  send(text: string): void {
    this.process.stdin!.write(text);
  }

  /** Has a guest with `shellScript` run a line of shell. Gives its output; throws when it fails. */
  async run(line: string, timeoutMs = BOOT_LIMIT_MS): Promise<string> {
    const number = this.lines++;
    const from = this.output.length;
    this.send(`${number} ${line}\n`);
    const [, status] = await this.waitFor(new RegExp(`^guest-done ${number} (\\d+)\n`, "m"), 1, timeoutMs);
    const text = this.output.slice(from).replace(/^guest-done .*\n/gm, "");
    if (status !== "0") throw new Error(`status ${status} of: ${line}\n${text}`);
    return text;
  }

  /** Ends QEMU at once, and waits for that. */
  async kill(signal: NodeJS.Signals = this.killSignal): Promise<void> {
    if (!this.ended) this.process.kill(signal);
    await this.exited.catch(() => {});
  }

  private change(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.waiters.delete(done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.waiters.add(done);
    });
  }

  private wake(): void {
    for (const waiter of [...this.waiters]) waiter();
  }
}

function scriptArchive({ script, files = {} }: GuestScript): Buffer {
  const entries = Object.entries({ ...files, "/script": script });
  const directories = new Set(
    entries.flatMap(([path]) => {
      const parts = path.split("/").slice(1, -1);
      return parts.map((_, i) => parts.slice(0, i + 1).join("/"));
    }),
  );
  return cpioArchive([
    ...[...directories].map((name) => ({ name, mode: 0o040755 })),
    ...entries.map(([path, content]) => ({
      name: path.slice(1),
      mode: 0o100755,
      content: Buffer.from(content),
    })),
  ]);
}
