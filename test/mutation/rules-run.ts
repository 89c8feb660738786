/**
 * npm run mutation:rules [-- WORDS]
 *
 * Takes each rule of rules.ts out of a copy of the tree and runs the test that is to notice. WORDS: only rows with these.
 */
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PROJECT_ROOT } from "../support/project-root.ts";
import { LOSS_RULES } from "./loss-rules.ts";
import { NAT_RULES } from "./nat-rules.ts";
import { CONNECTION_RULES, type Rule } from "./rules.ts";

/** The named tests fail, and not because none is named so. */
function isNoticed(tree: string, { test, name }: Rule): boolean {
  const pattern = name.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const args = ["node_modules/vitest/vitest.mjs", "run", "--project", "unit", `test/${test}`, "-t", pattern];
  const { stdout } = spawnSync(process.execPath, args, {
    cwd: tree,
    encoding: "utf8",
    env: { ...process.env, NO_COLOR: "1" },
  });
  return /Tests\s+\d+ failed/.test(stdout);
}

function tryRule(tree: string, rule: Rule): boolean {
  const path = join(tree, "src/engine", rule.file);
  const text = readFileSync(path, "utf8");
  writeFileSync(
    path,
    text.replace(rule.find, () => rule.replace),
  );
  try {
    return isNoticed(tree, rule);
  } finally {
    writeFileSync(path, text);
  }
}

const words = process.argv.slice(2).join(" ");
const rules = [...CONNECTION_RULES, ...LOSS_RULES, ...NAT_RULES].filter(({ row }) => row.includes(words));
const tree = mkdtempSync(join(tmpdir(), "sluice-rules-"));
let missed = 0;
try {
  for (const part of ["src", "test", "package.json", "tsconfig.json", "vitest.config.ts"])
    cpSync(join(PROJECT_ROOT, part), join(tree, part), { recursive: true });
  for (const part of ["node_modules", "native-shims", "docs"])
    symlinkSync(join(PROJECT_ROOT, part), join(tree, part));
  for (const rule of rules) {
    const noticed = tryRule(tree, rule);
    if (!noticed) missed++;
    console.log(`${noticed ? "noticed" : "MISSED "}  ${rule.row} (${rule.test}: ${rule.name})`);
  }
} finally {
  rmSync(tree, { recursive: true, force: true });
}
console.log(`${rules.length - missed} of ${rules.length} noticed`);
process.exitCode = missed > 0 || rules.length === 0 ? 1 : 0;
