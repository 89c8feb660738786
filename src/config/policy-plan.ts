/** The policy that options ask for. What reads it is loaded only where they do. */
import { readFileSync } from "node:fs";
import type { PolicyConfig } from "../engine/config.ts";
import type { OptionSet } from "./option-set.ts";

const ASKING = ["allow", "deny", "policy", "policy-default", "audit"] as const;

/** Null where nothing is asked for. Complaints go to `options.problems`. */
export async function planPolicy(options: OptionSet): Promise<PolicyConfig | null> {
  if (!ASKING.some((name) => options.has(name))) return null;
  const { readPolicy } = await import("./policy/read.ts");
  const rules = (["allow", "deny"] as const).flatMap((verdict) =>
    options
      .all(verdict)
      .map(({ text, order }, i) => ({ verdict, text, order, place: options.place(verdict, i) })),
  );
  const path = options.get("policy");
  const text = path === undefined ? undefined : readFile(path, options);
  const read = readPolicy(
    {
      flags: rules.sort((a, b) => a.order - b.order),
      source: path === undefined || text === undefined ? undefined : { label: path, text },
      fallback: options.get("policy-default"),
      audit: options.has("audit"),
    },
    options.problems,
  );
  return read?.config ?? null;
}

function readFile(path: string, options: OptionSet): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    options.reject("policy", `a file that can be read (${(error as Error).message})`);
    return undefined;
  }
}
