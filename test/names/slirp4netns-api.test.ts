/** slirp4netns' API, asked as its clients ask. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Forward } from "../../src/engine/config.ts";
import { Slirp4netnsApi, serveApi } from "../../src/names/slirp4netns-api.ts";
import { ip } from "../support/frames.ts";

let directory: string;
let path: string;
let close: () => void;
let added: Forward[];
let removed: number[];
let isEnding = false;

const forwards = {
  add: async (forward: Forward) => {
    if (forward.hostPort === 22) throw new Error("taken");
    // Ids of others are in between.
    return { id: added.push(forward) * 10 };
  },
  remove: async (id: number) => {
    if (isEnding) throw new Error("the engine ended");
    removed.push(id);
  },
};

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "sluice-api-"));
  path = join(directory, "api.sock");
  added = [];
  removed = [];
  isEnding = false;
  writeFileSync(path, "an old one");
  close = await serveApi(path, new Slirp4netnsApi(forwards, "10.0.2.100"));
});
afterEach(() => {
  close();
  expect(existsSync(path)).toBe(false);
  rmSync(directory, { recursive: true });
});

/** Everything that is answered to `parts`, sent one after the other; `half`: the client closes its side. */
function ask(parts: readonly (string | Buffer)[], half = true): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path, allowHalfOpen: true });
    let answer = "";
    socket.setEncoding("utf8").on("data", (text: string) => {
      answer += text;
    });
    socket.once("end", () => {
      socket.destroy();
      resolve(answer);
    });
    socket.once("error", reject);
    for (const part of parts) socket.write(part);
    if (half) socket.end();
  });
}

const request = async (value: unknown, half = true): Promise<unknown> =>
  JSON.parse(await ask([JSON.stringify(value)], half));
const add = (given: object): Promise<unknown> => request({ execute: "add_hostfwd", arguments: given });

describe("forwards", () => {
  it("are added with numbers of their own, listed in both forms, and removed", async () => {
    const whole = {
      proto: "udp",
      host_addr: "127.0.0.1",
      host_port: 53,
      guest_addr: "10.0.2.50",
      guest_port: 5353,
    };
    expect(await add({ proto: "tcp", host_port: 8080, guest_port: 80 })).toEqual({ return: { id: 1 } });
    expect(await add({ ...whole, guest_addr: "10.0.2.50" })).toEqual({ return: { id: 2 } });
    expect(added).toEqual([
      { protocol: "tcp", hostAddress: 0, hostPort: 8080, guestAddress: ip("10.0.2.100"), guestPort: 80 },
      {
        protocol: "udp",
        hostAddress: ip("127.0.0.1"),
        hostPort: 53,
        guestAddress: ip("10.0.2.50"),
        guestPort: 5353,
      },
    ]);
    const entries = [
      {
        id: 1,
        proto: "tcp",
        host_addr: "0.0.0.0",
        host_port: 8080,
        guest_addr: "10.0.2.100",
        guest_port: 80,
      },
      { id: 2, ...whole },
    ];
    expect(await request({ execute: "list_hostfwd" })).toEqual({ return: { entries }, entries });
    isEnding = true;
    expect(await request({ execute: "remove_hostfwd", arguments: { id: 2 } })).toEqual({
      error: { desc: "bad request: remove_hostfwd: slirp_remove_hostfwd failed" },
    });
    isEnding = false;
    expect(await request({ execute: "remove_hostfwd", arguments: { id: 1 } })).toEqual({ return: {} });
    expect(removed).toEqual([10]);
    expect(await add({ proto: "tcp", host_addr: "", host_port: 1, guest_addr: "", guest_port: 2 })).toEqual({
      return: { id: 3 },
    });
    expect(await request({ execute: "remove_hostfwd", arguments: { id: 1 } })).toEqual({
      error: { desc: "bad request: remove_hostfwd: bad arguments.id" },
    });
  });

  it("that cannot be had leave no number behind", async () => {
    expect(await add({ proto: "tcp", host_port: 22, guest_port: 22 })).toEqual({
      error: { desc: "bad request: add_hostfwd: slirp_add_hostfwd failed" },
    });
    expect(await add({ proto: "tcp", host_port: 23, guest_port: 22 })).toEqual({ return: { id: 1 } });
  });
});

describe("a request", () => {
  it.each([
    ["badjson\n", "cannot parse JSON"],
    ["", "cannot parse JSON"],
    ["[1]", "json_object() failed"],
    ["42", "json_object() failed"],
    ['{"unexpectedjson": 42}', "no execute found"],
    ['{"execute": "bad"}', "unknown execute"],
    ['{"execute": 1}', "unknown execute"],
    ['{"execute": "add_hostfwd"}', "add_hostfwd: bad arguments.proto"],
    ['{"execute": "add_hostfwd", "arguments": {"proto": "bad"}}', "add_hostfwd: bad arguments.proto"],
    ['{"execute": "add_hostfwd", "arguments": {"proto": "tcp"}}', "add_hostfwd: bad arguments.host_port"],
    [
      '{"execute": "add_hostfwd", "arguments": {"proto": "tcp", "host_addr": "::1"}}',
      "add_hostfwd: bad arguments.host_addr",
    ],
    [
      '{"execute": "add_hostfwd", "arguments": {"proto": "tcp", "host_port": "80"}}',
      "add_hostfwd: bad arguments.host_port",
    ],
    [
      '{"execute": "add_hostfwd", "arguments": {"proto": "tcp", "host_port": 80}}',
      "add_hostfwd: bad arguments.guest_port",
    ],
    [
      '{"execute": "add_hostfwd", "arguments": {"proto": "tcp", "host_port": 80, "guest_addr": 1}}',
      "add_hostfwd: bad arguments.guest_addr",
    ],
    [
      '{"execute": "add_hostfwd", "arguments": {"proto": "tcp", "host_port": 65536, "guest_port": 1}}',
      "add_hostfwd: bad arguments.host_port",
    ],
    ['{"execute": "remove_hostfwd"}', "remove_hostfwd: bad arguments.id"],
  ])("%s is answered with what is wrong", async (text, desc) => {
    expect(JSON.parse(await ask([text]))).toEqual({ error: { desc: `bad request: ${desc}` } });
    expect(added).toEqual([]);
  });

  it("that is complete is answered without waiting for its end", async () => {
    expect(await ask(['{"execute": "list_', 'hostfwd"}'], false)).toBe(
      '{"return":{"entries":[]},"entries":[]}',
    );
  });

  it("that never ends is answered at 4096 octets, and cut off a little later", async () => {
    const zeros = Buffer.alloc(300_000);
    expect(JSON.parse(await ask([zeros, zeros], false))).toEqual({
      error: { desc: "bad request: too large message" },
    });
  });

  it("of a client that goes away holds nothing up", async () => {
    await new Promise<void>((resolve) => {
      const socket = connect(path, () => {
        socket.write("{");
        socket.destroy();
        socket.once("close", () => resolve());
      });
      socket.on("error", () => {});
    });
    expect(await request({ execute: "list_hostfwd" }, false)).toMatchObject({ entries: [] });
  });
});
