/** The programs of docs/cookbook.md, compiled and run as they stand there. */
import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Consumer, typeScriptBlocks } from "../support/consumer.ts";
import { GUEST_WEB } from "../support/host-services.ts";
import { PROJECT_ROOT } from "../support/project-root.ts";
import { GuestBoot, needsGuest } from "../support/qemu-guest.ts";
import { needs, TUN_DEVICE } from "../support/requirements.ts";

const DOCUMENT = readFileSync(join(PROJECT_ROOT, "docs/cookbook.md"), "utf8");
const PROGRAMS = Object.fromEntries(
  typeScriptBlocks(DOCUMENT).map((text) => [/^\/\/ (\w+\.ts)/.exec(text)?.[1] ?? "", text]),
);
const LINES_MAX = { "sandbox.ts": 30, "rig.ts": 20, "guest.ts": 15 };
const NAMESPACES = { tun: true, userNamespaces: true, commands: ["unshare", "nsenter"] } as const;

let consumer: Consumer;
const servers: Server[] = [];

beforeAll(() => {
  consumer = new Consumer();
  expect(consumer.compile(PROGRAMS)).toBe("");
});
afterAll(() => {
  for (const server of servers) server.close();
  consumer.remove();
});

/** A web server on the host's loopback; returns its port. */
async function serve(body: string): Promise<number> {
  const server = createServer((_request, response) => response.end(body));
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
}

/** Runs a module's text in the consumer's project, with the compiled recipes beside it; its output as JSON. */
async function use(text: string): Promise<unknown> {
  expect(consumer.compile({ "use.ts": text })).toBe("");
  const { status, stdout, stderr } = await consumer.start("use.js").ended;
  expect([status, stderr]).toEqual([0, ""]);
  return JSON.parse(stdout);
}

it("are as short as their titles say", () => {
  expect(Object.keys(PROGRAMS)).toEqual(Object.keys(LINES_MAX));
  for (const [name, most] of Object.entries(LINES_MAX)) {
    // What is a line: not an empty one, and not the name of the file.
    const lines = PROGRAMS[name]
      .split("\n")
      .slice(1)
      .filter((line) => line.trim() !== "");
    expect([name, lines.length <= most, lines.length]).toEqual([name, true, expect.any(Number)]);
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(124);
  }
});

it("an agent's sandbox: reaches what is on the list, and tells what it refused", async (context) => {
  needs(context, NAMESPACES);
  const [allowed, denied] = [await serve("the allowed page"), await serve("the denied page")];
  const tool = `for (const port of [${allowed}, ${denied}]) {
  const answer = await fetch("http://10.0.2.2:" + port).then((response) => response.text(), () => "nothing");
  console.log(answer);
}
process.exit(3);`;
  const options = ["--allow-host-loopback", "--tun-device", TUN_DEVICE];
  expect(
    await use(`import { runTool } from "./sandbox.js";
const tool = ["node", "--input-type=module", "-e", ${JSON.stringify(tool)}];
const options = ${JSON.stringify(options)};
console.log(JSON.stringify([
  await runTool(tool, ["10.0.2.2:${allowed}"], options),
  await runTool(["node", "-e", ""], [], options),
]));`),
  ).toEqual([
    {
      status: 3,
      output: "the allowed page\nnothing\n",
      refused: [`10.0.2.2:${denied} (policy-no-rule)`],
    },
    { status: 0, output: "", refused: [] },
  ]);
});

it("a test rig: runs a client, sees its flows and pulls its cable", async (context) => {
  needs(context, NAMESPACES);
  const port = await serve("a page");
  const client = `fetch("http://10.0.2.2:${port}", { signal: AbortSignal.timeout(3000) }).then(async (response) => console.log(await response.text()), (error) => console.log(error.name))`;
  const seen = await use(`import { makeRig } from "./rig.js";
const asked: number[] = [];
const rig = await makeRig({
  tunDevice: ${JSON.stringify(TUN_DEVICE)},
  allow: ({ remotePort }) => asked.push(remotePort) > 0,
});
const fetched = async () => (await rig.run(process.execPath, "-e", ${JSON.stringify(client)})).stdout.trim();
const first = await fetched();
rig.engine.setLink(false);
const unplugged = await fetched();
rig.engine.setLink(true);
const again = await fetched();
const octets = rig.engine.counters().counters["tcp-octets-to-guest"] ?? 0;
await rig.close();
console.log(JSON.stringify({ first, unplugged, again, asked, octets, end: (await rig.engine.ended).reason }));`);
  expect(seen).toEqual({
    first: "a page",
    unplugged: expect.not.stringMatching(/page/),
    again: "a page",
    asked: [port, port],
    octets: expect.any(Number),
    end: "stopped",
  });
  expect((seen as { octets: number }).octets).toBeGreaterThan(2 * "a page".length);
});

describe("a QEMU guest", () => {
  it("is served for as long as QEMU runs", async (context) => {
    needsGuest(context);
    const boot = new GuestBoot({
      script: `udhcpc -i eth0 -n -q -t 10\n${GUEST_WEB}\necho guest-ready\nread line`,
    });
    const running = consumer.start("guest.js", boot.args, { stdio: ["pipe", "pipe", "pipe"] });
    try {
      const [, url] = await running.says(/the guest's port 80 is (http:\S+)/);
      await running.says(/^guest-ready\r?$/m, "stdout");
      expect(await (await fetch(url)).text()).toContain("the guest's page");
      running.child.stdin!.write("done\n");
      const { status, stderr } = await running.ended;
      expect([status, stderr]).toEqual([
        0,
        expect.stringContaining('QEMU ended with 0, the network with "stopped"'),
      ]);
    } finally {
      running.child.kill("SIGKILL");
      boot.remove();
    }
  });
});
