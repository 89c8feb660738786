import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { watchNamespace } from "../../../src/host/process/namespace-watch.ts";
import { HelperRig, identities } from "../../support/helper-rig.ts";
import { until } from "../../support/link-rig.ts";
import { needs } from "../../support/requirements.ts";

const [self] = identities();
let rig: HelperRig;

beforeAll(() => {
  rig = new HelperRig();
});
afterAll(() => rig.close());

describe("watchNamespace", () => {
  it("tells when the process has ended", async (context) => {
    needs(context, { userNamespaces: true });
    const pid = await rig.rootlessNamespace(self);
    let message = "";
    const stop = watchNamespace(pid, (text) => {
      message = text;
    });
    process.kill(pid, "SIGKILL");
    await until(() => message !== "", "the watch");
    expect(message).toBe(`process ${pid}, whose network namespace this is, has ended`);
    stop();
  });

  it("leaves what it cannot see from the start to others, if it is told that this may be", () => {
    vi.useFakeTimers();
    try {
      const told: string[] = [];
      watchNamespace("/nowhere/net", (text) => told.push(text), true);
      vi.advanceTimersByTime(5000);
      expect(told).toEqual([]);
      watchNamespace("/nowhere/net", (text) => told.push(text));
      vi.advanceTimersByTime(5000);
      expect(told).toEqual(["/nowhere/net has gone"]);
    } finally {
      vi.useRealTimers();
    }
  });

  it("tells when the file is gone", async () => {
    const file = join(rig.directory, "namespace");
    writeFileSync(file, "");
    let message = "";
    watchNamespace(file, (text) => {
      message = text;
    });
    rmSync(file);
    await until(() => message !== "", "the watch");
    expect(message).toBe(`${file} has gone`);
  });
});
