/**
 * `npm run bench`: every micro-benchmark, each file in a process of its own (so that one does not shape the code that
 * the compiler makes for another). With `--write` the table goes to docs/performance/micro.md as well.
 */
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { cpus, release } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

// This file runs as dist/bench/run.js.
const HERE = dirname(fileURLToPath(import.meta.url));
const PROJECT_ROOT = join(HERE, "../..");

const FILES = [
  ["headers", "engine/wire/headers.bench.js"],
  ["shim calls and checksum", "host/native/checksum.bench.js"],
  ["flow table", "engine/transport/flow-table.bench.js"],
  ["the whole core, link and host simulated", "engine/engine.bench.js"],
  ["the same over IPv6", "engine/engine-ipv6.bench.js"],
  ["a policy of 1,000 rules", "engine/policy.bench.js"],
] as const;

/** `name   12.3 ns  ±0.4 %`, as bench/suite.ts prints it. */
const LINE = /^(.*?)\s{2,}([\d.]+) ns\s+±([\d.]+) %$/;

function run(title: string, file: string): string[] {
  console.log(`\n${title}`);
  const { stdout, status } = spawnSync(process.execPath, [join(HERE, file)], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  });
  process.stdout.write(stdout);
  if (status !== 0) throw new Error(`${file} ended with status ${status}`);
  return stdout.split("\n").flatMap((line) => {
    const match = LINE.exec(line);
    return match ? [`| ${match[1].trim()} | ${match[2]} | ${match[3]} % |`] : [];
  });
}

const sections = FILES.map(([title, file]) => ({ title, rows: run(title, file) }));
if (process.argv.includes("--write")) {
  const text = `# Micro-benchmarks

Made by \`npm run bench -- --write\` on ${cpus().length} x ${cpus()[0]?.model ?? "unknown"}, Linux ${release()}, Node ${process.version}. Nanoseconds per call; the last column is the relative margin of error.

${sections
  .map(({ title, rows }) =>
    [`## ${title}`, "", "| what | ns | margin |", "| --- | ---: | ---: |", ...rows].join("\n"),
  )
  .join("\n\n")}
`;
  writeFileSync(join(PROJECT_ROOT, "docs/performance/micro.md"), text);
}
