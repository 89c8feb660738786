/**
 * Does what a test asks, in the guest or on the host: one JSON task per line on standard input, `{ "id", "task", ... }`,
 * one answer per line on standard output, `{ "id", "result" }` or `{ "id", "error" }`. Tasks run at the same time.
 * Data are pseudo-random, each stream with its own seed, so that octets in the wrong place or stream are noticed.
 */
import { createHash } from "node:crypto";
import { createSocket } from "node:dgram";
import { Resolver } from "node:dns/promises";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { createInterface } from "node:readline";
import packet from "dns-packet";

const CHUNK_OCTETS = 1 << 18;

/** Octets of a stream: xorshift words, the same for the same seed. */
function* chunks(octets, seed) {
  const words = new Uint32Array(CHUNK_OCTETS / 4);
  let state = (seed * 2654435761) >>> 0 || 1;
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  for (let at = 0; at < octets; at += CHUNK_OCTETS) {
    words[0] = at;
    words[1] = seed;
    yield Buffer.from(words.buffer).subarray(0, Math.min(CHUNK_OCTETS, octets - at));
  }
}

/** Writes the stream and closes this direction. Returns its digest. */
async function pour(socket, octets, seed) {
  const hash = createHash("sha256");
  for (const chunk of chunks(octets, seed)) {
    hash.update(chunk);
    // The generator writes into the same buffer next time.
    if (!socket.write(Buffer.from(chunk))) await once(socket, "drain");
  }
  socket.end();
  return hash.digest("hex");
}

async function drain(socket) {
  const hash = createHash("sha256");
  let octets = 0;
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    octets += chunk.length;
    hash.update(chunk);
  }
  return { octets, sha256: hash.digest("hex") };
}

async function text(socket) {
  const parts = [];
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) parts.push(chunk);
  return Buffer.concat(parts).toString("latin1");
}

/** What servers do with a connection, by the name of their kind. */
const SERVICES = {
  async sink(socket) {
    const got = await drain(socket);
    socket.end(JSON.stringify(got));
  },
  async source(socket, { octets, seed }) {
    socket.resume();
    await pour(socket, octets, seed);
  },
  echo(socket) {
    socket.pipe(socket);
  },
  whoami(socket) {
    socket.end(socket.remoteAddress.replace("::ffff:", ""));
  },
  /** Resets as soon as something comes. */
  reset(socket) {
    socket.once("data", () => socket.resetAndDestroy());
  },
  /** Says something, closes its direction, and goes on listening; `collected` tells what came then. */
  async farewell(socket, _options, server) {
    socket.end("farewell");
    server.collected = await text(socket);
  },
  hold(socket) {
    socket.resume();
  },
  /** One page. */
  httpHello(socket) {
    socket.once("data", () =>
      socket.end("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"),
    );
  },
  /** Leaves every connection open, also when its client has closed; see sayToAll. */
  keep(socket, _options, server) {
    server.kept ??= new Set();
    server.kept.add(socket);
    socket.resume();
  },
};

const servers = new Map();
const held = new Map();

function open(host, port) {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, allowHalfOpen: true });
    socket.once("error", reject);
    socket.once("connect", () => {
      socket.off("error", reject);
      socket.on("error", (error) => {
        socket.failure = error.code;
      });
      resolve(socket);
    });
  });
}

function bindUdp(address, port) {
  const socket = createSocket({
    type: address.includes(":") ? "udp6" : "udp4",
    recvBufferSize: 4 << 20,
    sendBufferSize: 1 << 20,
  });
  return new Promise((resolve, reject) => {
    socket.once("error", reject);
    socket.bind(port, address, () => resolve(socket));
  });
}

/** Sends until the answer that `isAnswer` accepts comes; datagrams may get lost. */
async function ask(socket, message, { host, port, timeoutMs = 2000, tries = 5 }, isAnswer = () => true) {
  for (let attempt = 0; attempt < tries; attempt++) {
    const answer = new Promise((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      const listen = (octets, from) => {
        if (!isAnswer(octets)) return;
        clearTimeout(timer);
        socket.off("message", listen);
        resolve({ octets, from: `${from.address}:${from.port}` });
      };
      socket.on("message", listen);
    });
    await new Promise((resolve, reject) =>
      socket.send(message, port, host, (error) => (error ? reject(error) : resolve())),
    );
    const got = await answer;
    if (got) return got;
  }
  return undefined;
}

const TASKS = {
  /** Serves TCP; gives the port. */
  async tcpServer({ kind, host = "127.0.0.1", port = 0, ...options }) {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on("error", (error) => {
        server.failure = error.code;
      });
      Promise.resolve(SERVICES[kind](socket, options, server)).catch(() => {});
    });
    server.listen({ port, host, backlog: 1024 });
    await once(server, "listening");
    servers.set(server.address().port, server);
    return server.address().port;
  },
  closeServer({ port }) {
    return new Promise((resolve) => servers.get(port).close(() => resolve()));
  },
  /** What a farewell was answered with. */
  collected({ port }) {
    return servers.get(port).collected;
  },
  /** How the last connection that failed did. */
  failure({ port }) {
    return servers.get(port).failure;
  },
  /** Serves a Unix socket. */
  async unixServer({ kind, path, ...options }) {
    const server = createServer({ allowHalfOpen: true }, (socket) => SERVICES[kind](socket, options, server));
    server.listen(path);
    await once(server, "listening");
  },
  /** Sends a stream; gives its digest and what the server says it got. */
  async upload({ host, port, octets, seed }) {
    const socket = await open(host, port);
    const reply = text(socket);
    const sha256 = await pour(socket, octets, seed);
    return { octets, sha256, server: JSON.parse(await reply) };
  },
  async download({ host, port }) {
    const socket = await open(host, port);
    const got = await drain(socket);
    socket.end();
    return { ...got, failure: socket.failure };
  },
  /** What the stream of a source is. */
  digest({ octets, seed }) {
    const hash = createHash("sha256");
    for (const chunk of chunks(octets, seed)) hash.update(chunk);
    return hash.digest("hex");
  },
  /** `count` connections, all open before the first says something; each sends its own stream to an echo. */
  async many({ host, port, count, octets }) {
    const all = await Promise.all(Array.from({ length: count }, () => open(host, port)));
    const right = await Promise.all(
      all.map(async (socket, i) => {
        const got = drain(socket);
        const sha256 = await pour(socket, octets, i + 1);
        const echoed = await got;
        return echoed.sha256 === sha256 && echoed.octets === octets;
      }),
    );
    return right.filter(Boolean).length;
  },
  /** Connects, sends, closes its direction, reads to the end. */
  async exchange({ host, port, message = "" }) {
    const socket = await open(host, port);
    const reply = text(socket);
    socket.end(Buffer.from(message, "latin1"));
    return reply;
  },
  /** Waits for the server's end before it says its own words. */
  async listenThenTalk({ host, port, message }) {
    const socket = await open(host, port);
    const heard = await text(socket);
    socket.end(message);
    await once(socket, "close");
    return heard;
  },
  /** Connects; gives `connected`, an error code, or `timeout`, and the milliseconds it took. */
  async dial({ host, port, timeoutMs = 5000 }) {
    const begun = performance.now();
    const outcome = await Promise.race([
      open(host, port).then(
        (socket) => {
          socket.destroy();
          return "connected";
        },
        (error) => error.code,
      ),
      new Promise((resolve) => setTimeout(resolve, timeoutMs, "timeout")),
    ]);
    return { outcome, ms: performance.now() - begun };
  },
  /** Sends datagrams, one a moment, from a connected socket; gives the code with which it fails, or `silent`. */
  udpFailure({ host, port, timeoutMs = 1000 }) {
    const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
    return new Promise((resolve) => {
      const settle = (outcome) => {
        clearInterval(again);
        clearTimeout(end);
        socket.close();
        resolve(outcome);
      };
      const again = setInterval(() => socket.send("x", () => {}), 50);
      const end = setTimeout(settle, timeoutMs, "silent");
      socket.once("error", (error) => settle(error.code));
      socket.connect(port, host);
    });
  },
  /** Sends something, with `againMs` again and again; gives the code with which the connection fails, or `ended`. */
  failureAfter({ host, port, message = "x", againMs }) {
    return new Promise((resolve) => {
      const socket = connect({ host, port, allowHalfOpen: true }, () => socket.write(message));
      const again = againMs === undefined ? undefined : setInterval(() => socket.write(message), againMs);
      const settle = (outcome) => {
        clearInterval(again);
        resolve(outcome);
      };
      socket.once("error", (error) => settle(error.code));
      socket.once("end", () => settle("ended"));
      socket.resume();
    });
  },
  /** Keeps a connection open; with `keepAliveMs` its kernel asks after so long (Node: then ten times, 1 s apart). */
  async hold({ host, port, name, message = "held", keepAliveMs = 0, listening = false }) {
    const socket = await open(host, port);
    if (keepAliveMs > 0) socket.setKeepAlive(true, keepAliveMs);
    if (listening) socket.resume();
    held.set(name, socket);
    socket.write(message);
  },
  /** Opens so many connections, sends an octet on each and closes them. */
  async abandon({ host, port, count }) {
    for (const socket of await Promise.all(Array.from({ length: count }, () => open(host, port)))) {
      socket.write("x");
      socket.destroySoon();
    }
  },
  /** What a server of the kind "keep" says on every connection before it closes it. */
  sayToAll({ port, message }) {
    for (const socket of servers.get(port).kept) socket.end(message);
  },
  /** Resets every connection of a server of the kind "keep". */
  resetAll({ port }) {
    for (const socket of servers.get(port).kept) socket.resetAndDestroy();
  },
  /** Closes its direction of a kept connection; gives what comes before the other side's end. */
  async finishHeld({ name }) {
    const socket = held.get(name);
    socket.end();
    return text(socket);
  },
  /** The code a kept connection failed with. */
  failureHeld({ name }) {
    return held.get(name).failure;
  },
  /** Has an echo answer on a kept connection that was opened with an empty message; gives whether it was right. */
  async askHeld({ name, message }) {
    const socket = held.get(name);
    const answer = new Promise((resolve) => {
      let heard = "";
      const done = () => {
        socket.off("data", listen).off("close", done);
        resolve(heard);
      };
      const listen = (octets) => {
        heard += octets.toString("latin1");
        if (heard.length >= message.length) done();
      };
      socket.on("data", listen).on("close", done);
    });
    socket.write(message);
    return (await answer) === message;
  },
  /** Closes a kept connection, and forgets it. */
  closeHeld({ name }) {
    held.get(name).end();
    held.delete(name);
  },
  /** Closes a kept connection with a reset. */
  resetHeld({ name }) {
    held.get(name).resetAndDestroy();
    held.delete(name);
  },
  /** With `group`: of that group on the interface with the address `on`, answering from there. */
  async udpServer({ kind, host = "127.0.0.1", port = 0, group, on }) {
    const socket = await bindUdp(host, port);
    if (group !== undefined) socket.addMembership(group, on);
    socket.on("message", (octets, from) => {
      const answer = kind === "echo" ? octets : Buffer.from(from.address.replace("::ffff:", ""));
      socket.send(answer, from.port, from.address);
    });
    return socket.address().port;
  },
  /** Sends datagrams of these sizes to an echo, one after the other; gives those that never came back whole. */
  async udpEcho({ host, port, sizes }) {
    const socket = await bindUdp(host.includes(":") ? "::" : "0.0.0.0", 0);
    const lost = [];
    for (const size of sizes) {
      const message = Buffer.concat([...chunks(size, size + 1)]);
      const answer = await ask(socket, message, { host, port }, (octets) => octets.equals(message));
      if (!answer) lost.push(size);
    }
    socket.close();
    return lost;
  },
  async udpAsk({
    host,
    port,
    message,
    encoding = "latin1",
    bind = "0.0.0.0",
    bindPort = 0,
    ttl,
    ...options
  }) {
    const socket = await bindUdp(bind, bindPort);
    if (ttl !== undefined) socket.setMulticastTTL(ttl);
    const answer = await ask(socket, Buffer.from(message, encoding), { host, port, ...options });
    socket.close();
    return answer && { text: answer.octets.toString(encoding), from: answer.from };
  },
  /** A resolver by whom every name has this address, over UDP and TCP. */
  async dnsServer({ host, address, port = 53 }) {
    const answer = ({ id, questions }) => {
      const type = address.includes(":") ? "AAAA" : "A";
      const answers = questions.map(({ name }) => ({ type, name, ttl: 0, data: address }));
      return { type: "response", id, questions, answers };
    };
    const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
    socket.bind(port, host);
    await once(socket, "listening");
    socket.on("message", (octets, from) => {
      socket.send(packet.encode(answer(packet.decode(octets))), from.port, from.address);
    });
    const server = createServer((connection) => {
      connection.on("error", () => {});
      connection.on("data", (octets) =>
        connection.write(packet.streamEncode(answer(packet.streamDecode(octets)))),
      );
    });
    server.listen(port, host);
    await once(server, "listening");
  },
  /**
   * Asks over TCP, several questions on one connection, all at once or one after the other's answer. Answers in the order
   * in which they came; what the connection came to if it ended before.
   */
  async dnsOverTcp({ server, questions, pipelined = false, timeoutMs = 8000 }) {
    const socket = connect(53, server);
    socket.setTimeout(timeoutMs, () => socket.destroy(new Error("timeout")));
    const frames = questions.map(({ id, type, name }) =>
      packet.streamEncode({
        type: "query",
        id,
        flags: packet.RECURSION_DESIRED,
        questions: [{ type, name }],
      }),
    );
    const answers = [];
    if (pipelined) socket.write(Buffer.concat(frames));
    else socket.write(frames[0]);
    let received = Buffer.alloc(0);
    for await (const octets of socket) {
      received = Buffer.concat([received, octets]);
      while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
        const { id, rcode, answers: records } = packet.streamDecode(received);
        received = received.subarray(2 + received.readUInt16BE(0));
        answers.push({
          id,
          rcode,
          data: records.map(({ data }) => (Array.isArray(data) ? data.map(String) : data)),
        });
        if (answers.length === questions.length) return answers;
        if (!pipelined) socket.write(frames[answers.length]);
      }
    }
    return answers;
  },
  /** Asks DNS as c-ares does: UDP, then TCP when the answer is truncated. */
  async resolve({ server, name, type, timeoutMs = 5000 }) {
    const resolver = new Resolver({ timeout: timeoutMs, tries: 2 });
    resolver.setServers([server]);
    return resolver.resolve(name, type);
  },
  /** Sends frames as they are; gives how many the device took. */
  async frames({ device, frames, rounds = 1 }) {
    const { native } = await import("../../../dist/src/host/native/native.js");
    const stride = 2048;
    const table = frames.length * stride;
    const buffer = new ArrayBuffer(table + frames.length * 16);
    native.registerArena(buffer);
    const fd = native.packetSocket(device);
    if (fd < 0) throw new Error(`packetSocket: ${fd}`);
    frames.forEach((frame, i) => {
      const octets = Buffer.from(frame, "hex");
      new Uint8Array(buffer).set(octets, i * stride);
      new Int32Array(buffer, table + i * 16, 4).set([i * stride, octets.length, 0, 0]);
    });
    let sent = 0;
    for (let round = 0; round < rounds; round++) {
      for (let i = 0; i < frames.length; i++) {
        // One by one: what the device refuses (too short, too long) must not keep back the rest.
        if (native.writeFrames(fd, table + i * 16, 1) === 1) sent++;
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
    native.close(fd);
    return sent;
  },
};

const lines = createInterface({ input: process.stdin });
lines.on("line", async (line) => {
  const { id, task, ...options } = JSON.parse(line);
  let answer;
  try {
    answer = { id, result: await TASKS[task](options) };
  } catch (error) {
    answer = { id, error: error.code ?? error.message };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
});
lines.on("close", () => process.exit(0));
