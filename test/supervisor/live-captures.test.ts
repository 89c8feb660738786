/** Captures as the supervisor begins them, with an engine that is played. */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { BoundedMemories } from "../../src/control/memories.ts";
import { captureRequestSchema } from "../../src/control/schema.ts";
import { CAPTURES_MAX, type CaptureState } from "../../src/host/captures/capture-spec.ts";
import { type Call, EngineCalls } from "../../src/supervisor/calls.ts";
import { EngineCaptures } from "../../src/supervisor/live-captures.ts";

let directory = "";
let running: CaptureState[] = [];
let captures: EngineCaptures;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "sluice-live-captures-"));
  running = [];
  const calls = new EngineCalls(
    (id, call) => setImmediate(() => calls.answered(id, answerTo(call), undefined)),
    { counters: 0, drops: 0 },
  );
  captures = new EngineCaptures({
    calls,
    sendDescriptor: () => {},
    memories: new BoundedMemories(),
    flowOf: async () => undefined,
  });
});
afterEach(() => rmSync(directory, { recursive: true }));

function answerTo(call: Call): object {
  if (call.name === "captures") return { captures: running };
  if (call.name === "capture-start") {
    running.push({ id: call.capture, octets: 0, frames: 0, lost: 0, ended: null });
    return {};
  }
  if (call.name !== "capture-stop") throw new Error(`nobody plays ${call.name}`);
  const stopped = running.filter(({ id }) => id === call.capture);
  running = running.filter(({ id }) => id !== call.capture);
  return { captures: stopped };
}

const path = (name: string): string => join(directory, name);
const start = (name: string) => captures.start(captureRequestSchema.parse({ path: path(name) }));
const ids = async (): Promise<number[]> => (await captures.list()).map(({ id }) => id);

describe("captures that begin at once", () => {
  it("are so many, and who finds no room leaves its file as it was", async () => {
    for (let i = 1; i < CAPTURES_MAX; i++) await start(`${i}`);
    const [last, more] = await Promise.allSettled([start("last"), start("more")]);
    expect(last).toMatchObject({ status: "fulfilled", value: { id: CAPTURES_MAX } });
    expect(more).toMatchObject({ status: "rejected", reason: { status: 409 } });
    expect(existsSync(path("more"))).toBe(false);
    expect(running).toHaveLength(CAPTURES_MAX);
  });

  it("take the places of those that have ended, one each", async () => {
    for (let i = 1; i <= CAPTURES_MAX; i++) await start(`${i}`);
    running = running.map((state) => (state.id <= 2 ? { ...state, ended: "its time is up" } : state));
    const began = await Promise.all([
      start("a"),
      captures.stream(captureRequestSchema.omit({ path: true }).parse({})),
    ]);
    began[1].destroy();
    expect(await ids()).toEqual(Array.from({ length: CAPTURES_MAX }, (_, i) => i + 3));
    await expect(start("c")).rejects.toThrow("16 captures run; stop one first");
  });
});
