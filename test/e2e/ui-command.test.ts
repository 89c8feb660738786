/** `sluice ui` before a real instance with a real guest, in a real browser. */
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Agent } from "../support/agent.ts";
import { BROWSER_NEEDS, openBrowser } from "../support/browser.ts";
import { ControlPlace } from "../support/control-command.ts";
import { NAMESPACE_NEEDS, NamespaceGuest } from "../support/namespace-guest.ts";
import { type Running, sluice, until } from "../support/program.ts";
import { missing, needs } from "../support/requirements.ts";

const NEEDS = { ...NAMESPACE_NEEDS, commands: [...(NAMESPACE_NEEDS.commands ?? []), "chromium"] };

let browser: Browser;
let place: ControlPlace;
let guest: NamespaceGuest | undefined;
let host: Agent;
let ui: Running | undefined;
let page: Page | undefined;

beforeEach((context) => needs(context, NEEDS));
beforeAll(async () => {
  if (missing(BROWSER_NEEDS).length === 0) browser = await openBrowser();
});
afterAll(async () => {
  await browser?.close();
});
beforeEach(async () => {
  place = new ControlPlace();
  host = new Agent();
  await start();
});

/** A guest, and the page's server. */
async function start(...options: string[]): Promise<void> {
  guest = await NamespaceGuest.start({
    options: ["--allow-host-loopback", "--name", "agent-7", ...place.options, ...options],
  });
  ui = sluice(["ui", "--control", place.path]);
}
afterEach(async () => {
  await page?.close();
  ui?.child.kill("SIGINT");
  await ui?.ended;
  await guest?.close();
  await host?.close();
  place?.remove();
});

async function openPage(): Promise<Page> {
  const [, address = ""] = (await ui?.says(/^agent-7: (http:\S+)$/m, "stdout")) ?? [];
  page = await browser.newPage();
  await page.goto(address);
  return page;
}

it("answers a question while the guest waits", async () => {
  ui?.child.kill("SIGINT");
  await ui?.ended;
  await guest?.close();
  const policy = place.file("policy.yaml");
  writeFileSync(policy, 'version: 1\nunattended: deny\nrules:\n  - { ask: "@any", private: true }\n');
  await start("--policy", policy);
  const port = await host.do<number>("tcpServer", { kind: "hold" });
  const shown = await openPage();
  await shown.locator("#facts", { hasText: "tap" }).waitFor();
  const dial = (): Promise<{ outcome: string }> =>
    guest!.agent.do<{ outcome: string }>("dial", { host: "10.0.2.2", port, timeoutMs: 30_000 });
  const waits = dial();
  await shown.getByRole("button", { name: `Allow for 10 minutes: 10.0.2.2:${port}/tcp` }).click();
  expect((await waits).outcome).toBe("connected");
  expect((await dial()).outcome).toBe("connected");
  await shown.getByRole("region", { name: "Waiting for an answer" }).waitFor({ state: "hidden" });
  const refused = guest!.agent.do<{ outcome: string }>("dial", {
    host: "10.0.2.2",
    port: 9,
    timeoutMs: 30_000,
  });
  await shown.getByRole("button", { name: "Refuse: 10.0.2.2:9/tcp" }).click();
  expect((await refused).outcome).toBe("ECONNREFUSED");
});

it("has the browser open it without telling anybody the token", async () => {
  const opener = place.file("xdg-open");
  writeFileSync(
    opener,
    `#!/bin/sh\necho "$1" > ${place.file("argument")}; cat "$1" > ${place.file("opened")}\n`,
    {
      mode: 0o755,
    },
  );
  const env = { ...process.env, PATH: `${place.directory}:${process.env["PATH"]}` };
  const opening = sluice(["ui", "--open", "--control", place.path], { env });
  const [, address = ""] = await opening.says(/^agent-7: (http:\S+)$/m, "stdout");
  await until(
    () => existsSync(place.file("opened")) && readFileSync(place.file("opened"), "utf8").endsWith("\n"),
    "opened",
  );
  expect(readFileSync(place.file("opened"), "utf8")).toContain(address);
  const file = readFileSync(place.file("argument"), "utf8").trim();
  expect(file).not.toContain(address.split("#")[1]);
  expect(statSync(file).mode & 0o777).toBe(0o600);
  opening.child.kill("SIGINT");
  expect((await opening.ended).status).toBe(0);
  expect(existsSync(file)).toBe(false);
});

describe("ui", () => {
  it("shows a guest's flow live, says why and ends it", async () => {
    const shown = await openPage();
    await shown.locator("#facts", { hasText: "tap tap0 is up" }).waitFor();
    const port = await host.do<number>("tcpServer", { kind: "hold" });
    await guest?.agent.do("hold", { host: "10.0.2.2", port, name: "one", message: "12345" });
    const row = shown.locator("#rows tr", { hasText: `10.0.2.2:${port}` });
    await row.waitFor({ timeout: 5000 });
    expect(await row.innerText()).toContain("5 B, 0 B");
    await row.getByRole("button", { name: /^Why/ }).click();
    await shown.locator("#why-lines", { hasText: "5 octets from the guest" }).waitFor();
    await shown.getByRole("button", { name: "End this flow" }).click();
    await row.waitFor({ state: "detached" });
    await until(
      async () => (await guest?.agent.do("failureHeld", { name: "one" })) === "ECONNRESET",
      "the guest hears of it",
    );
  });

  it("shows drops and DNS of the guest, as text", async () => {
    const shown = await openPage();
    await shown.locator("#facts", { hasText: "tap tap0" }).waitFor();
    // The stream of events is asked for beside the first answers.
    await shown.waitForTimeout(500);
    await guest?.agent.do("dial", { host: "169.254.169.254", port: 80 });
    await shown.locator("#drops", { hasText: "destination-refused" }).waitFor();
    const query = Buffer.from("0001010000010000000000001d", "hex");
    const name = "<img src=x onerror=alert(1)>\u0007";
    const question = Buffer.concat([
      query.subarray(0, 12),
      Buffer.from([name.length]),
      Buffer.from(name, "latin1"),
      Buffer.from([0, 0, 1, 0, 1]),
    ]);
    const asked = {
      host: "10.0.2.3",
      port: 53,
      message: question.toString("latin1"),
      timeoutMs: 500,
      tries: 1,
    };
    await guest?.agent.do("udpAsk", asked);
    // In presentation form already where it leaves the engine: octets that are no letters of a name as \\DDD.
    await shown.locator("#dns", { hasText: "\\060img\\032src" }).waitFor({ timeout: 15_000 });
    expect(await shown.locator("img").count()).toBe(0);
  });
});
