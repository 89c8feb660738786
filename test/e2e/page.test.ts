/**
 * The page of `sluice ui` in a browser, with an API behind it that tells what a test wants told: ten thousand flows, names
 * that are markup, an instance that goes and comes. With a real instance: test/e2e/ui-command.test.ts.
 */
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type PageProxy, startPageProxy } from "../../src/control/page-proxy.ts";
import type { Question } from "../../src/control/schema.ts";
import { BROWSER_NEEDS, openBrowser, seriousFindings } from "../support/browser.ts";
import { until } from "../support/program.ts";
import { PROJECT_ROOT } from "../support/project-root.ts";
import { missing, needs } from "../support/requirements.ts";
import { StandInApi, standInFlow } from "../support/stand-in-api.ts";

const DIRECTORY = join(PROJECT_ROOT, "dist/program/page");
const EVIL = '<img src=x onerror="globalThis.owned=1"><script>globalThis.owned=1</script>';

let browser: Browser;
let api: StandInApi;
let proxy: PageProxy;
let page: Page;
const complaints: string[] = [];

beforeEach((context) => needs(context, BROWSER_NEEDS));
beforeAll(async () => {
  if (missing(BROWSER_NEEDS).length === 0) browser = await openBrowser();
});
afterAll(async () => {
  await browser?.close();
});
beforeEach(async () => {
  api = await new StandInApi().open();
  proxy = await startPageProxy({ socketPath: api.path, directory: DIRECTORY });
  complaints.length = 0;
});
afterEach(async () => {
  await page?.close();
  await proxy?.close();
  await api?.remove();
});

/** Opens the page and waits for its first answer. */
async function open(options: Parameters<Browser["newPage"]>[0] = {}): Promise<void> {
  page = await browser.newPage(options);
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(error.message));
  await page.goto(proxy.address);
  await page.locator("#facts", { hasText: "tap tap0" }).waitFor();
}

const activeRow = () => page.locator("#rows tr[tabindex='0']");
const textOf = (selector: string): Promise<string> => page.locator(selector).innerText();

describe("the page", () => {
  it("shows what there is, live, and asks nobody else for anything", async () => {
    api.flows = [standInFlow(1), standInFlow(3)];
    api.drops = { icmp: 3, "destination-refused": 9 };
    await open();
    const asked: string[] = [];
    page.on("request", (request) => asked.push(request.url()));
    await until(async () => (await textOf("#rate-to")) !== "0 B/s", "rates");
    expect(await textOf("#drops")).toMatch(/^destination-refused\s+9\s+0\/s\s+icmp\s+3\s+0\/s$/);
    expect(await textOf("#count")).toBe("2 flows");
    api.flows = [...api.flows, standInFlow(5)];
    const begun = performance.now();
    await page.locator("#rows", { hasText: "git-5.example.com:443" }).waitFor();
    expect(performance.now() - begun).toBeLessThan(3000);
    api.tell({
      type: "dns",
      at: "2026-12-01T09:30:00.000Z",
      guest: { address: "10.0.2.15", port: 5000 },
      transport: "udp",
      name: "packages.example.com",
      questionType: "AAAA",
      rcode: "NXDOMAIN",
      addresses: [],
      ttlSeconds: 0,
      answeredBy: "resolver",
      durationMs: 12,
    });
    await page.locator("#dns", { hasText: "packages.example.com AAAA" }).waitFor();
    expect(await textOf("#dns")).toMatch(/NXDOMAIN\s+12 ms/);
    expect(asked.filter((url) => !url.startsWith(`http://127.0.0.1:${proxy.port}/`))).toEqual([]);
    expect(await page.locator("#chart canvas").count()).toBe(1);
    expect(complaints).toEqual([]);
    // The token is in no address that anybody sees.
    expect(page.url()).toBe(`http://127.0.0.1:${proxy.port}/`);
    await page.reload();
    await page.locator("#facts", { hasText: "tap tap0" }).waitFor();
  });

  it("filters, sorts, says why and ends a flow", async () => {
    api.flows = Array.from({ length: 50 }, (_, i) => standInFlow(i + 1));
    api.why = [
      { label: "open", text: "flow 22, tcp" },
      { label: "because", text: "all is well" },
    ];
    await open();
    await page.getByLabel("Filter").fill("-22.example.com");
    await page.locator("#count", { hasText: "1 of 50 flows" }).waitFor();
    await page.getByRole("button", { name: /^Why: .*flow 22$/ }).click();
    await page.getByRole("dialog", { name: /^Why: .*, flow 22$/ }).waitFor();
    expect(await textOf("#why-lines")).toMatch(/^open\s+flow 22, tcp\s+because\s+all is well$/);
    expect(api.asked).toEqual(["22"]);
    await page.getByRole("button", { name: "End this flow" }).click();
    await page.locator("#status", { hasText: "Flow 22" }).waitFor();
    expect(api.killed).toEqual([22]);
    await page.locator("#count", { hasText: "0 of 49 flows" }).waitFor();
    await page.getByLabel("Filter").fill("");
    await page.getByRole("button", { name: "Idle" }).click();
    expect(await page.locator("th[aria-sort]").innerText()).toBe("Idle");
    await until(
      async () => (await textOf("#rows tr[aria-rowindex='2']")).includes("0.5 s"),
      "the least idle first",
    );
    expect(complaints).toEqual([]);
  });

  it("is used by the keyboard alone", async () => {
    api.flows = Array.from({ length: 500 }, (_, i) => standInFlow(i + 1));
    await open();
    await page.locator("body").press("Tab");
    expect(await page.evaluate("document.activeElement.textContent")).toBe("Skip to the flows");
    await page.keyboard.press("Enter");
    await page.locator("#filter").focus();
    for (let i = 0; i < 20 && (await page.evaluate("document.activeElement.tagName")) !== "TR"; i++) {
      await page.keyboard.press("Tab");
    }
    const number = () => page.evaluate("Number(document.activeElement.getAttribute('aria-rowindex'))");
    expect(await number()).toBe(2);
    for (const key of ["ArrowDown", "ArrowDown", "ArrowUp"]) await page.keyboard.press(key);
    expect(await number()).toBe(3);
    await page.keyboard.press("End");
    expect(await number()).toBe(501);
    await page.keyboard.press("Home");
    expect(await number()).toBe(2);
    await page.keyboard.press("PageDown");
    expect(await number()).toBeGreaterThan(5);
    const label = await activeRow().locator("button").first().getAttribute("aria-label");
    // The row stays, and keeps the focus, while rates change.
    await page.waitForTimeout(2500);
    expect(await activeRow().locator("button").first().getAttribute("aria-label")).toBe(label);
    expect(await number()).toBeGreaterThan(5);
    await page.keyboard.press("Enter");
    await page.getByRole("dialog").waitFor();
    expect(await page.evaluate("document.activeElement.textContent")).toBe("Close");
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "hidden" });
    await page.keyboard.press("Delete");
    await until(() => api.killed.length === 1, "a flow was ended");
    expect(label).toContain(`flow ${api.killed[0]}`);
  });

  it("asks what waits for an answer, and takes answers by pointer and keyboard", async () => {
    const question = (id: number, host: string): Question => ({
      ...{ id, host, port: 443, protocol: "tcp", rule: "others", state: "open", count: id },
      endsInMs: 41_000,
    });
    await open();
    expect(await page.locator("#questions").isVisible()).toBe(false);
    api.questions = [
      question(1, "a.example"),
      question(2, EVIL),
      question(3, "2001:db8::1"),
      question(4, "d.example"),
    ];
    api.tell({
      ...{ type: "question", at: "2026-12-01T09:30:00.000Z", id: 1, host: "a.example", port: 443 },
      ...{ protocol: "tcp", rule: "others", endsInMs: 41_000 },
    });
    await page.getByRole("region", { name: "Waiting for an answer" }).waitFor();
    const items = page.locator("#question-list li");
    await items.nth(3).waitFor();
    expect(await items.nth(0).locator("span").innerText()).toMatch(
      /^a\.example:443\/tcp, rule others: 1 flow waits, 41/,
    );
    expect(await items.nth(1).locator("span").innerText()).toContain(
      `${EVIL}:443/tcp, rule others: 2 flows wait`,
    );
    expect(await textOf("#status")).toBe("a.example:443/tcp waits for an answer");
    expect(await page.locator("img, script:not([src='page.js'])").count()).toBe(0);
    expect(await seriousFindings(page)).toEqual([]);
    await page.getByRole("button", { name: "Allow for 10 minutes: a.example:443/tcp" }).click();
    await until(async () => (await items.count()) === 3, "it is answered");
    expect(await textOf("#status")).toBe("a.example:443/tcp was allowed");
    // The focus was on a question that is gone, and is on the next one; the keyboard goes on from there.
    const focused = "document.activeElement.getAttribute('aria-label')";
    await until(async () => (await page.evaluate(focused)) === `Allow once: ${EVIL}:443/tcp`, "the focus");
    await page.keyboard.press("Enter");
    await until(async () => (await items.count()) === 2, "it is answered");
    for (let i = 0; i < 3; i++) await page.keyboard.press("Tab");
    expect(await page.evaluate(focused)).toBe("Refuse: [2001:db8::1]:443/tcp");
    // The one at the keyboard keeps its place while others ask.
    api.questions = [question(9, "z.example"), ...api.questions];
    await until(async () => (await items.count()) === 3, "another one");
    expect(await page.evaluate(focused)).toBe("Refuse: [2001:db8::1]:443/tcp");
    await page.keyboard.press("Space");
    await until(async () => (await items.count()) === 2, "it is answered");
    expect(api.answers).toEqual([
      { id: 1, answer: { verdict: "allow", for: 600 } },
      { id: 2, answer: { verdict: "allow", for: "once" } },
      { id: 3, answer: { verdict: "deny", for: "once" } },
    ]);
    expect(complaints).toEqual([]);
    // Somebody else was quicker.
    await page.route("**/v1/questions/4", (route) => {
      api.questions = [];
      return route.continue();
    });
    await page.getByRole("button", { name: "Allow until the end: d.example:443/tcp" }).click();
    await page.locator("#status.bad", { hasText: "question 4 has been answered" }).waitFor();
    await page.getByRole("region", { name: "Waiting for an answer" }).waitFor({ state: "hidden" });
    expect(await page.evaluate("document.activeElement.id")).toBe("filter");
    expect(await page.evaluate("globalThis.owned")).toBeUndefined();
  });

  it("keeps the flow that was asked about where it stands, however rates change under the dialog", async () => {
    api.flows = Array.from({ length: 400 }, (_, i) => standInFlow(i + 1));
    await open();
    const first = page.locator("#rows tr[aria-rowindex='2'] button").first();
    await until(async () => (await first.getAttribute("aria-label"))?.includes("flow 400") === true, "rates");
    await activeRow().focus();
    await page.keyboard.press("Enter");
    await page.getByRole("dialog").waitFor();
    const [asked = ""] = api.asked;
    // A hundred come that are faster: by their rates alone the flow would stand where no row is.
    api.flows = [...api.flows, ...Array.from({ length: 100 }, (_, i) => standInFlow(801 + i))];
    await page.locator("#count", { hasText: "500 flows" }).waitFor();
    await page.waitForTimeout(2500);
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "hidden" });
    const label = "document.activeElement.querySelector('button').getAttribute('aria-label')";
    expect(await page.evaluate(label)).toMatch(new RegExp(`, flow ${asked}$`));
    await page.keyboard.press("Delete");
    await until(() => api.killed.length === 1, "a flow was ended");
    expect(api.killed).toEqual([Number(asked)]);
  });

  it("shows ten thousand flows with as many rows as can be seen", async () => {
    api.flows = Array.from({ length: 10_000 }, (_, i) => standInFlow(i + 1));
    await open();
    await page.locator("#count", { hasText: "10000 flows" }).waitFor();
    expect(await page.locator("#table").getAttribute("aria-rowcount")).toBe("10001");
    const shown = await page.locator("#rows tr:not(.space)").count();
    expect(shown).toBeGreaterThan(5);
    expect(shown).toBeLessThan(80);
    await page.locator("#scroller").evaluate((element) => {
      element.scrollTop = element.scrollHeight;
    });
    await page.locator("#rows tr[aria-rowindex='10001']").waitFor();
    await page.getByLabel("Filter").fill("-9999.");
    await page.locator("#count", { hasText: "1 of 10000" }).waitFor();
  });

  it.each([
    ["light", 1440, 900],
    ["dark", 1440, 900],
    ["dark", 390, 844],
  ] as const)(
    "has no serious fault for who cannot see or point: %s, %ix%i",
    async (colorScheme, width, height) => {
      api.flows = Array.from({ length: 60 }, (_, i) => standInFlow(i + 1));
      api.drops = { icmp: 3 };
      await open({ colorScheme, viewport: { width, height } });
      await page.locator("#rows tr[aria-rowindex='2']").waitFor();
      expect(await seriousFindings(page)).toEqual([]);
      await activeRow().focus();
      await page.keyboard.press("Enter");
      await page.getByRole("dialog").waitFor();
      expect(await seriousFindings(page)).toEqual([]);
    },
  );

  it("shows what a guest chose as text, wherever it stands", async () => {
    const end = { address: EVIL, port: 1 };
    api.flows = [standInFlow(1, { names: [EVIL], state: EVIL, guest: end, remote: end })];
    api.drops = { [EVIL]: 1 };
    api.why = [{ label: EVIL, text: EVIL }];
    await open();
    api.tell({
      type: "dns",
      at: "2026-12-01T09:30:00.000Z",
      guest: { address: "10.0.2.15", port: 5000 },
      transport: "udp",
      name: EVIL,
      questionType: EVIL,
      rcode: EVIL,
      addresses: [EVIL],
      ttlSeconds: 0,
      answeredBy: "resolver",
      durationMs: 1,
    });
    await page.locator("#dns", { hasText: "<img" }).waitFor();
    await page.locator("#rows", { hasText: "<script>" }).waitFor();
    await activeRow().focus();
    await page.keyboard.press("Enter");
    await page.locator("#why-lines", { hasText: "<img" }).waitFor();
    expect(await page.locator("img, script:not([src='page.js'])").count()).toBe(0);
    expect(await page.evaluate("globalThis.owned")).toBeUndefined();
    expect(complaints).toEqual([]);
  });

  it("runs no script that is not its own, and makes no markup of text", async () => {
    await open();
    const outcome = await page.evaluate(`(() => {
      const blocked = [];
      try { document.body.innerHTML = "<b>x</b>"; blocked.push("markup"); } catch {}
      const script = document.createElement("script");
      try { script.textContent = "globalThis.owned = 1"; document.body.append(script); } catch {}
      const button = document.createElement("button");
      try { button.setAttribute("onclick", "globalThis.owned = 2"); } catch {}
      document.body.append(button);
      button.click();
      return [blocked, globalThis.owned];
    })()`);
    expect(outcome).toEqual([[], undefined]);
  });

  it("says that the instance is gone, and goes on with the one that comes", async () => {
    api.flows = [standInFlow(1)];
    await open();
    await api.close();
    await page.locator("#status.bad", { hasText: "does not answer" }).waitFor();
    api.flows = [standInFlow(3)];
    await api.open();
    await page.locator("#rows", { hasText: "cdn-3.example.com:80" }).waitFor();
    expect(await textOf("#status")).toBe("");
  });

  it("says so without the token", async () => {
    page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${proxy.port}/`);
    await page.locator("#status.bad", { hasText: "the whole address" }).waitFor();
    expect(api.requests).toBe(0);
  });

  it("is out of reach of pages of other origins", async () => {
    // Of the same host, with the token, by every way that asks nobody first.
    const other = await startPageProxy({ socketPath: api.path, directory: DIRECTORY });
    page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${other.port}/`);
    const token = proxy.address.split("#")[1];
    const url = `http://127.0.0.1:${proxy.port}`;
    const before = api.requests;
    const tried = await page.evaluate(`Promise.all([
      fetch("${url}/v1/state", { headers: { authorization: "Bearer ${token}" } }).then(() => "read", () => "failed"),
      fetch("${url}/v1/state", { mode: "no-cors" }).then(() => "sent", () => "failed"),
    ])`);
    expect(tried).toEqual(["failed", "failed"]);
    expect(api.requests).toBe(before);
    await other.close();
  });
});
