/** Debian's Chromium as a command of `sluice exec`: it goes to pages, and says what it has got. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { PROJECT_ROOT } from "./project-root.ts";
import { findCommand } from "./requirements.ts";

const PLAYWRIGHT = pathToFileURL(join(PROJECT_ROOT, "node_modules/playwright-core/index.mjs")).href;

/**
 * Writes the program into `directory`, which becomes its home, and gives the line for a shell that runs it with addresses. Of each it
 * prints the protocol and the text of the page, or the browser's name for what went wrong.
 */
export function browsing(directory: string, options: readonly string[] = []): string {
  const program = join(directory, "browse.mjs");
  const args = ["--no-sandbox", "--disable-dev-shm-usage", ...options];
  writeFileSync(
    program,
    `import { chromium } from ${JSON.stringify(PLAYWRIGHT)};
const executablePath = ${JSON.stringify(findCommand("chromium"))};
const browser = await chromium.launch({ executablePath, args: ${JSON.stringify(args)} });
const context = await browser.newContext({ ignoreHTTPSErrors: true });
async function visit(url) {
  const page = await context.newPage();
  try {
    await page.goto(url);
    const protocol = await page.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol");
    return protocol + ": " + (await page.textContent("body")).trim();
  } catch ({ message }) {
    return /ERR_[A-Z_]+/.exec(message)?.[0] ?? message;
  } finally {
    await page.close();
  }
}
for (const url of process.argv.slice(2)) {
  let said = await visit(url);
  // The guest's IPv6 address may come while the browser starts, for which it gives up what it is doing.
  for (let tries = 0; said === "ERR_NETWORK_CHANGED" && tries < 5; tries++) said = await visit(url);
  console.log(said);
}
await browser.close();
`,
  );
  return `HOME=${directory} ${process.execPath} ${program}`;
}
