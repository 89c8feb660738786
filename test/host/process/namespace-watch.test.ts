import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
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
