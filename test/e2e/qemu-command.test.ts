/** `sluice qemu` with a stand-in for QEMU: what it is started with, and how it ends. QEMU itself is in other files. */
import { existsSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { sluice } from "../support/program.ts";

/** Prints its arguments, answers one ARP request's worth of socket, and ends with status 5. */
const STAND_IN = `
  const net = require("node:net");
  console.log(JSON.stringify(process.argv.slice(1)));
  const socket = new net.Socket({ fd: 3 });
  const frame = Buffer.from("ffffffffffff5254001234560806000108000604000152540012345600000000000000000000" + "0a000202", "hex");
  const head = Buffer.alloc(4);
  head.writeUInt32BE(frame.length);
  frame.writeUInt32BE(0x0a00020f, 28);
  socket.once("data", (data) => { console.log(data.subarray(4).toString("hex")); process.exit(5); });
  socket.write(Buffer.concat([head, frame]));`;

describe("QEMU", () => {
  it("gets a card whose socket the engine answers on, and its status is ours", async () => {
    const { status, stdout, stderr } = await sluice([
      "qemu",
      "--mtu",
      "9000",
      // No advertisement comes before the answer.
      "--ipv6",
      "off",
      "--",
      process.execPath,
      "-e",
      STAND_IN,
      "--",
      "-m",
      "1G",
    ]).ended;
    expect(stderr).toBe("");
    const [args, answer] = stdout.split("\n");
    expect(JSON.parse(args)).toEqual([
      "-m",
      "1G",
      "-netdev",
      "socket,id=sluice0,fd=3",
      "-device",
      "virtio-net-pci,netdev=sluice0,mac=52:54:00:12:34:56,host_mtu=9000",
    ]);
    // An ARP reply: 10.0.2.2 is at the gateway's MAC.
    expect(answer).toMatch(/^52540012345652550a00020208060001080006040002/);
    expect(status).toBe(5);
  });

  it("gets another model and MAC when asked", async () => {
    const argv = ["qemu", "--model", "e1000", "--guest-mac", "52:54:00:aa:bb:cc", "--", "echo"];
    const { stdout, status } = await sluice(argv).ended;
    expect(stdout).toBe(
      "-netdev socket,id=sluice0,fd=3 -device e1000,netdev=sluice0,mac=52:54:00:aa:bb:cc\n",
    );
    expect(status).toBe(0);
  });

  it.each([
    [["-m", "2G"], "size=2G,"],
    [["-m", "size=1.5G,slots=2,maxmem=8G"], "size=1.5G,"],
    [["-m", "slots=2,size=512"], "size=512M,"],
    [["-m", "1G", "-m", "96"], "size=96M,"],
    [["disk.img"], "size=128M,"],
  ])("with %j shares memory of that size with --vhost-user", async (words, size) => {
    const { stdout, stderr, status } = await sluice(["qemu", "--vhost-user", "--", "echo", ...words]).ended;
    expect(stderr).toBe("");
    expect(status).toBe(0);
    const [before, after = ""] = stdout.split("-chardev ");
    expect(before).toBe(
      `${words.join(" ")} -object memory-backend-memfd,id=sluice-memory,${size}share=on -machine memory-backend=sluice-memory `,
    );
    expect(after).toMatch(
      /^socket,id=sluice0-socket,path=\S+card\.sock -netdev vhost-user,id=sluice0,chardev=sluice0-socket -device virtio-net-pci,netdev=sluice0,mac=52:54:00:12:34:56,rx_queue_size=1024\n$/,
    );
    expect(existsSync(/path=(\S+card\.sock)/.exec(after)?.[1] ?? "")).toBe(false);
  });

  it("that says itself where its memory is from keeps it", async () => {
    const words = [
      "-object",
      "memory-backend-file,id=m,mem-path=/dev/shm/x,size=1G,share=on",
      "-machine",
      "memory-backend=m",
    ];
    const { stdout } = await sluice(["qemu", "--vhost-user", "--", "echo", ...words]).ended;
    expect(stdout).not.toContain("memfd");
    expect(stdout).toContain("vhost-user,id=sluice0");
  });

  it("shares memory with a virtio card only", async () => {
    const { stderr, status } = await sluice(["qemu", "--vhost-user", "--model", "e1000", "--", "echo"]).ended;
    expect(stderr).toContain("--model");
    expect(stderr).toContain("virtio beside --vhost-user");
    expect(status).toBe(2);
  });

  it("that is not there is a sentence", async () => {
    const { stderr, status } = await sluice(["qemu", "--", "no-such-qemu"]).ended;
    expect(stderr).toContain("sluice qemu: no-such-qemu could not be started");
    expect(status).toBe(1);
  });
});
