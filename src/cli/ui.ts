/** `sluice ui`: the page of an instance, served by a process of its own until somebody ends it. */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parsePort } from "../config/address.ts";
import { Unacceptable } from "../config/unacceptable.ts";
import { startPageProxy } from "../control/page-proxy.ts";
import { packageRoot } from "../host/native/native-loader.ts";
import { keepFromGuest } from "./kept-port.ts";
import { jsonLine, VerbError, type VerbRequest } from "./verb-request.ts";

const LOOPBACK = "127.0.0.1";
const END_SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export async function uiCommand({ flags, json, out, client }: VerbRequest): Promise<void> {
  const { port: text } = flags;
  const asked = await client();
  const { name } = await asked.state();
  const page = await startPageProxy({
    socketPath: asked.path,
    directory: join(packageRoot(), "dist", "program", "page"),
    port: typeof text === "string" ? portOf(text) : 0,
  });
  const letGo = await keepFromGuest(asked, LOOPBACK, page.port);
  const ended = new Promise<void>((resolve) => {
    for (const signal of END_SIGNALS) process.once(signal, () => resolve());
  });
  out(json ? jsonLine({ name, address: page.address }) : `${name}: ${page.address}\n`);
  const close = flags["open"] === true ? openInBrowser(page.address) : () => {};
  await ended;
  close();
  letGo();
  await page.close();
}

/**
 * Has the desktop's browser open the address, by way of a file that only this user can read: arguments of programs are
 * everybody's to see. Returns what removes the file.
 */
function openInBrowser(address: string): () => void {
  const directory = mkdtempSync(join(tmpdir(), "sluice-ui-"));
  const file = join(directory, "open.html");
  writeFileSync(file, `<!doctype html><meta http-equiv="refresh" content="0; url=${address}">\n`, {
    mode: 0o600,
  });
  const opener = spawn("xdg-open", [file], { stdio: "ignore" });
  opener.once("error", ({ message }) => process.stderr.write(`sluice ui: no browser: ${message}\n`));
  return () => rmSync(directory, { recursive: true, force: true });
}

function portOf(text: string): number {
  try {
    return parsePort(text);
  } catch (error) {
    if (!(error instanceof Unacceptable)) throw error;
    throw new VerbError({ place: "--port", found: text, allowed: error.allowed });
  }
}
