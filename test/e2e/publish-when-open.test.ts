/** `--publish-when-open` before a real kernel on both sides. */
import { connect } from "node:net";
import { describe, expect, it } from "vitest";
import { freePort } from "../support/free-port.ts";
import { sluice, until } from "../support/program.ts";
import { needs, TUN_DEVICE } from "../support/requirements.ts";

function reach(port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    let text = "";
    socket.on("data", (octets) => {
      text += octets;
    });
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? ""));
    socket.once("end", () => resolve(text));
  });
}

/** A server that says how many it has accepted, told over its standard input when to listen and when not. */
const SERVER = `let count = 0; const net = require("net");
const server = net.createServer((s) => s.end(String(++count)));
process.stdin.on("data", (word) => String(word).trim() === "open" ? server.listen(80, "0.0.0.0") : server.close());
console.log("waiting");`;

describe("--publish-when-open", () => {
  it("K33 refuses while the guest's port is closed, lets in while it is open, and its program hears of clients alone", async (context) => {
    needs(context, { tun: true, userNamespaces: true });
    const [port, always] = [await freePort(), await freePort()];
    const command = ["exec", "--tun-device", TUN_DEVICE, "--publish-when-open", "-p", `${port}:80`];
    const guest = sluice([...command, "-p", `udp:${always}:53`, "--", process.execPath, "-e", SERVER], {
      stdio: ["pipe", "pipe", "pipe"],
    });
    await guest.says(/waiting/, "stdout");
    expect(await reach(port)).toBe("ECONNREFUSED");
    await new Promise((resolve) => setTimeout(resolve, 1500));
    expect(await reach(port)).toBe("ECONNREFUSED");
    for (const first of [1, 3]) {
      guest.child.stdin?.write("open\n");
      await until(async () => (await reach(port)) === String(first), "the port is open");
      // Several questions later.
      await new Promise((resolve) => setTimeout(resolve, 2500));
      expect(await reach(port)).toBe(String(first + 1));
      guest.child.stdin?.write("close\n");
      await until(async () => (await reach(port)) === "ECONNREFUSED", "the port is closed");
    }
    guest.child.kill("SIGTERM");
    await guest.ended;
  });
});
