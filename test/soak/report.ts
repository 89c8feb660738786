/** A soak's results: JSON with every sample, a page with the tables, a chart. */
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus, release } from "node:os";
import { join } from "node:path";
import { init } from "echarts";
import type { Sample } from "./guests.ts";
import type { Tally } from "./load.ts";
import { type EngineRecord, type Growth, growthOf, problemsOf } from "./verdict.ts";

export interface SoakResults {
  readonly command: string;
  readonly started: string;
  readonly minutes: number;
  readonly warmUpSeconds: number;
  /** The engine's and the load's share of the machine. */
  readonly machine: string;
  readonly engines: readonly EngineRecord[];
  readonly tallies: readonly Tally[];
}

export function describeMachine(): string {
  const all = cpus();
  return `${all.length} cores (${all[0]?.model ?? "unknown"}), Linux ${release()}, Node ${process.version}`;
}

const MIB = 2 ** 20;

function figure({ what }: Growth, value: number): string {
  return what === "descriptors" ? String(Math.round(value)) : `${(value / MIB).toFixed(1)} MiB`;
}

function growthTable({ engines, warmUpSeconds }: SoakResults): string[] {
  const rows = engines.flatMap(({ guest, samples, before, after }) =>
    growthOf(samples, warmUpSeconds).map((growth) => {
      const at = (sample: Sample): number =>
        ({ RSS: sample.rssOctets, heap: sample.heapOctets, descriptors: sample.descriptors })[growth.what];
      const values = [at(before), growth.first, growth.last, growth.most, at(after)];
      return `| ${guest} | ${growth.what} | ${values.map((value) => figure(growth, value)).join(" | ")} |`;
    }),
  );
  return [
    "| guest | | before | first quarter | last quarter | most | after |",
    "|---|---|---|---|---|---|---|",
    ...rows,
  ];
}

function workTable({ tallies }: SoakResults): string[] {
  const works = [...new Set(tallies.map(({ work }) => work))];
  const guests = [...new Set(tallies.map(({ guest }) => guest))];
  const cell = (work: string, guest: string): string => {
    const tally = tallies.find((each) => each.work === work && each.guest === guest);
    if (tally === undefined) return "-";
    return tally.failures.length === 0
      ? String(tally.done)
      : `${tally.done}, ${tally.failures.length} failed`;
  };
  return [
    `| | ${guests.join(" | ")} |`,
    `|---|${guests.map(() => "---|").join("")}`,
    ...works.map((work) => `| ${work} | ${guests.map((guest) => cell(work, guest)).join(" | ")} |`),
  ];
}

function countersOf({ engines }: SoakResults): string[] {
  return engines.flatMap(({ guest, after }) => {
    const list = (values: Readonly<Record<string, number>>): string =>
      Object.entries(values)
        .map(([name, value]) => `${name} ${value}`)
        .join(", ");
    return [`- ${guest}: ${list(after.counters)}`, `  - dropped: ${list(after.drops)}`];
  });
}

function cpuShare({ samples }: EngineRecord): string {
  const last = samples[samples.length - 1];
  const share = (last.cpuSeconds - samples[0].cpuSeconds) / (last.seconds - samples[0].seconds);
  return `${(share * 100).toFixed(1)} %`;
}

export function renderPage(results: SoakResults): string {
  const { engines, tallies, warmUpSeconds, minutes } = results;
  const problems = problemsOf(engines, tallies, warmUpSeconds);
  const lines = [
    "# Soak",
    "",
    `\`${results.command}\`, ${results.started}, on ${results.machine}.`,
    "",
    "Two engines under mixed load: one before a TAP with super-frames, one before a QEMU stream whose far end is killed",
    "in the middle of a frame again and again and comes back, connections kept. Every octet is checked; an operation",
    "that takes over two minutes counts as hanging. A sample every 10 s. `npm run soak -- --help` has the options.",
    "",
    problems.length === 0
      ? `**Passed**: ${minutes} minutes, nothing corrupted, nothing hanging, nothing left open, nothing growing.`
      : `**Failed**: ${problems.length} problems.`,
    ...problems.slice(0, 50).map((problem) => `- ${problem}`),
    "",
    "## What the engines used",
    "",
    `Medians of the quarters after a warm-up of ${warmUpSeconds} s. "Before" is before the load, "after" when it has`,
    "ended and the last mapping has expired. RSS counts pools as they are first touched: they are allocated whole at",
    "start, and pages that were used once stay.",
    "",
    ...growthTable(results),
    "",
    `Time on a processor: ${engines.map((engine) => `${engine.guest} ${cpuShare(engine)}`).join(", ")} of one core.`,
    "",
    "![RSS, heap, descriptors and flows over time](soak.svg)",
    "",
    "## What was done",
    "",
    ...workTable(results),
    "",
    "## What the engines counted",
    "",
    ...countersOf(results),
    "",
  ];
  return lines.join("\n");
}

const WIDTH = 900;
const PANEL_HEIGHT = 150;
const PANELS: readonly { title: string; of: (sample: Sample) => number }[] = [
  { title: "RSS, MiB", of: ({ rssOctets }) => rssOctets / MIB },
  { title: "heap, MiB", of: ({ heapOctets }) => heapOctets / MIB },
  { title: "descriptors", of: ({ descriptors }) => descriptors },
  { title: "flows", of: ({ flows }) => flows },
];

export function drawChart({ engines }: SoakResults): string {
  const height = PANELS.length * PANEL_HEIGHT + 40;
  const chart = init(null, null, { renderer: "svg", ssr: true, width: WIDTH, height });
  const top = (panel: number): number => 40 + panel * PANEL_HEIGHT;
  chart.setOption({
    animation: false,
    backgroundColor: "#ffffff",
    color: ["#1f6feb", "#d9a441"],
    legend: { top: 4, data: engines.map(({ guest }) => guest) },
    title: PANELS.map(({ title }, i) => ({
      text: title,
      left: 8,
      top: top(i) - 8,
      textStyle: { fontSize: 12 },
    })),
    grid: PANELS.map((_, i) => ({ left: 60, right: 20, top: top(i) + 12, height: PANEL_HEIGHT - 50 })),
    xAxis: PANELS.map((_, i) => ({ type: "value", gridIndex: i, name: "min", max: "dataMax" })),
    yAxis: PANELS.map((_, i) => ({ type: "value", gridIndex: i, min: 0, splitNumber: 3 })),
    series: engines.flatMap(({ guest, samples }) =>
      PANELS.map(({ of }, i) => ({
        type: "line",
        name: guest,
        xAxisIndex: i,
        yAxisIndex: i,
        showSymbol: false,
        lineStyle: { width: 1.5 },
        data: samples.map((sample) => [sample.seconds / 60, of(sample)]),
      })),
    ),
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}

/** Writes soak.json, soak.md and soak.svg. */
export function writeResults(results: SoakResults, directory: string): void {
  mkdirSync(directory, { recursive: true });
  // Counters of every sample would be most of the file and say little.
  const engines = results.engines.map((engine) => ({
    ...engine,
    samples: engine.samples.map(({ counters: _counters, drops: _drops, ...rest }) => rest),
  }));
  const problems = problemsOf(results.engines, results.tallies, results.warmUpSeconds);
  const body = JSON.stringify({ ...results, engines, problems }, null, 1);
  writeFileSync(join(directory, "soak.json"), `${body}\n`);
  writeFileSync(join(directory, "soak.md"), renderPage(results));
  writeFileSync(join(directory, "soak.svg"), drawChart(results));
}
