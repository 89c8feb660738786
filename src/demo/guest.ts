/**
 * The demo's guest: runs inside the namespace, does what it is asked on standard input (one JSON object per line) and
 * answers on standard output. Plain Node, so that the demo needs no other program in the guest.
 */
import { createServer, get } from "node:http";
import { connect, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { parseIpv4, parseMac } from "../config/address.ts";
import { getLease } from "./dhcp-lease.ts";
import { isPingReply, pingFrame } from "./guest-frames.ts";
import { PacketSocket } from "./packet-socket.ts";
import type { GuestAnswer, GuestTask } from "./tasks.ts";

const CHUNK = Buffer.alloc(262_144, "sluice ");
const PING_WAIT_MS = 300;

let packets: PacketSocket | undefined;

function packetSocket(device: string): PacketSocket {
  packets ??= new PacketSocket(device);
  return packets;
}

function fetchPage(url: string): Promise<GuestAnswer> {
  return new Promise((resolve, reject) => {
    get(url, { agent: false }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (text: string) => {
        body += text;
      });
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
    }).on("error", reject);
  });
}

/** Answers every request with the client's address, as the guest sees it. */
function servePage(port: number): Promise<GuestAnswer> {
  return new Promise((resolve, reject) => {
    const server = createServer((request, response) => {
      response.end(`the guest sees ${request.socket.remoteAddress} and says hello\n`);
    });
    server.once("error", reject);
    server.listen(port, "0.0.0.0", () => resolve({}));
  });
}

/** Moves data for a while: up writes as fast as it can, down takes what comes. */
function transfer(task: Extract<GuestTask, { do: "transfer" }>): Promise<GuestAnswer> {
  return new Promise((resolve, reject) => {
    const socket: Socket = connect(task.port, task.host);
    socket.once("error", reject);
    socket.once("close", () => resolve({}));
    socket.resume();
    socket.once("connect", () => {
      setTimeout(() => (task.direction === "up" ? socket.end() : socket.destroy()), task.ms);
      if (task.direction === "up") pour(socket);
    });
  });
}

function pour(socket: Socket): void {
  while (socket.writable && socket.write(CHUNK));
  if (socket.writable) socket.once("drain", () => pour(socket));
}

async function ping(task: Extract<GuestTask, { do: "ping" }>): Promise<GuestAnswer> {
  const socket = packetSocket(task.device);
  let answered = 0;
  for (let i = 1; i <= task.count; i++) {
    const ends = {
      sourceMac: parseMac(task.mac),
      destinationMac: parseMac(task.gatewayMac),
      source: parseIpv4(task.address),
      destination: parseIpv4(task.gateway),
    };
    socket.send(pingFrame(ends, i));
    if (await socket.receive(PING_WAIT_MS, isPingReply)) answered++;
  }
  return { answered };
}

/** Keeps a connection open so that the flow table has something to show. */
function hold(task: Extract<GuestTask, { do: "hold" }>): Promise<GuestAnswer> {
  return new Promise((resolve, reject) => {
    const socket = connect(task.port, task.host, () =>
      socket.write("held open for the flow table\n", () => resolve({})),
    );
    socket.once("error", reject);
  });
}

function dial(task: Extract<GuestTask, { do: "dial" }>): Promise<GuestAnswer> {
  return new Promise((resolve) => {
    const socket = connect(task.port, task.host, () => {
      socket.destroy();
      resolve({ outcome: "connected" });
    });
    socket.once("error", ({ code, message }: NodeJS.ErrnoException) => resolve({ outcome: code ?? message }));
  });
}

async function perform(task: GuestTask): Promise<GuestAnswer> {
  switch (task.do) {
    case "lease":
      return { lease: await getLease(task.device, parseMac(task.mac), packetSocket(task.device)) };
    case "fetch":
      return fetchPage(task.url);
    case "serve":
      return servePage(task.port);
    case "transfer":
      return transfer(task);
    case "ping":
      return ping(task);
    case "hold":
      return hold(task);
    case "dial":
      return dial(task);
  }
}

const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => {
  perform(JSON.parse(line) as GuestTask)
    .catch((error: Error): GuestAnswer => ({ error: error.message }))
    .then((answer) => process.stdout.write(`${JSON.stringify(answer)}\n`));
});
lines.on("close", () => process.exit(0));
