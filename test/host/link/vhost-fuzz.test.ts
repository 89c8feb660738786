/** The shim's rings under AddressSanitizer, against rings that are right, nearly right, or random (vhost-fuzz.c). */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { nodeHeaders } from "../../support/node-headers.ts";
import { PROJECT_ROOT } from "../../support/project-root.ts";
import { needs } from "../../support/requirements.ts";

const ROUNDS = 150;
const directory = mkdtempSync(join(tmpdir(), "sluice-test-fuzz-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

it("random rings write and read nothing that is not theirs, and an honest driver is served after each", {
  timeout: 120_000,
}, (context) => {
  const program = join(directory, "vhost-fuzz");
  const sources = [
    "test/support/vhost-fuzz.c",
    "native-shims/vhost-rings.c",
    "native-shims/vhost-chain.c",
    "native-shims/vhost-memory.c",
  ];
  const sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"];
  const flags = ["-std=gnu11", "-g", "-O1", ...sanitizers, "-pthread", "-isystem", nodeHeaders()];
  const paths = sources.map((source) => join(PROJECT_ROOT, source));
  const built = spawnSync(process.env["CC"] ?? "cc", [...flags, "-o", program, ...paths], {
    encoding: "utf8",
  });
  if (/lasan|lubsan|sanitize/.test(built.stderr))
    needs(context, { commands: ["a compiler with AddressSanitizer"] });
  expect(built.stderr).toBe("");
  for (const seed of [1, 2, 3]) {
    const run = spawnSync(program, [String(seed), String(ROUNDS)], { encoding: "utf8" });
    expect(run.stderr).toBe("");
    expect(run.stdout).toMatch(
      new RegExp(`^${ROUNDS} rounds, [1-9]\\d{2,} frames taken, [1-9]\\d{2,} sent, [1-9]\\d{2,} refused\n$`),
    );
    expect(run.status).toBe(0);
  }
});
