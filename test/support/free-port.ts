/** A port of 127.0.0.1 for a program that is started later. */
import { randomInt } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";

const FIRST = 10_000;

/**
 * Free now, and below those the kernel gives to clients: one of theirs may be taken by anybody's next connection before
 * the program gets to it.
 */
export async function freePort(): Promise<number> {
  const [end] = readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8").split(/\s+/).map(Number);
  for (;;) {
    const port = end > FIRST ? randomInt(FIRST, end) : 0;
    const server = createServer();
    const found = await new Promise<number>((resolve) => {
      server.once("error", () => resolve(0));
      server.listen(port, "127.0.0.1", () => resolve((server.address() as { port: number }).port));
    });
    if (found === 0) continue;
    await new Promise((resolve) => server.close(resolve));
    return found;
  }
}
