/** A disk that fills up under a capture: one warning, whole records, and the guest does not notice. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readCapture } from "../../src/engine/wire/pcap.ts";
import { arpRequest } from "../support/arp-core.ts";
import { PROGRAM, run, until } from "../support/program.ts";
import { needs } from "../support/requirements.ts";
import { StreamPeer } from "../support/stream-peer.ts";

const DISK_OCTETS = 65_536;
/** Requests and replies of 42 octets with record headers of 16: several disks full. */
const REQUESTS = 4000;
const FILE_HEADER_OCTETS = 24;
const RECORD_OCTETS = 16 + 42;

const directory = mkdtempSync(join(tmpdir(), "sluice-test-fault-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe("a disk that is full", () => {
  it("ends the capture with one warning and whole records, and nothing else", async (context) => {
    const isRoot = process.geteuid!() === 0;
    needs(context, { commands: ["unshare", "mount"], ...(isRoot ? {} : { userNamespaces: true }) });
    const path = join(directory, "qemu.sock");
    const disk = join(directory, "disk");
    const capture = join(disk, "guest.pcap");
    const line = `mkdir ${disk} && mount -t tmpfs -o size=${DISK_OCTETS} none ${disk} && exec "$@"`;
    // Without advertisements of IPv6: every record is as long as the next.
    const options = ["--qemu-listen", `unix:${path}`, "--pcap", capture, "--ipv6", "off"];
    const command = [process.execPath, PROGRAM, "run", ...options];
    const user = isRoot ? [] : ["--user", "--map-root-user"];
    const running = run("unshare", [...user, "--mount", "sh", "-c", line, "sh", ...command]);
    await running.says(/ready/);
    const peer = await StreamPeer.connect(path);
    const arp = arpRequest();
    for (let sent = 1; sent <= REQUESTS; sent++) {
      peer.send(arp);
      if (sent % 500 === 0)
        await until(() => peer.frames.length === sent, "every request is answered", 60_000);
    }
    await running.says(/warn.*guest\.pcap|pcap .*recording stops, the guest is served on/);
    const recorded = readFileSync(`/proc/${running.child.pid}/root${capture}`);
    peer.socket.destroy();
    running.child.kill("SIGTERM");
    const { status, stderr } = await running.ended;
    expect(status).toBe(0);
    expect(stderr.match(/ENOSPC/g)).toHaveLength(1);
    // All that fits, down to the last whole record.
    const records = Math.floor((DISK_OCTETS - FILE_HEADER_OCTETS) / RECORD_OCTETS);
    expect(recorded.length).toBe(FILE_HEADER_OCTETS + records * RECORD_OCTETS);
    expect([...readCapture(recorded)]).toHaveLength(records);
  });
});
