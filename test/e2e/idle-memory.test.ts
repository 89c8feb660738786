/** What an idle engine and its supervisor keep for themselves: many of them share a host. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it } from "vitest";
import { engineOf } from "../support/engine-pid.ts";
import { sluice, until } from "../support/program.ts";

/** Memory that is nobody else's, kilobytes. */
function privateKb(pid: number): number {
  return Number(/^Private_Dirty: +(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))?.[1]);
}

it("an engine at rest gives back what its start took, and so does its supervisor", {
  timeout: 60_000,
}, async () => {
  const directory = mkdtempSync(join(tmpdir(), "sluice-test-idle-"));
  const running = sluice(["run", "--qemu-listen", `unix:${directory}/card`, "--no-sandbox"]);
  try {
    await running.says(/ready/);
    const processes = [running.child.pid!, engineOf(running)];
    const atStart = processes.map(privateKb);
    await until(
      () => {
        const now = processes.map(privateKb);
        return now.every((kb, i) => kb < atStart[i] - 1000) && now[0] + now[1] < 20_000;
      },
      "a megabyte less in each, and less than 20 in both",
      40_000,
    );
  } finally {
    running.child.kill("SIGTERM");
    await running.ended;
    rmSync(directory, { recursive: true, force: true });
  }
});
