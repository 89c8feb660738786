/** Memory that a process needs no more, measured in processes of their own. */
import { execFileSync } from "node:child_process";
import { expect, it } from "vitest";
import { addonPath } from "../../../src/host/native/native-loader.ts";

/** Runs a script with the native part as `native`; gives the number it prints. */
function measure(script: string): number {
  const whole = `const native = require(process.argv[1]); const { readFileSync } = require("node:fs");
    const privateKb = () => Number(/^Private_Dirty: +(\\d+)/m.exec(readFileSync("/proc/self/smaps_rollup", "utf8"))[1]);
    ${script}`;
  return Number(execFileSync(process.execPath, ["-e", whole, addonPath()], { encoding: "utf8" }));
}

it("that V8 keeps of what is garbage goes back", () => {
  const script = `let kept = []; for (let i = 0; i < 200_000; i++) kept.push({ i, text: "x" + i });
    const before = privateKb(); kept = null;
    if (native.releaseMemory() !== 0) throw new Error("not released");
    console.log(before - privateKb())`;
  expect(measure(script)).toBeGreaterThan(8000);
});

/** Kilobytes by which the C library's heap grows for tables of 56 KiB, which glibc has there by itself. */
const heapFor = (first: string): string => `${first}
    const heapKb = () => {
      const [, from, to] = /^(\\w+)-(\\w+) .*\\[heap\\]$/m.exec(readFileSync("/proc/self/maps", "latin1"));
      return (parseInt(to, 16) - parseInt(from, 16)) / 1024;
    };
    const before = heapKb(); const made = []; for (let i = 0; i < 100; i++) made.push(new Int32Array(14_336));
    console.log(heapKb() - before + 0 * made.length)`;

it("tables are mappings of their own once they are asked for, and not before", () => {
  expect(measure(heapFor("native.mapLargeBlocks(49152);"))).toBeLessThan(1000);
  expect(measure(heapFor(""))).toBeGreaterThan(4000);
});
