/** The hooks as a launcher finds them: gRPC of another maker over the socket, and a client of our own for what that one never sends. */
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Wanted } from "../../../src/kubevirt/binding/engine-keeper.ts";
import { grpcServer, MESSAGE_OCTETS_MAX } from "../../../src/kubevirt/binding/grpc.ts";
import { type HookSocket, openHookSocket } from "../../../src/kubevirt/binding/hook-socket.ts";
import { domainHookMethods, hookMethods } from "../../../src/kubevirt/binding/hooks.ts";
import { HookClient } from "./hook-client.ts";
import { vmiOf } from "./vmi.ts";

const DOMAIN = `<domain type="kvm"><name>x</name><devices><emulator>/qemu</emulator></devices></domain>`;

let folder = "";
let socket: HookSocket;
let client: HookClient;
let wanted: Wanted[] = [];
let standsInTheWay = "";

const parts = () => ({
  place: { binding: "sluice", hooksDirectory: folder, container: "hook-sidecar-1", sandbox: true, memory: 0 },
  want: async (what: Wanted): Promise<void> => {
    wanted.push(what);
    if (standsInTheWay !== "") throw new Error(standsInTheWay);
  },
  say: () => {},
});

beforeEach(async () => {
  [wanted, standsInTheWay] = [[], ""];
  folder = mkdtempSync(join(tmpdir(), "sluice-hooks-"));
  const path = join(folder, "sluice-sluice.sock");
  const methods = new Map([...hookMethods(parts()), ...domainHookMethods(parts())]);
  socket = await openHookSocket(grpcServer(methods), path, join(folder, "engine"));
  client = new HookClient(path);
});
afterEach(() => {
  client.close();
  socket.close();
  rmSync(folder, { recursive: true, force: true });
});

describe("the hooks, asked by gRPC's own library", () => {
  it("K20 tell their name, their points and both versions of callbacks", async () => {
    expect(await client.info()).toEqual({
      name: "sluice",
      hookPoints: [
        { name: "OnDefineDomain", priority: 0 },
        { name: "Shutdown", priority: 0 },
      ],
      versions: ["v1alpha3", "v1alpha2"],
    });
  });

  it.each(["v1alpha3", "v1alpha2"])(
    "K22 give the domain back once the engine serves, in %s",
    async (version) => {
      const made = await client.define(DOMAIN, vmiOf({ ports: [{ port: 8080 }] }), version);
      expect(made).toContain(`path="/var/run/kubevirt-hooks/hook-sidecar-1/engine/card.sock"`);
      expect(wanted).toHaveLength(1);
      expect(wanted[0]?.argv.join(" ")).toContain("--publish tcp:");
    },
  );

  it("K36 do the same for a Plugin's domain hook", async () => {
    expect(await client.mutate(DOMAIN, vmiOf())).toContain(`<alias name="ua-default"/>`);
    await expect(client.mutate(DOMAIN, vmiOf(), "xen")).rejects.toMatchObject({ code: 3 });
  });

  it("K22 say what is wrong as INVALID_ARGUMENT, what cannot be done as FAILED_PRECONDITION", async () => {
    await expect(client.define("<domain", vmiOf())).rejects.toMatchObject({ code: 3 });
    await expect(client.define(DOMAIN, vmiOf({ binding: { name: "other" } }))).rejects.toMatchObject({
      code: 3,
      details: expect.stringContaining("no interface has binding sluice"),
    });
    expect(wanted).toEqual([]);
    standsInTheWay = "forward tcp 0.0.0.0:8080: \u00fcber 100 % (EADDRINUSE)\nand more";
    await expect(client.define(DOMAIN, vmiOf())).rejects.toMatchObject({
      code: 9,
      details: "the guest cannot be served: forward tcp 0.0.0.0:8080: \u00fcber 100 % (EADDRINUSE); and more",
    });
  });

  it("K20 know no other method", async () => {
    const asked = client.call(
      "/kubevirt.hooks.v1alpha3.Callbacks/PreCloudInitIso",
      "InfoParams",
      {},
      "InfoResult",
    );
    await expect(asked).rejects.toMatchObject({ code: 12 });
  });

  it("K20 take a domain of three megabytes, and refuse a message of more than four", async () => {
    const long = (octets: number): string => DOMAIN.replace("<name>", `<!--${"x".repeat(octets)}--><name>`);
    expect(await client.define(long(3_000_000), vmiOf())).toContain("ua-default");
    await expect(client.define(long(MESSAGE_OCTETS_MAX), vmiOf())).rejects.toMatchObject({ code: 8 });
    expect((await client.info()).name).toBe("sluice");
  });
});

/** Posts octets and gives the response's headers and trailers. */
function post(body: Buffer, headers: Record<string, string> = {}): Promise<Record<string, unknown>> {
  return new Promise((resolve, reject) => {
    const session = connectHttp2("http://localhost", { createConnection: () => connect(socket.path) });
    const stream = session.request({
      ":method": "POST",
      ":path": "/kubevirt.hooks.v1alpha3.Callbacks/OnDefineDomain",
      "content-type": "application/grpc",
      ...headers,
    });
    const seen: Record<string, unknown> = {};
    stream.on("response", (found) => Object.assign(seen, found));
    stream.on("trailers", (found) => Object.assign(seen, found));
    stream.on("error", reject);
    stream.on("close", () => {
      session.close();
      resolve(seen);
    });
    stream.resume();
    stream.end(body);
  });
}

describe("the hooks, asked by a client that is wrong", () => {
  it.each([
    ["nothing", Buffer.alloc(0), "13"],
    ["a message cut off", Buffer.from([0, 0, 0, 0, 9, 10]), "13"],
    ["two messages", Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), "13"],
    ["a compressed one", Buffer.from([1, 0, 0, 0, 0]), "12"],
    ["a field longer than the message", Buffer.from([0, 0, 0, 0, 2, 10, 200]), "3"],
    ["a field of no type", Buffer.from([0, 0, 0, 0, 1, 15]), "3"],
    ["a number without end", Buffer.from([0, 0, 0, 0, 12, 8, ...Array(11).fill(255)]), "3"],
  ])("K20 answer %s with a status, and go on", async (_, body, status) => {
    expect(await post(body)).toMatchObject({ ":status": 200, "grpc-status": status });
    expect((await client.info()).name).toBe("sluice");
  });

  it("K20 answer what is no gRPC with 415", async () => {
    expect(await post(Buffer.alloc(0), { "content-type": "text/plain" })).toMatchObject({ ":status": 415 });
  });

  it("K20 go on when a client hangs up in the middle, or speaks another protocol", async () => {
    for (const text of ["", "GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0"]) {
      await new Promise<void>((resolve) => {
        const raw = connect(socket.path, () => raw.end(text));
        raw.on("error", () => {});
        raw.on("close", () => resolve());
        raw.resume();
      });
    }
    expect((await client.info()).name).toBe("sluice");
  });
});

describe("the hook socket", () => {
  it("K21 is alone beside folders, is its owner's, and goes with its server", async () => {
    expect(
      readdirSync(folder, { withFileTypes: true }).map((each) => [each.name, each.isDirectory()]),
    ).toEqual([
      ["engine", true],
      ["sluice-sluice.sock", false],
    ]);
    expect(statSync(socket.path).mode & 0o777).toBe(0o600);
    expect(readdirSync(join(folder, "engine"))).toEqual([]);
    socket.close();
    expect(readdirSync(folder)).toEqual(["engine"]);
  });

  it("K21 takes the place of what an earlier one has left", async () => {
    const path = join(folder, "left.sock");
    writeFileSync(path, "");
    const next = await openHookSocket(grpcServer(hookMethods(parts())), path, join(folder, "engine"));
    const other = new HookClient(path);
    expect((await other.info()).versions).toEqual(["v1alpha3", "v1alpha2"]);
    other.close();
    next.close();
  });
});
