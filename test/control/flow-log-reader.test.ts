/** A reader of the flow log that does not read holds up nobody, and is told how much it missed. */

import { execFileSync } from "node:child_process";
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { startFlowLog } from "../../src/control/flow-log/flow-log.ts";
import { ended, HeldRecords } from "./record-samples.ts";

const FLOWS = 20_000;

it("loses lines, and says how many", async () => {
  const directory = mkdtempSync(join(tmpdir(), "sluice-flow-log-"));
  const path = join(directory, "pipe");
  execFileSync("mkfifo", [path]);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const fd = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  const records = new HeldRecords();
  const log = startFlowLog({
    instance: "x",
    namesOf: () => [],
    records,
    fd,
    level: "ends",
    warn: (message) => expect.fail(message),
  });
  // Nobody reads yet: who waited for the reader here would wait for ever.
  for (let flow = 1; flow <= FLOWS; flow++) records.tell(ended({ flow }));
  let text = "";
  const octets = Buffer.alloc(1_048_576);
  const read = (): void => {
    try {
      for (let got = readSync(reader, octets); got > 0; got = readSync(reader, octets))
        text += octets.toString("utf8", 0, got);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
    }
  };
  const timer = setInterval(read, 5);
  await log.close();
  clearInterval(timer);
  read();
  closeSync(fd);
  closeSync(reader);
  rmSync(directory, { recursive: true });
  const lines = text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  const told = lines.filter(({ event }) => event.action === "flow-end").length;
  const lost = lines.filter(({ event }) => event.action === "records-lost").map(({ sluice }) => sluice.lost);
  expect(told).toBeGreaterThan(100);
  expect(told).toBeLessThan(FLOWS);
  expect(lost).toEqual([FLOWS - told]);
});
