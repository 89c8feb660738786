/** The sidecar's command line: nothing is served by one that is wrong. */
import { expect, it } from "vitest";
import { bindingCommand } from "../../../src/kubevirt/binding/command.ts";

async function refused(...argv: string[]): Promise<string> {
  let stderr = "";
  const io = { stdout: { write: () => {} }, stderr: { write: (text: string) => (stderr += text) }, env: {} };
  const serve = () => {
    throw new Error("a guest is served");
  };
  expect(await bindingCommand(argv, io, serve)).toBe(2);
  return stderr;
}

const line = (text: string): string => `sluice kubevirt-binding: ${text}\n`;

it.each([
  [
    ["--hooks-dir", "--no-sandbox"],
    '--hooks-dir: found "--no-sandbox"; allowed: a value after it (or --hooks-dir=VALUE)',
  ],
  [["--hooks-dir", "/a", "--hooks-dir", "/b"], "--hooks-dir: allowed: the option once"],
  [["--no-sandbox", "--no-sandbox"], "--no-sandbox: allowed: the option once"],
  [["--no-sandbox=no"], '--no-sandbox: found "no"; allowed: no value'],
  [["--plugin-socket"], "--plugin-socket: allowed: a value after it"],
  [["--hooks-dir="], "--hooks-dir: allowed: a value after it"],
  [
    ["--hook-dir=/a"],
    "--hook-dir: allowed: an option that sluice kubevirt-binding has (sluice kubevirt-binding --help lists them); did you mean --hooks-dir?",
  ],
  [["x"], 'arguments: found "x"; allowed: options only'],
])("K20 refuses %j", async (argv, sentence) => {
  expect(await refused(...argv)).toBe(line(sentence));
});

it("K20 says everything that is wrong at once", async () => {
  const stderr = await refused("--binding-name", "A B", "--hooks-dir", "--binding-name", "--nope");
  expect(stderr.match(/^sluice kubevirt-binding: --[a-z-]+/gm)).toEqual(
    ["--binding-name", "--hooks-dir", "--nope"].map((name) => `sluice kubevirt-binding: ${name}`),
  );
});
