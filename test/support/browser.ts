/** Debian's Chromium, by playwright-core: what a page looks like and does, for people with and without a mouse. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { type Browser, chromium, type Page } from "playwright-core";
import { findCommand, type Needs } from "./requirements.ts";

export const BROWSER_NEEDS: Needs = { commands: ["chromium"] };

export function openBrowser(): Promise<Browser> {
  const executablePath = findCommand("chromium");
  if (executablePath === undefined) throw new Error("the program chromium is needed");
  // Its own sandbox wants namespaces that CI's user may not make; it opens nothing but our own pages.
  return chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
}

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** What axe finds wrong for who cannot see or point, that is serious: a rule and the elements that break it. */
export async function seriousFindings(page: Page): Promise<string[]> {
  await page.evaluate(AXE);
  const found = (await page.evaluate("axe.run(document, { resultTypes: ['violations'] })")) as {
    violations: { id: string; impact: string; nodes: { html: string }[] }[];
  };
  return found.violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(" | ")}`);
}
