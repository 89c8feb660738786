import { afterEach, describe, expect, it, vi } from "vitest";
import { findCommand, missing, needs } from "./requirements.ts";

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
});

describe("requirements", () => {
  const context = { task: { name: "a test" }, skip: vi.fn() as unknown as () => never };

  it("are met by what every machine has", () => {
    expect(missing({ commands: ["sh"], files: ["/proc/self/status"] })).toEqual([]);
    expect(findCommand("sh")).toMatch(/\/sh$/);
    needs(context, { commands: ["sh"] });
    expect(context.skip).not.toHaveBeenCalled();
  });

  it("name all that is missing", () => {
    const wanted = { commands: ["no-such-command"], files: ["/no/such/file"] };
    expect(missing(wanted)).toEqual(["the program no-such-command", "the file /no/such/file"]);
  });

  it("skip aloud, or fail when everything is required", () => {
    const said = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    vi.stubEnv("SLUICE_REQUIRE_ALL", "");
    needs(context, { commands: ["no-such-command"] });
    expect(context.skip).toHaveBeenCalledWith("needs the program no-such-command");
    expect(said).toHaveBeenCalledWith("SKIPPED a test: needs the program no-such-command\n");
    vi.stubEnv("SLUICE_REQUIRE_ALL", "1");
    expect(() => needs(context, { commands: ["no-such-command"] })).toThrow(
      "a test: needs the program no-such-command",
    );
  });
});
