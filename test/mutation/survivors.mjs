/**
 * npm run mutation:survivors -- FOLDER [FILE]
 *
 * What `npm run mutation -- FOLDER` has found that no test notices, and test/mutation/survivors/FOLDER.json does not tell
 * of: a line for each, as it is to be told there. That file is a list of { why, mutants }: why these change nothing that
 * anybody could see. Exits with 1 while there is one untold, or one told that a test notices by now.
 */
import { existsSync, readFileSync } from "node:fs";
import { argv, exit } from "node:process";

const [folder, only = ""] = argv.slice(2);
const report = `.stryker/${folder}.json`;
if (folder === undefined || !existsSync(report)) {
  console.error(
    `npm run mutation:survivors -- FOLDER [FILE]: ${report} is not there; npm run mutation -- FOLDER makes it`,
  );
  exit(2);
}
const { files } = JSON.parse(readFileSync(report, "utf8"));
const told = new Set(readTold().flatMap(({ mutants }) => mutants));
const all = Object.entries(files)
  .filter(([path]) => existsSync(path))
  .flatMap(([path, { source, mutants }]) =>
    mutants.map((mutant) => ({ ...mutant, path, text: textOf(path, source.split("\n"), mutant) })),
  )
  .filter(({ path }) => path.includes(only));
const survivors = all.filter(({ status }) => status === "Survived" || status === "NoCoverage");
const alive = new Set(survivors.map(({ text }) => text));
const untold = survivors.filter(({ text }) => !told.has(text));
for (const { path, location, status, text } of untold)
  console.log(
    `${path}:${location.start.line}${status === "NoCoverage" ? " (no test comes here)" : ""}\n  ${JSON.stringify(text)}`,
  );
const stale = only === "" ? [...told].filter((text) => !alive.has(text)) : [];
for (const text of stale) console.log(`told, and not alive:\n  ${JSON.stringify(text)}`);
const valid = all.filter(
  ({ status }) => !["CompileError", "RuntimeError", "Ignored", "Pending"].includes(status),
).length;
const share = ((1 - survivors.length / valid) * 100).toFixed(1);
console.log(
  `${folder}: ${valid} mutants, ${share} % noticed; of ${survivors.length} survivors ${untold.length} untold, ${stale.length} told for nothing`,
);
exit(untold.length + stale.length > 0 ? 1 : 0);

function readTold() {
  const path = new URL(`survivors/${folder}.json`, import.meta.url);
  return existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : [];
}

/** The line it is in, with what is changed in marks, and what it becomes: names a mutant however far its line moves. */
function textOf(path, lines, { location: { start, end }, replacement }) {
  const line = lines[start.line - 1];
  const last = start.line === end.line ? end.column - 1 : line.length;
  const marked = `${line.slice(0, start.column - 1)}«${line.slice(start.column - 1, last)}${start.line === end.line ? "" : " …"}»${line.slice(last)}`;
  const becomes = replacement.replace(/\s+/g, " ");
  return `${path.slice(path.lastIndexOf("/src/") + 1).replace(/^src\/(engine\/)?/, "")}: ${marked.trim()} -> ${becomes.length > 100 ? `${becomes.slice(0, 100)}…` : becomes}`;
}
