/** What `sluice why` is asked about. */
import { Unacceptable } from "../../config/unacceptable.ts";
import { formatEnd } from "../end-text.ts";
import { parseTarget, readId } from "../target.ts";

export type WhyTarget =
  /** Whatever was denied or failed last. */
  | { readonly kind: "last" }
  | { readonly kind: "flow"; readonly id: number }
  | { readonly kind: "address"; readonly address: string; readonly port: number | null }
  | { readonly kind: "name"; readonly name: string; readonly port: number | null };

/** Reads what was written; nothing at all asks about the last denial or failure. Throws Unacceptable. */
export function parseWhyTarget(text: string): WhyTarget {
  if (text === "") return { kind: "last" };
  const id = readId(text.replace(/^#/, ""));
  if (id !== undefined) return { kind: "flow", id };
  try {
    const { host, isName, port } = parseTarget(text);
    return isName ? { kind: "name", name: host, port } : { kind: "address", address: host, port };
  } catch (error) {
    if (!(error instanceof Unacceptable)) throw error;
    throw new Unacceptable(`${error.allowed}, or a flow's number`, text);
  }
}

/** As one would write it. */
export function formatTarget(target: WhyTarget): string {
  switch (target.kind) {
    case "last":
      return "the last denial";
    case "flow":
      return `flow ${target.id}`;
    case "address":
      return target.port === null
        ? target.address
        : formatEnd({ address: target.address, port: target.port });
    case "name":
      return target.port === null ? target.name : `${target.name}:${target.port}`;
  }
}
