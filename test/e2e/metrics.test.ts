/** Metrics of an instance with a policy, as a Prometheus takes them. */
import { writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { expect, it, onTestFinished } from "vitest";
import { ControlPlace } from "../support/control-command.ts";
import { DnsServer } from "../support/dns-server.ts";
import { freePort } from "../support/free-port.ts";
import { PROGRAM, type Running, run, sluice, until } from "../support/program.ts";
import { findCommand, needs, TUN_DEVICE } from "../support/requirements.ts";

/** The host's loopback, as the guest sees it. */
const GATEWAY = "10.0.2.2";
/** Opens a connection to each NAME PORT that it reads, and says what became of it. */
const GUEST = `
  const net = require("node:net");
  require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {
    const [host, port] = line.split(" ");
    const socket = net.connect({ host, port }, () => console.log("open " + line));
    socket.on("error", (error) => console.log(error.code + " " + line));
  });
  console.log("up");`;

interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [number, string];
}

function ended(running: Running): Running {
  onTestFinished(async () => {
    running.child.kill("SIGTERM");
    await running.ended;
  });
  return running;
}

it("are scraped by Prometheus, which answers by rule, verdict, response code and reason", async (context) => {
  needs(context, { tun: true, userNamespaces: true, commands: ["prometheus"] });
  const place = new ControlPlace();
  onTestFinished(() => place.remove());
  const server = createServer((socket) => socket.on("error", () => {}).resume());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  const dns = await new DnsServer(GATEWAY).listen();
  onTestFinished(() => void dns.close());
  const policy = place.file("policy.yaml");
  const limited = `{ name: "say: it", allow: "raw.test:${port}", private: true, limit: { rate: 1MB/s } }`;
  writeFileSync(policy, `version: 1\nrules:\n  - ${limited}\n  - { name: other, allow: 203.0.113.0/24 }\n`);
  const guest = ended(
    sluice(
      [
        ...["exec", "--tun-device", TUN_DEVICE, "--resolver", `127.0.0.1:${dns.port}`],
        ...["--allow-host-loopback", "--policy", policy, ...place.options],
        ...["--", process.execPath, "-e", GUEST],
      ],
      { stdio: ["pipe", "pipe", "pipe"] },
    ),
  );
  await guest.says(/^up$/m, "stdout");
  for (const [name, outcome] of [
    ["raw.test", "open"],
    ["evil.test", "ENOTFOUND"],
  ]) {
    guest.child.stdin?.write(`${name} ${port}\n`);
    await guest.says(new RegExp(`^${outcome} ${name} ${port}$`, "m"), "stdout");
  }
  const served = ended(
    run(process.execPath, [PROGRAM, "metrics", "--listen", String(await freePort()), ...place.options]),
  );
  const [address = ""] = await served.says(/http:\S+/, "stdout");
  const config = place.file("prometheus.yaml");
  writeFileSync(
    config,
    [
      "global: { scrape_interval: 1s }",
      "scrape_configs:",
      `  - { job_name: sluice, static_configs: [{ targets: ["${new URL(address).host}"] }] }`,
      "",
    ].join("\n"),
  );
  const api = `127.0.0.1:${await freePort()}`;
  ended(
    run(findCommand("prometheus") ?? "", [
      ...[`--config.file=${config}`, `--storage.tsdb.path=${place.file("data")}`],
      ...[`--web.listen-address=${api}`, "--log.level=error"],
    ]),
  );
  const query = async (expression: string): Promise<readonly Sample[]> => {
    const url = `http://${api}/api/v1/query?query=${encodeURIComponent(expression)}`;
    const answer = await fetch(url).catch(() => undefined);
    if (answer === undefined || !answer.ok) return [];
    return ((await answer.json()) as { data: { result: readonly Sample[] } }).data.result;
  };
  await until(async () => (await query("up{job='sluice'} == 1")).length === 1, "a scrape", 30_000);
  const valuesOf = async (name: string, ...labels: string[]): Promise<Record<string, number>> =>
    Object.fromEntries(
      (await query(name)).map(({ metric, value }) => [
        labels.map((l) => metric[l]).join(" "),
        Number(value[1]),
      ]),
    );
  expect(await valuesOf("sluice_flows", "transport", "state")).toMatchObject({ "tcp established": 1 });
  // Of the one connection there was: half took no longer than this.
  const [half] = await query("histogram_quantile(0.5, sluice_connect_seconds_bucket)");
  expect(Number(half?.value[1])).toBeGreaterThan(0);
  expect(await valuesOf("sluice_policy_verdicts_total", "rule", "verdict")).toEqual({
    "say: it allowed": 1,
    "say: it denied": 0,
    "other allowed": 0,
    "other denied": 0,
    "default allowed": 0,
    "default denied": expect.any(Number),
  });
  expect(
    (await valuesOf("sluice_policy_verdicts_total", "rule", "verdict"))["default denied"],
  ).toBeGreaterThan(0);
  const questions = await valuesOf("sluice_dns_questions_total", "answered_by", "rcode");
  expect(questions["resolver noerror"]).toBeGreaterThan(0);
  expect(questions["sluice nxdomain"]).toBeGreaterThan(0);
  expect(await valuesOf("sluice_limit_wait_seconds_total", "rule")).toEqual({ "say: it": 0 });
  expect(await valuesOf("sluice_policy_generation")).toEqual({ "": 1 });
  expect(await valuesOf("sluice_questions_open")).toEqual({ "": 0 });
  expect((await valuesOf("sluice_drops_total", "reason"))["policy-no-rule"]).toBeGreaterThan(0);
  await until(async () => (await query("rate(sluice_drops_total[1m])")).length > 0, "a rate", 30_000);
  const { status, data } = (await (
    await fetch(`http://${api}/api/v1/metadata?metric=sluice_uptime_seconds`)
  ).json()) as { status: string; data: Record<string, readonly { type: string; unit: string }[]> };
  expect(status).toBe("success");
  expect(data["sluice_uptime_seconds"]).toMatchObject([{ type: "gauge", unit: "seconds" }]);
}, 90_000);
