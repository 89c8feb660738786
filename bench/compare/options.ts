/** The command line of `npm run bench:compare`. */
import { parseArgs } from "node:util";

/** Programs that can be named by path; otherwise they are looked for in PATH. */
export const PROGRAM_OPTIONS = [
  "slirp4netns",
  "pasta",
  "passt",
  "gvproxy",
  "qemu-system-x86_64",
  "busybox",
] as const;

export interface CompareOptions {
  readonly rounds: number;
  readonly warmupMs: number;
  readonly windowMs: number;
  /** Case ids or their beginnings; empty for all. */
  readonly only: readonly string[];
  /** Engine ids; empty for all. */
  readonly engines: readonly string[];
  /** Where the results go; undefined: docs/performance for a full run, build output else. */
  readonly out: string | undefined;
  readonly quick: boolean;
  readonly list: boolean;
  readonly congestion: string;
  /** Paths by program name. */
  readonly paths: ReadonlyMap<string, string>;
  /** The sluice command's script. */
  readonly sluice: string | undefined;
}

export const HELP = `usage: npm run bench:compare -- [options]

Compares sluice with the network stacks installed on this machine. Needs root, a C compiler, iproute2; peers that are
not installed are left out and named.

  --quick              one round of short windows: does it all work? (the figures mean little)
  --rounds N           runs of each engine in each case, in alternation (default 5)
  --window MS          measured time of one run (default 2000)
  --warmup MS          time before it (default 700)
  --only A,B           cases whose id begins with A or B (see --list)
  --engines A,B        engines (see --list)
  --out DIR            where results.json, README tables and the chart go
                       (default: docs/performance for a full run, dist/bench-results else)
  --congestion NAME    congestion control of both namespaces (default: cubic where a namespace may have it, else reno)
  --sluice PATH        another build of sluice (its cli script)
  --slirp4netns PATH   another binary; likewise ${PROGRAM_OPTIONS.slice(1)
    .map((p) => `--${p}`)
    .join(", ")}
  --list               the cases and engines
`;

/** Parses; throws an Error with a sentence on anything it does not know. */
export function parseOptions(argv: readonly string[]): CompareOptions | "help" {
  const programs = Object.fromEntries(PROGRAM_OPTIONS.map((p) => [p, { type: "string" as const }]));
  const { values } = parseArgs({
    args: [...argv],
    strict: true,
    allowPositionals: false,
    options: {
      quick: { type: "boolean", default: false },
      list: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
      rounds: { type: "string" },
      window: { type: "string" },
      warmup: { type: "string" },
      only: { type: "string", default: "" },
      engines: { type: "string", default: "" },
      out: { type: "string" },
      congestion: { type: "string", default: "cubic" },
      sluice: { type: "string" },
      ...programs,
    },
  });
  if (values.help) return "help";
  const named = values as Record<string, string | boolean | undefined>;
  const paths = new Map<string, string>();
  for (const program of PROGRAM_OPTIONS) {
    const path = named[program];
    if (typeof path === "string") paths.set(program, path);
  }
  const quick = values.quick;
  return {
    rounds: count("--rounds", values.rounds, quick ? 1 : 5),
    windowMs: count("--window", values.window, quick ? 500 : 2000),
    warmupMs: count("--warmup", values.warmup, quick ? 300 : 700),
    only: list(values.only),
    engines: list(values.engines),
    out: values.out,
    quick,
    list: values.list,
    congestion: values.congestion,
    paths,
    sluice: values.sluice,
  };
}

function list(text: string): string[] {
  return text.split(",").filter((part) => part !== "");
}

function count(name: string, text: string | undefined, fallback: number): number {
  if (text === undefined) return fallback;
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 600_000) {
    throw new Error(`${name}: found "${text}", allowed is a whole number from 1 to 600000`);
  }
  return value;
}
