/** The control API under those who mean no good by it, or too much: what the supervisor keeps for them is bounded. */
import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { State } from "../../src/control/schema.ts";
import { ControlPlace } from "../support/control-command.ts";
import { PROGRAM, type Running, run, until } from "../support/program.ts";

const GROWTH_MAX_KIB = 8 * 1024;
/** Of the API. */
const CONNECTIONS_MAX = 64;
const BODY_MAX = 1_048_576;
const REQUEST_MS = 30_000;

let place: ControlPlace;
let supervisor: Running;
const sockets: Socket[] = [];

beforeEach(async () => {
  place = new ControlPlace();
  const link = ["--qemu-listen", `unix:${place.file("vm.sock")}`];
  supervisor = run(process.execPath, [PROGRAM, "run", ...link, ...place.options]);
  await supervisor.says(/ready/);
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  supervisor.child.kill("SIGTERM");
  await supervisor.ended;
  place.remove();
});

/** Connects, and writes what it has to say. */
function say(text: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(place.path, () => {
      if (text !== "") socket.write(text);
      resolve(socket);
    });
    sockets.push(socket);
    socket.on("error", reject);
  });
}

const heard = new WeakMap<Socket, string>();
/** What comes until the other end closes, or `isEnough`. */
function hear(socket: Socket, isEnough = (_: string): boolean => false): Promise<string> {
  return new Promise((resolve) => {
    socket.on("data", (octets) => {
      heard.set(socket, `${heard.get(socket) ?? ""}${octets}`);
      if (isEnough(heard.get(socket) ?? "")) resolve(heard.get(socket) ?? "");
    });
    socket.once("close", () => resolve(heard.get(socket) ?? ""));
  });
}

const isClosed = (socket: Socket): boolean => socket.destroyed || socket.readableEnded;

/** KiB that the supervisor has in memory. */
function resident(): number {
  const status = readFileSync(`/proc/${supervisor.child.pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]);
}

const isServed = async (): Promise<boolean> =>
  (JSON.parse(await place.ask("state", "--json")) as State).command === "run";

/** Whole requests of this size, one after the other. Gives their answers' status codes. */
async function put(octets: number, times: number): Promise<string[]> {
  const codes: string[] = [];
  const body = `{"level":"info"}`.padEnd(octets, " ");
  for (let i = 0; i < times; i++) {
    const socket = await say("");
    const answer = hear(socket);
    const head = `PUT /v1/log HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n`;
    socket.write(`${head}Content-Length: ${octets}\r\n\r\n${body}`);
    codes.push((await answer).slice(9, 12));
  }
  return codes;
}

describe("C6 the supervisor", () => {
  it("gives up a request that takes its time, and serves others then", async () => {
    expect(await isServed()).toBe(true);
    const before = resident();
    const begun = performance.now();
    const slow = await Promise.all(
      Array.from({ length: CONNECTIONS_MAX }, () => say("GET /v1/state HTTP/1.1\r\nHost: x\r\n")),
    );
    const answers = slow.map((socket) => hear(socket));
    const drip = setInterval(() => {
      for (const socket of slow) if (!isClosed(socket)) socket.write("X: y\r\n");
    }, 1000);
    await expect(place.ask("state", "--json")).rejects.toThrow();
    const told = await Promise.all(answers);
    clearInterval(drip);
    expect(told.map((text) => text.split("\r\n")[0])).toEqual(told.map(() => "HTTP/1.1 408 Request Timeout"));
    const tookMs = performance.now() - begun;
    expect(tookMs).toBeGreaterThan(REQUEST_MS - 1000);
    expect(tookMs).toBeLessThan(REQUEST_MS + 15_000);
    expect(await isServed()).toBe(true);
    expect(resident() - before).toBeLessThan(GROWTH_MAX_KIB);
  });

  it("has 64 connections at a time, of a thousand that come", async () => {
    expect(await isServed()).toBe(true);
    const before = resident();
    for (let round = 0; round < 3; round++) {
      const all: Socket[] = [];
      while (all.length < 1000) {
        const some = await Promise.all(Array.from({ length: 50 }, () => say("")));
        for (const socket of some) socket.resume().on("error", () => {});
        all.push(...some);
      }
      await until(() => all.filter(isClosed).length >= 1000 - CONNECTIONS_MAX, "the end of those too many");
      expect(all.filter((socket) => !isClosed(socket))).toHaveLength(CONNECTIONS_MAX);
      for (const socket of all) socket.destroy();
      await until(() => isServed().catch(() => false), "room for others");
    }
    expect(resident() - before).toBeLessThan(GROWTH_MAX_KIB);
  });

  it("keeps no body longer than it answers, and reads none to its end that is too long", async () => {
    // What a body needs while it is there is collected when there is more of it: one round has all of that.
    await bodies();
    const before = resident();
    for (let round = 0; round < 3; round++) await bodies();
    expect(await isServed()).toBe(true);
    expect(resident() - before).toBeLessThan(GROWTH_MAX_KIB);
  });
});

/** Of all sizes: the largest there may be, one octet more, and ones of 1 GiB that are never ended. */
async function bodies(): Promise<void> {
  expect(await put(BODY_MAX, 20)).toEqual(Array.from({ length: 20 }, () => "204"));
  expect(await put(BODY_MAX + 1, 8)).toEqual(Array.from({ length: 8 }, () => "413"));
  const piece = Buffer.alloc(65_536, " ");
  for (let i = 0; i < 20; i++) {
    const socket = await say(
      `PUT /v1/log HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${2 ** 30}\r\n\r\n`,
    );
    // Who writes on does not always hear why it ends.
    socket.removeAllListeners("error").on("error", () => {});
    const answer = hear(socket);
    const pour = (): void => {
      while (!isClosed(socket) && socket.write(piece));
    };
    socket.on("drain", pour);
    pour();
    expect((await answer).slice(0, 12)).toMatch(/^(HTTP\/1.1 413)?$/);
    expect(socket.bytesWritten).toBeLessThan(4 * BODY_MAX);
  }
}
