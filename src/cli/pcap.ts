/** `sluice pcap`: captures of an instance that runs. */
import { resolve } from "node:path";
import { pipeline } from "node:stream/promises";
import { printable } from "../control/printable.ts";
import type { CaptureResource, CaptureStreamQuery } from "../control/schema.ts";
import { formatOctets } from "../supervisor/octets.ts";
import { table } from "./table.ts";
import { idOf, jsonLine, VerbError, type VerbRequest } from "./verb-request.ts";

const STDOUT = "-";
const ACTIONS = "ls, start or stop";

export async function pcapCommand(request: VerbRequest): Promise<void> {
  const [action = "ls"] = request.words;
  switch (action) {
    case "ls":
      return list(request);
    case "start":
      return start(request);
    case "stop":
      return stop(request);
    default:
      throw new VerbError({ place: "pcap", found: action, allowed: ACTIONS });
  }
}

function whatOf({ flow, host, drops }: CaptureResource): string {
  const whose = flow === null ? (host ?? "everything") : `flow ${flow}`;
  return drops ? `drops of ${whose}` : whose;
}

async function list({ json, out, client }: VerbRequest): Promise<void> {
  const found = await (await client()).captures();
  if (json) {
    for (const each of found) out(jsonLine(each));
    return;
  }
  const rows = found.map((capture) => [
    String(capture.id),
    capture.path ?? STDOUT,
    whatOf(capture),
    String(capture.frames),
    formatOctets(capture.octets),
    String(capture.lost),
    capture.ended ?? "runs",
  ]);
  out(table(["ID", "FILE", "OF", "FRAMES", "OCTETS", "LOST", "STATE"], rows, "no captures"));
}

async function start({ words, flags, json, out, client }: VerbRequest): Promise<void> {
  const [, file] = words;
  if (file === undefined) throw new VerbError({ place: "pcap start", allowed: "a file after it, or -" });
  const wish = wishOf(flags);
  const asked = await client();
  if (file !== STDOUT) {
    const begun = await asked.startCapture({ path: resolve(file), ...wish });
    out(json ? jsonLine(begun) : `capture ${begun.id}: ${printable(begun.path ?? "")}\n`);
    return;
  }
  if (process.stdout.isTTY)
    throw new VerbError({
      place: "pcap start",
      found: file,
      allowed: "a pipe behind it, such as | wireshark -k -i -",
    });
  try {
    await pipeline(await asked.captureStream(wish), process.stdout, { end: false });
  } catch (error) {
    // Who reads has seen enough.
    if ((error as NodeJS.ErrnoException).code !== "EPIPE") throw error;
  }
}

/** The flags as the API has them. Throws a VerbError with what is no number. */
function wishOf(flags: VerbRequest["flags"]): CaptureStreamQuery {
  const number = (name: string): Record<string, number> => {
    const text = flags[name];
    if (typeof text !== "string") return {};
    if (!/^\d{1,15}$/.test(text))
      throw new VerbError({ place: `--${name}`, found: text, allowed: "a number" });
    return { [name]: Number(text) };
  };
  const { host, drops } = flags;
  return {
    ...number("flow"),
    ...number("snap"),
    ...number("octets"),
    ...number("frames"),
    ...number("seconds"),
    ...(typeof host === "string" ? { host } : {}),
    ...(drops === true ? { drops } : {}),
  };
}

async function stop({ words, json, out, client }: VerbRequest): Promise<void> {
  const asked = await client();
  const id = words[1] === undefined ? onlyOf(await asked.captures()) : idOf("pcap stop", words[1], "an id");
  const stopped = await asked.stopCapture(id);
  if (json) {
    out(jsonLine(stopped));
    return;
  }
  const lost = stopped.lost === 0 ? "" : `, ${stopped.lost} lost`;
  const where = printable(stopped.path ?? STDOUT);
  out(`capture ${id}: ${stopped.frames} frames, ${formatOctets(stopped.octets)} in ${where}${lost}\n`);
}

function onlyOf(captures: readonly CaptureResource[]): number {
  const [only, ...others] = captures;
  if (only !== undefined && others.length === 0) return only.id;
  const ids = captures.map(({ id }) => id).join(", ");
  throw new VerbError({
    place: "pcap stop",
    allowed: ids === "" ? "a capture that there is; there is none" : `one of ${ids}`,
  });
}
