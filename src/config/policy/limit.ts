/** Limits of a policy: text to numbers and back. Their form has been checked by the schema. */
import type { GuestLimit, PolicyLimit } from "../../engine/config.ts";
import type { PolicyDocument, RuleDocument } from "./schema.ts";

const UNITS: Readonly<Record<string, number>> = {
  B: 1,
  kB: 1e3,
  MB: 1e6,
  GB: 1e9,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
};

function octets(text: string): number {
  const [, value, unit = "B"] = /^(\d+)([A-Za-z]+)/.exec(text) ?? [];
  return Number(value) * (UNITS[unit] ?? 1);
}

const perSecond = (text: string): number => Number.parseInt(text, 10);

export function limitOf({ limit }: RuleDocument): PolicyLimit | undefined {
  if (limit === undefined) return undefined;
  const { rate, bytes, connections, new: newFlows } = limit;
  return {
    ...(rate === undefined ? {} : { rate: octets(rate) }),
    ...(bytes === undefined ? {} : { bytes: octets(bytes) }),
    ...(connections === undefined ? {} : { connections }),
    ...(newFlows === undefined ? {} : { newFlows: perSecond(newFlows) }),
  };
}

export function guestLimitOf({ limit }: PolicyDocument): GuestLimit | undefined {
  if (limit === undefined) return undefined;
  const { new: newFlows, dns } = limit;
  return {
    ...(newFlows === undefined ? {} : { newFlows: perSecond(newFlows) }),
    ...(dns === undefined ? {} : { questions: perSecond(dns) }),
  };
}

/** Limits as they are written. */
export function limitDocument({ rate, bytes, connections, newFlows }: PolicyLimit): Record<string, unknown> {
  return {
    ...(rate === undefined ? {} : { rate: `${formatOctets(rate)}/s` }),
    ...(bytes === undefined ? {} : { bytes: formatOctets(bytes) }),
    ...(connections === undefined ? {} : { connections }),
    ...(newFlows === undefined ? {} : { new: `${newFlows}/s` }),
  };
}

export function guestLimitDocument({ newFlows, questions }: GuestLimit): Record<string, unknown> {
  return {
    ...(newFlows === undefined ? {} : { new: `${newFlows}/s` }),
    ...(questions === undefined ? {} : { dns: `${questions}/s` }),
  };
}

/** In the largest unit that says it exactly. */
function formatOctets(value: number): string {
  const [unit = "B", size = 1] =
    Object.entries(UNITS)
      .sort(([, a], [, b]) => b - a)
      .find(([, each]) => value % each === 0) ?? [];
  return `${value / size}${unit}`;
}
