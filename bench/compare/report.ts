/** The results as Markdown. */
import type { EngineId } from "./engines.ts";
import type { CaseResult, EngineResult, Results } from "./results.ts";
import { figure } from "./results.ts";
import { short, type Target } from "./targets.ts";

type Row = readonly string[];

function table(head: Row, rows: readonly Row[]): string {
  const line = (cells: Row) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

function cell(result: EngineResult | undefined, results: Results, caseId: string): string {
  if (!result) return "";
  if (result.runs.length === 0) return "failed";
  const values = result.runs.map((run) => run.value);
  const range = values.length > 1 ? ` (${short(Math.min(...values))}-${short(Math.max(...values))})` : "";
  const failed = result.failures.length > 0 ? `, ${result.failures.length} failed` : "";
  return `${short(figure(results, caseId, result.engine))}${range}${failed}`;
}

/** Medians with the range of the runs; one row per case. */
function figures(results: Results, engines: readonly EngineId[]): string {
  const cases = results.cases.filter((c) => c.engines.some(({ engine }) => engines.includes(engine)));
  const rows = cases.map((c) => [
    `${c.title}, ${c.unit}`,
    ...engines.map((id) =>
      cell(
        c.engines.find(({ engine }) => engine === id),
        results,
        c.id,
      ),
    ),
  ]);
  return table(["case", ...engines], rows);
}

/** What was counted beside the figures of one engine in one case: medians of whatever is not zero. */
function beside(results: Results, { id }: CaseResult, { engine, runs, failures }: EngineResult): string {
  const keys = [...new Set(runs.flatMap((run) => Object.keys(run.more)))];
  const parts = keys
    .map((key) => ({ key, value: figure(results, id, engine, key) }))
    .filter(({ value }) => value !== 0)
    .map(({ key, value }) => `${key} ${short(value)}`);
  const facts = new Set(runs.flatMap((run) => Object.entries(run.facts ?? {}).map(([k, v]) => `${k} ${v}`)));
  return [...parts, ...facts, ...new Set(failures.map((reason) => `FAILED: ${reason}`))].join("; ");
}

export function renderResults(results: Results, targets: readonly Target[], chart: string): string {
  const { machine } = results;
  const present = results.engines.map(({ id }) => id);
  const tap = present.filter((id) => !isStream(id));
  const stream = present.filter(isStream);
  const met = targets.filter((t) => t.met === true).length;
  const missed = targets.filter((t) => t.met === false).length;
  const qualified = (t: Target) => (t.met === undefined ? "-" : t.met ? "met" : "**missed**");
  return `# Results

Made by \`${results.command}\`, ${results.started} to ${results.finished}. Do not edit: run it again.

- machine: ${machine.cores} x ${machine.processor}, ${machine.memoryGib} GiB; ${machine.kernel}; Node ${machine.node}; load before the first run ${machine.loadBefore.toFixed(1)}
- median of ${results.rounds} runs of ${results.windowMs} ms each after ${results.warmupMs} ms of warm-up, engines in alternation; in brackets the lowest and highest
- congestion control of both namespaces: ${results.congestion} (checked on the sockets in use, see the last table)
${results.engines
  .filter(({ version }) => version !== "")
  .map(({ id, title, version }) => `- ${id}: ${title}; ${version}`)
  .join("\n")}
${results.absent.map(({ title, sentence }) => `- not measured: ${title}: ${sentence}`).join("\n")}

![figures](${chart})

## Targets

${met} met, ${missed} missed, ${targets.length - met - missed} not measured.

${table(
  ["work", "wanted", "found", ""],
  targets.map((t) => [t.work, t.wanted, t.found, qualified(t)]),
)}

## Guest on a TAP

${figures(results, tap)}

## Guest behind a socket or shared memory, through a bridge each

${figures(results, stream)}

## Counted beside the figures

Medians. \`tapDropsUp\`: frames the guest's TAP dropped because the engine had not read the ones before; \`guestResent\`: segments the guest's kernel sent again; \`guestOutOfOrder\`: segments that reached the guest out of order; CPU seconds are user and system time of all the engine's processes within the window.

${table(
  ["case", "engine", "counted"],
  results.cases.flatMap((c) => c.engines.map((e) => [c.id, e.engine, beside(results, c, e)])),
)}
`;
}

export function isStream(id: EngineId): boolean {
  return [
    ...["sluice-stream", "passt", "libslirp", "gvproxy", "sluice-vhost", "passt-vhost"],
    ...["qemu-sluice", "qemu-user"],
  ].includes(id);
}
