/** Every change of rules.ts still fits the core, its row and its test exist, and no row of docs/tcp.md is left out. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { PROJECT_ROOT } from "../support/project-root.ts";
import { LOSS_RULES } from "./loss-rules.ts";
import { NAT_RULES } from "./nat-rules.ts";
import { CONNECTION_RULES } from "./rules.ts";

const TCP_RULES = [...CONNECTION_RULES, ...LOSS_RULES];
const read = (path: string): string => readFileSync(join(PROJECT_ROOT, path), "utf8");
const rows = (path: string): string[] =>
  read(path)
    .split("\n")
    .filter((line) => line.startsWith("| "));
const tcpRows = rows("docs/tcp.md");
/** The table of behaviours comes first; those of the simulation and of netem have no scripts. */
const scripted = tcpRows
  .slice(
    1,
    tcpRows.findIndex((line) => line.startsWith("| engine at")),
  )
  .filter((line) => /(handshake|close|data|reset|retransmission|reordering|liveness): /.test(line));

const count = (text: string, part: string): number => text.split(part).length - 1;

describe.for([
  { name: "docs/tcp.md", rules: TCP_RULES },
  { name: "docs/nat.md", rules: NAT_RULES },
])("the rules of $name", ({ name, rules }) => {
  it.for(rules)("$row: $name", ({ row, file, find, replace, test, name: title }) => {
    expect(rows(name).filter((line) => line.includes(row))).toHaveLength(1);
    expect(count(read(`src/engine/${file}`), find)).toBe(1);
    expect(replace).not.toBe(find);
    expect(count(read(`test/${test}`), title)).toBeGreaterThan(0);
  });
});

it("every row with a script has one", () => {
  const without = scripted.filter((line) => !TCP_RULES.some(({ row }) => line.includes(row)));
  expect(without).toEqual([]);
});
