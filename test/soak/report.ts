/** A soak's results: JSON with every sample, a page with the tables, a chart. */
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus, release } from "node:os";
import { join } from "node:path";
import { init } from "echarts";
import type { Sample } from "./guests.ts";
import type { Tally } from "./load.ts";
import { type EngineRecord, problemsOf, quartersOf } from "./verdict.ts";

export interface SoakResults {
  readonly command: string;
  readonly started: string;
  readonly minutes: number;
  readonly warmUpSeconds: number;
  readonly machine: string;
  readonly engines: readonly EngineRecord[];
  readonly tallies: readonly Tally[];
}

export function describeMachine(): string {
  const all = cpus();
  return `${all.length} cores (${all[0]?.model ?? "unknown"}), Linux ${release()}, Node ${process.version}`;
}

const MIB = 2 ** 20;

const FIGURES: readonly { name: string; of: (sample: Sample) => number; unit: number }[] = [
  { name: "RSS, MiB", of: ({ rssOctets }) => rssOctets, unit: MIB },
  { name: "heap, MiB", of: ({ heapOctets }) => heapOctets, unit: MIB },
  { name: "descriptors", of: ({ descriptors }) => descriptors, unit: 1 },
  { name: "flows", of: ({ flows }) => flows, unit: 1 },
];

function usageTable({ engines, warmUpSeconds }: SoakResults): string[] {
  const rows = engines.flatMap(({ guest, samples, before, after }) =>
    FIGURES.map(({ name, of, unit }) => {
      const { first, last, most } = quartersOf(samples, warmUpSeconds, of);
      const values = [of(before), first, last, most, of(after)].map((value) =>
        unit === 1 ? String(Math.round(value)) : (value / unit).toFixed(1),
      );
      return `| ${guest} | ${name} | ${values.join(" | ")} |`;
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
    "start, and pages that were used once stay. Descriptors and flows follow the load, which others on the machine slow",
    "down; no more than 32 descriptors may be open that no flow accounts for.",
    "",
    ...usageTable(results),
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
export function drawChart({ engines }: SoakResults): string {
  const height = FIGURES.length * PANEL_HEIGHT + 40;
  const chart = init(null, null, { renderer: "svg", ssr: true, width: WIDTH, height });
  const top = (panel: number): number => 40 + panel * PANEL_HEIGHT;
  chart.setOption({
    animation: false,
    backgroundColor: "#ffffff",
    color: ["#1f6feb", "#d9a441"],
    legend: { top: 4, data: engines.map(({ guest }) => guest) },
    title: FIGURES.map(({ name }, i) => ({
      text: name,
      left: 8,
      top: top(i) - 8,
      textStyle: { fontSize: 12 },
    })),
    grid: FIGURES.map((_, i) => ({ left: 60, right: 20, top: top(i) + 12, height: PANEL_HEIGHT - 50 })),
    xAxis: FIGURES.map((_, i) => ({ type: "value", gridIndex: i, name: "min", max: "dataMax" })),
    yAxis: FIGURES.map((_, i) => ({ type: "value", gridIndex: i, min: 0, splitNumber: 3 })),
    series: engines.flatMap(({ guest, samples }) =>
      FIGURES.map(({ of, unit }, i) => ({
        type: "line",
        name: guest,
        xAxisIndex: i,
        yAxisIndex: i,
        showSymbol: false,
        lineStyle: { width: 1.5 },
        data: samples.map((sample) => [sample.seconds / 60, of(sample) / unit]),
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
