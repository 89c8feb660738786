/**
 * Hairpinning (RFC 4787 REQ-9, RFC 5382 REQ-8) with the real sockets: two endpoints of the guest reach each other by
 * what they are called outside. The host's kernel turns the corner; what the guest sees is the outside name of either.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { defaultEngineConfig } from "../../src/engine/config.ts";
import { createEngineCore } from "../../src/engine/engine.ts";
import { type EngineHost, startEngine } from "../../src/host/engine-host.ts";
import { asTcp, asUdp, GATEWAY, tcp, udp } from "../hostile/guest-packets.ts";
import { Stack } from "../oracle/stacks.ts";
import { KeptLog } from "../support/link-rig.ts";

const [SYN, ACK] = [2, 16];
const GUEST_PORT = 8080;
const PATIENCE_MS = 3000;

let directory = "";
let engine: EngineHost;
let guest: Stack;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "sluice-hairpin-"));
  const path = join(directory, "guest.sock");
  // The gateway's address stands for the host's loopback, which is as good an outside address as any.
  const forward = { hostAddress: 0x7f000001, hostPort: 0, guestAddress: 0, guestPort: GUEST_PORT };
  const config = {
    ...defaultEngineConfig(),
    allowHostLoopback: true,
    forwards: [
      { protocol: "tcp", ...forward },
      { protocol: "udp", ...forward },
    ] as const,
  };
  const link = { kind: "qemu-listen", address: { kind: "unix", path } } as const;
  // Preserved ports are outside ports that a test knows.
  const outbound = { udpPorts: { preserve: true, ephemeralMax: 65_535 } };
  engine = await startEngine({ config, link, log: new KeptLog(), outbound }, createEngineCore);
  guest = await Stack.join(path, () => engine.stop());
  // The guest shows itself, and the forwards need not ask for it any more.
  await guest.exchange(udp({ to: GATEWAY, sourcePort: 45_000, destinationPort: 9 }), 150);
});

afterEach(async () => {
  await guest.close();
  rmSync(directory, { recursive: true });
});

/** What comes back to a frame, without the engine asking who the guest of its forwards is. */
async function exchange(frame: Uint8Array, patienceMs = PATIENCE_MS): Promise<Buffer[]> {
  const frames = await guest.exchange(frame, patienceMs);
  return frames.filter((octets) => octets.readUInt16BE(12) === 0x0800);
}

describe("hairpinning", () => {
  it("RFC 4787 REQ-9: a datagram to a mapping's outside port comes in at that mapping, from the sender's", async () => {
    const send = (sourcePort: number, destinationPort: number, text: string) =>
      exchange(udp({ to: GATEWAY, sourcePort, destinationPort, payload: Buffer.from(text) }));
    // 45011 and 45012 are their own outside ports.
    await exchange(udp({ to: GATEWAY, sourcePort: 45_012, destinationPort: 9 }), 150);
    const [frame] = await send(45_011, 45_012, "round the corner");
    const { payload, ...datagram } = asUdp(frame);
    expect(datagram).toEqual({
      source: GATEWAY,
      to: 0x0a00020f,
      sourcePort: 45_011,
      destinationPort: 45_012,
    });
    expect(payload.toString()).toBe("round the corner");
    const [back] = await send(45_012, 45_011, "and back");
    expect(asUdp(back).destinationPort).toBe(45_011);
  });

  it("RFC 4787 REQ-9: a datagram to a forwarded port of its own reaches the guest, and so does the answer", async () => {
    const [, port] = engine.forwardPorts;
    const question = udp({
      to: GATEWAY,
      sourcePort: 45_013,
      destinationPort: port,
      payload: Buffer.from("?"),
    });
    const [asked] = (await exchange(question)).map(asUdp);
    expect(asked).toMatchObject({ source: GATEWAY, sourcePort: 45_013, destinationPort: GUEST_PORT });
    const answer = udp({
      to: GATEWAY,
      sourcePort: GUEST_PORT,
      destinationPort: asked.sourcePort,
      payload: Buffer.from("!"),
    });
    const [answered] = (await exchange(answer)).map(asUdp);
    expect(answered).toMatchObject({ source: GATEWAY, sourcePort: port, destinationPort: 45_013 });
  });

  it("RFC 5382 REQ-8: a connection to a forwarded port of its own opens, and octets go round", async () => {
    const [port] = engine.forwardPorts;
    const mine = { to: GATEWAY, sourcePort: 45_014, destinationPort: port };
    const options = { mss: 1460 };
    const first = await exchange(tcp({ ...mine, flags: SYN, sequence: 100, options }));
    // The host answers its own connection at once: a SYN-ACK for the caller, a SYN for the callee.
    const synAck = first.map(asTcp).find(({ flags }) => flags === (SYN | ACK));
    const syn = first.map(asTcp).find(({ flags }) => flags === SYN);
    expect(synAck).toMatchObject({ sourcePort: port, destinationPort: 45_014, acknowledgment: 101 });
    expect(syn).toMatchObject({ destinationPort: GUEST_PORT });
    if (synAck === undefined || syn === undefined) return;
    const theirs = { to: GATEWAY, sourcePort: GUEST_PORT, destinationPort: syn.sourcePort };
    const accepted = { flags: SYN | ACK, sequence: 500, acknowledgment: syn.sequence + 1, options };
    await exchange(tcp({ ...theirs, ...accepted }), 100);
    const payload = Buffer.from("round the corner");
    const spoken = { flags: ACK, sequence: 101, acknowledgment: synAck.sequence + 1, payload };
    const heard = (await exchange(tcp({ ...mine, ...spoken }))).map(asTcp);
    const data = heard.find((segment) => segment.payload.length > 0);
    expect(data).toMatchObject({ destinationPort: GUEST_PORT, sourcePort: syn.sourcePort });
    expect(data?.payload.toString()).toBe("round the corner");
  });
});
