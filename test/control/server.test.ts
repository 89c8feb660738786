/** The control API over its socket, before an instance that answers as it is told. */
import { request } from "node:http";
import { connect } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { z } from "zod";
import { ControlError } from "../../src/control/client.ts";
import { ROUTES } from "../../src/control/routes.ts";
import { type ControlEvent, eventSchema, problemSchema } from "../../src/control/schema.ts";
import { CallError } from "../../src/supervisor/calls.ts";
import { ControlRig, STATE } from "../support/control-rig.ts";
import { until } from "../support/program.ts";

let rig: ControlRig;
beforeEach(async () => {
  rig = await new ControlRig().open();
});
afterEach(() => rig.close());

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly text: string;
  readonly json: () => unknown;
}

function ask(
  method: string,
  path: string,
  body?: unknown,
  type = "application/json",
  more: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = { ...(body === undefined ? {} : { "Content-Type": type }), ...more };
    const asked = request({ socketPath: rig.path, method, path, headers }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => {
        text += chunk;
      });
      response.on("end", () =>
        resolve({
          status: response.statusCode ?? 0,
          type: response.headers["content-type"] ?? "",
          headers: response.headers,
          text,
          json: () => JSON.parse(text),
        }),
      );
    });
    asked.on("error", reject);
    asked.end(typeof body === "string" || body === undefined ? body : JSON.stringify(body));
  });
}

/** A request for each route that there is. */
const EXAMPLES: Readonly<Record<string, { path?: string; body?: unknown }>> = {
  "GET /v1/flows": { path: "/v1/flows?host=203.0.113.7:443&state=ESTABLISHED&protocol=tcp&limit=2" },
  "DELETE /v1/flows/{id}": { path: "/v1/flows/4" },
  "DELETE /v1/flows": { path: "/v1/flows?host=www.example.com" },
  "POST /v1/forwards": { body: { rule: "tcp::8080-:80" } },
  "DELETE /v1/forwards/{id}": { path: "/v1/forwards/1?cut=true" },
  "POST /v1/captures": { body: { path: "/tmp/x.pcapng", host: "203.0.113.7", snap: 100 } },
  "GET /v1/captures/stream": { path: "/v1/captures/stream?flow=4&drops=true" },
  "DELETE /v1/captures/{id}": { path: "/v1/captures/1" },
  "POST /v1/control-ports": { body: { address: "127.0.0.1", port: 8080 } },
  "PUT /v1/log": { body: { level: "debug" } },
  "PUT /v1/policy": { body: { text: "version: 1", keepOpen: true } },
  "POST /v1/policy/check": { body: { text: "version: 1", label: "p.yaml", directory: "/etc" } },
  "POST /v1/rules": { body: { verdict: "allow", target: "a.example", for: 60 } },
  "DELETE /v1/rules/{id}": { path: "/v1/rules/1" },
  "POST /v1/rules/{id}/reset-budget": { path: "/v1/rules/1/reset-budget" },
  "POST /v1/questions/{id}": { path: "/v1/questions/3", body: { verdict: "allow", for: 600 } },
  "PUT /v1/link": { body: { up: false } },
  "POST /v1/stop": { body: {} },
};

describe("a server that closes", () => {
  it("leaves nobody connected, also who has asked nothing", async () => {
    const silent = connect(rig.path);
    await new Promise((resolve) => silent.once("connect", resolve));
    expect((await ask("GET", "/v1/state")).status).toBe(200);
    const closed = new Promise((resolve) => silent.once("close", resolve));
    rig.server.close();
    await closed;
  });
});

describe("every route", () => {
  it.each(ROUTES.map((route) => [`${route.method} ${route.path}`, route] as const))(
    "%s answers as its schema says",
    async (name, route) => {
      const { path = route.path, body } = EXAMPLES[name] ?? {};
      const answer = await ask(route.method, path, body);
      expect(answer.status).toBe(route.status);
      if (route.response !== undefined) {
        expect(answer.type).toBe("application/json");
        expect(z.safeParse(route.response, answer.json())).toMatchObject({ success: true });
      } else {
        expect(answer.type).toBe(route.mediaType ?? (route.status === 204 ? "" : "application/json"));
      }
    },
  );

  it("gives the octets of a page back when they have been sent", async () => {
    await ask("GET", "/v1/flows");
    await ask("GET", "/v1/flows?limit=1");
    await until(() => rig.instance.pagesGivenBack === 2, "both are given back");
  });

  it("hands on what was asked, understood", async () => {
    for (const [name, { path, body }] of Object.entries(EXAMPLES)) {
      const [method = "", usual = ""] = name.split(" ");
      await ask(method, path ?? usual, body);
    }
    expect(rig.instance.asked).toEqual([
      {
        filter: {
          hosts: [{ host: "203.0.113.7", isName: false, port: 443 }],
          protocol: "tcp",
          state: "ESTABLISHED",
        },
        after: 0,
        limit: 2,
      },
      { kill: { hosts: [{ host: "www.example.com", isName: true, port: null }] } },
      { add: { protocol: "tcp", hostAddress: 0, hostPort: 8080, guestAddress: 0, guestPort: 80 } },
      { remove: 1, cut: true },
      {
        capture: {
          path: "/tmp/x.pcapng",
          host: "203.0.113.7",
          drops: false,
          snap: 100,
          octets: 1_073_741_824,
          frames: 0,
          seconds: 0,
        },
      },
      { stream: { flow: 4, drops: true, snap: 262_144, octets: 0, frames: 0, seconds: 0 } },
      { keep: { address: "127.0.0.1", port: 8080 } },
      { level: "debug" },
      { set: { text: "version: 1", label: "policy", keepOpen: true }, expected: undefined },
      { check: { text: "version: 1", label: "p.yaml", directory: "/etc", keepOpen: false } },
      { rule: { verdict: "allow", target: "a.example", for: 60, private: false } },
      { removeRule: 1 },
      { resetBudget: 1 },
      { answer: { verdict: "allow", for: 600 }, id: 3 },
      { up: false },
      "stop",
    ]);
  });
});

describe("what is wrong", () => {
  it.each([
    ["GET", "/v1/nothing", undefined, 404, []],
    ["GET", "/v1/flows/0", undefined, 404, []],
    ["PATCH", "/v1/flows", undefined, 405, []],
    ["GET", "/v1/flows?limit=0&after=x&what=1", undefined, 400, ["query.limit", "query.after", "query.what"]],
    ["GET", "/v1/flows?host=a%20b", undefined, 400, ["host"]],
    ["GET", "/v1/flows?limit=1&limit=2", undefined, 400, ["query.limit"]],
    ["DELETE", "/v1/flows", undefined, 400, ["query.host"]],
    ["DELETE", "/v1/flows/999", undefined, 404, []],
    ["DELETE", "/v1/forwards/7", undefined, 404, []],
    ["POST", "/v1/forwards", { rule: 5, more: true }, 400, ["body.rule", "body.more"]],
    ["POST", "/v1/forwards", { rule: "x" }, 400, ["rule"]],
    ["POST", "/v1/forwards", { rule: "80" }, 409, []],
    ["POST", "/v1/forwards", "{", 400, ["body"]],
    ["POST", "/v1/captures", { path: "x", snap: 1, flow: 0 }, 400, ["body.path", "body.flow", "body.snap"]],
    ["POST", "/v1/captures", { path: "/x", octets: 5 }, 400, ["body.octets"]],
    [
      "GET",
      "/v1/captures/stream?path=/x&frames=-1&drops=yes",
      undefined,
      400,
      ["query.drops", "query.frames", "query.path"],
    ],
    ["DELETE", "/v1/captures/9", undefined, 404, []],
    ["PUT", "/v1/log", { level: "loud" }, 400, ["body.level"]],
    ["PUT", "/v1/link", undefined, 400, ["body.up"]],
    ["GET", "/v1/events?types=flow-opened,nonsense", undefined, 400, ["query.types"]],
  ] as const)("%s %s %j is a problem with status %d", async (method, path, body, status, places) => {
    const answer = await ask(method, path, body);
    expect(answer.status).toBe(status);
    expect(answer.type).toBe("application/problem+json");
    const problem = problemSchema.parse(answer.json());
    expect(problem.status).toBe(status);
    expect((problem.problems ?? []).map(({ place }) => place)).toEqual(places);
    expect(answer.headers["allow"]).toBe(status === 405 ? "GET, DELETE" : undefined);
  });

  it.each([
    ["PUT", "/v1/policy", { text: "version: 1" }],
    ["POST", "/v1/rules", { verdict: "deny", target: "a.example" }],
    ["DELETE", "/v1/rules/1", undefined],
  ])("%s %s of another generation of the policy is refused", async (method, path, body) => {
    const under = async (tag: string): Promise<number> =>
      (await ask(method, path, body, undefined, { "If-Match": tag })).status;
    expect([await under('"7"'), await under("W/x")]).toEqual([412, 412]);
    const { generation } = (await ask("GET", "/v1/policy")).json() as { generation: number };
    expect(await under(`"${generation}"`)).toBeLessThan(300);
    expect(await under("*")).toBeLessThan(300);
  });

  it("says what is allowed in words", async () => {
    const answer = await ask("PUT", "/v1/log", { level: "loud" });
    expect(answer.json()).toMatchObject({
      problems: [{ place: "body.level", found: "loud", allowed: "one of error, warn, info, debug" }],
    });
    const limits = await ask("GET", "/v1/flows?limit=5000");
    expect(limits.json()).toMatchObject({
      problems: [{ place: "query.limit", found: "5000", allowed: "1000 at most" }],
    });
  });

  it("of a body: another type, or too long, which is not read to its end", async () => {
    expect((await ask("PUT", "/v1/log", { level: "info" }, "text/plain")).status).toBe(415);
    const socket = connect(rig.path);
    socket.write(
      "PUT /v1/log HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1073741824\r\n\r\n",
    );
    let text = "";
    socket.on("data", (chunk) => {
      text += chunk;
    });
    socket.on("error", () => {});
    const piece = Buffer.alloc(65_536, " ");
    for (let i = 0; i < 40 && text === ""; i++) {
      if (!socket.write(piece)) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await until(() => text !== "", "an answer before the body's end");
    expect(text).toMatch(/^HTTP\/1\.1 413 /);
    socket.destroy();
  });

  it("with the engine is 503, with us 500 and a line in the log", async () => {
    rig.instance.failure = new CallError("the engine has ended");
    expect((await ask("GET", "/v1/state")).json()).toMatchObject({
      status: 503,
      detail: "the engine has ended",
    });
    rig.instance.failure = new TypeError("a bug");
    expect((await ask("GET", "/v1/state")).status).toBe(500);
    expect(rig.failures).toEqual(["the control API failed: a bug"]);
  });

  it("with who asks is 403 for all that it asks", async () => {
    rig.reason = "from inside the guest's namespace";
    for (const [method, path] of [
      ["GET", "/v1/state"],
      ["POST", "/v1/stop"],
      ["GET", "/v1/events"],
    ] as const) {
      const answer = await ask(method, path, method === "POST" ? {} : undefined);
      expect([answer.status, (answer.json() as { detail: string }).detail]).toEqual([403, rig.reason]);
    }
    expect(rig.instance.asked).toEqual([]);
  });
});

describe("the client", () => {
  it("gives what the API says", async () => {
    const { client, instance } = rig;
    instance.flowCount = 2500;
    expect(await client.state()).toEqual(STATE);
    const ids: number[] = [];
    for await (const { id } of client.flows({ host: "203.0.113.7" })) ids.push(id);
    expect(ids).toEqual(Array.from({ length: 2500 }, (_, i) => i + 1));
    expect(await client.killFlow(5)).toEqual({ killed: 1 });
    expect(await client.killHost("203.0.113.7")).toEqual({ killed: 3 });
    expect(await client.forwards()).toHaveLength(1);
    expect(await client.addForward("8080:80")).toMatchObject({ id: 2, hostPort: 8080 });
    await client.removeForward(1);
    expect(instance.asked.at(-1)).toEqual({ remove: 1, cut: false });
    await client.resetBudget(1);
    expect(instance.asked.at(-1)).toEqual({ resetBudget: 1 });
    expect(await client.leases()).toHaveLength(1);
    expect(await client.dns("203.0.113.7")).toMatchObject({ pins: [{ name: "a.example" }] });
    expect(instance.asked.at(-1)).toEqual({ dns: "203.0.113.7" });
    expect(await client.counters()).toMatchObject({ drops: { "ipv6-off": 4 } });
    expect(await client.metrics()).toMatch(/# EOF\n$/);
    expect(await client.captures()).toHaveLength(1);
    expect(await client.startCapture({ path: "/tmp/y" })).toMatchObject({ id: 1, path: "/tmp/y" });
    expect(await client.stopCapture(1)).toMatchObject({ ended: "stopped" });
    expect(String(await (await client.captureStream({ drops: true })).toArray())).toBe("pcapng");
    await client.setLogLevel("warn");
    await client.setLink(true);
    await client.stop();
    expect(instance.asked.at(-4)).toMatchObject({ stream: { drops: true } });
    expect(instance.asked.slice(-3)).toEqual([{ level: "warn" }, { up: true }, "stop"]);
  });

  it("is refused an address that is none", async () => {
    const error = await rig.client.dns("a.example").catch((reason: unknown) => reason);
    expect((error as ControlError).problem).toMatchObject({
      status: 400,
      problems: [{ place: "address" }],
    });
  });

  it("rejects with the problem, all of it", async () => {
    const error = await rig.client.addForward("x").catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ControlError);
    expect((error as ControlError).problem).toMatchObject({
      status: 400,
      problems: [{ place: "rule", found: "x" }],
    });
  });
});

const linkEvent = (n: number) =>
  ({ type: "link", atMs: n * 1000, up: n % 2 === 0, name: `tap ${n}` }) as const;

describe("events", () => {
  it("come as they happen, of the types that were asked for", async () => {
    const abort = new AbortController();
    const seen: ControlEvent[] = [];
    const reading = (async () => {
      for await (const event of rig.client.events(["link"], abort.signal)) seen.push(event);
    })();
    await until(() => rig.instance.listeners === 1, "the stream is open");
    rig.instance.tell(linkEvent(1));
    rig.instance.tell({ type: "forward", atMs: 5, action: "added", id: 1, rule: "x" });
    rig.instance.tell(linkEvent(2));
    await until(() => seen.length === 2, "two events");
    expect(seen).toEqual([
      { type: "link", at: "1970-01-01T00:00:01.000Z", up: false, name: "tap 1" },
      { type: "link", at: "1970-01-01T00:00:02.000Z", up: true, name: "tap 2" },
    ]);
    for (const event of seen) expect(eventSchema.safeParse(event).success).toBe(true);
    abort.abort();
    await reading;
  });

  /** What a listener gets that has last heard event `lastId`, up to event 5000. */
  function resume(lastId: string): Promise<string> {
    return new Promise((resolve) => {
      const asked = request(
        { socketPath: rig.path, path: "/v1/events?types=link", headers: { "Last-Event-ID": lastId } },
        (response) => {
          let text = "";
          response.setEncoding("utf8").on("data", (chunk: string) => {
            text += chunk;
            if (!text.slice(-1000).includes("id: 5000\n") || !text.endsWith("\n\n")) return;
            asked.destroy();
            resolve(text);
          });
        },
      );
      asked.on("error", () => {});
      asked.end();
    });
  }

  it("are there for who comes back, as far as they are remembered; of the rest it hears how many", async () => {
    const abort = new AbortController();
    void (async () => {
      for await (const _ of rig.client.events(["link"], abort.signal)) abort.abort();
    })();
    await until(() => rig.instance.listeners === 1, "the stream is open");
    for (let n = 1; n <= 5000; n++) rig.instance.tell(linkEvent(n));
    const missed = await resume("4997");
    expect(missed.match(/^id: \d+$/gm)).toEqual(["id: 4998", "id: 4999", "id: 5000"]);
    const long = await resume("100");
    expect(long).toContain('"type":"records-lost"');
    expect(long).toContain('"count":804');
    expect(long.match(/"type":"link"/g)).toHaveLength(4096);
  });

  it("are lost by who does not read, not by others, and counted", async () => {
    const socket = connect(rig.path);
    socket.write("GET /v1/events?types=link HTTP/1.1\r\nHost: x\r\n\r\n");
    socket.pause();
    await until(() => rig.instance.listeners === 1, "the stream is open");
    const name = "x".repeat(1000);
    for (let n = 1; n <= 4000; n++) rig.instance.tell({ ...linkEvent(n), name });
    let text = "";
    socket.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
    });
    socket.resume();
    await until(() => /id: \d{3}/.test(text), "the first come");
    await new Promise((resolve) => setTimeout(resolve, 200));
    rig.instance.tell({ ...linkEvent(4001), name: "last" });
    await until(() => text.includes('"last"'), "the last comes");
    const lost = Number(/"records-lost","at":"[^"]*","count":(\d+)/.exec(text)?.[1]);
    const got = text.match(/"type":"link"/g)?.length ?? 0;
    expect(lost).toBeGreaterThan(0);
    expect(lost + got).toBe(4001);
    socket.destroy();
  });
});

describe("metrics", () => {
  it("are OpenMetrics with units and bounded labels", async () => {
    const { text } = await ask("GET", "/metrics");
    expect(text).toContain('sluice_link_octets_total{direction="from_guest"} 7\n');
    expect(text).toContain('sluice_drops_total{reason="ipv6-off"} 4\n');
    expect(text).toContain('sluice_events_total{event="tcp-opened"} 2\n');
    expect(text).toContain('sluice_dns_questions_total{answered_by="resolver",rcode="nxdomain"} 5\n');
    expect(text).not.toContain('event="dns-resolver-nxdomain"');
    expect(text).toContain('sluice_flows{transport="tcp",state="established"} 3\n');
    expect(text).toMatch(/^sluice_flows\{transport="udp",state="mapped"\} \d+$/m);
    expect(text).toContain("# UNIT sluice_uptime_seconds seconds\n");
    expect(text).toContain("sluice_uptime_seconds 61.5\n");
    expect(text).not.toMatch(/203\.0\.113|example/);
    const families = [...text.matchAll(/^# TYPE (\S+) /gm)].map(([, name]) => name);
    expect(new Set(families).size).toBe(families.length);
  });

  it("tell how long connecting has taken, in classes that hold each other", async () => {
    const { text } = await ask("GET", "/metrics");
    const samples = text.split("\n").filter((line) => line.startsWith("sluice_connect_seconds"));
    expect(samples[0]).toBe('sluice_connect_seconds_bucket{le="0.001"} 1');
    expect(samples).toContain('sluice_connect_seconds_bucket{le="1.0"} 9');
    expect(samples.slice(-4)).toEqual([
      'sluice_connect_seconds_bucket{le="10.0"} 12',
      'sluice_connect_seconds_bucket{le="+Inf"} 14',
      "sluice_connect_seconds_count 14",
      "sluice_connect_seconds_sum 12.5",
    ]);
  });

  it("tell what a policy decided, rules of one name together", async () => {
    const { text } = await ask("GET", "/metrics");
    const samples = text.split("\n").filter((line) => /^sluice_(policy|limit|questions)/.test(line));
    expect(samples).toEqual([
      "sluice_policy_generation 4",
      'sluice_policy_verdicts_total{rule="say \\"it\\"",verdict="allowed"} 7',
      'sluice_policy_verdicts_total{rule="other",verdict="allowed"} 2',
      'sluice_policy_verdicts_total{rule="default",verdict="allowed"} 0',
      'sluice_policy_verdicts_total{rule="say \\"it\\"",verdict="denied"} 1',
      'sluice_policy_verdicts_total{rule="other",verdict="denied"} 0',
      'sluice_policy_verdicts_total{rule="default",verdict="denied"} 7',
      'sluice_limit_wait_seconds_total{rule="say \\"it\\""} 1.75',
      "sluice_questions_open 2",
    ]);
    rig.instance.hasPolicy = false;
    const none = await ask("GET", "/metrics");
    expect(none.text).not.toMatch(/sluice_(policy|limit|questions)/);
  });
});
