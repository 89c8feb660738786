/** `POST /v1/why`: a target as people write it, to lines. */
import type { Why } from "../schema.ts";
import { gatherFacts, type WhySources } from "./facts.ts";
import { explain } from "./rules.ts";
import { parseWhyTarget } from "./target.ts";

/** Throws Unacceptable for what is no target. */
export async function answerWhy(sources: WhySources, target: string): Promise<Why> {
  return { lines: explain(await gatherFacts(sources, parseWhyTarget(target.trim()))) };
}
