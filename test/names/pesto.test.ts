/** pesto's words, obeyed one after the other against rules that are kept here. */
import { expect, it } from "vitest";
import { PESTO } from "../../src/names/pesto.ts";
import { SURROUNDINGS } from "./translated.ts";

/** What is there after `pesto WORDS PATH`, and what is said or why it failed. */
async function outcome(
  line: string,
  before: readonly string[],
  surroundings = SURROUNDINGS,
  taken: readonly string[] = [],
) {
  const rules = new Map(before.map((rule, id) => [id, rule]));
  const translation = PESTO.translate([...line.split(" ").filter((word) => word !== ""), "/c"], surroundings);
  if (typeof translation === "string" || translation.steering === undefined)
    throw new Error("nothing to steer");
  let next = before.length;
  const steering = translation.steering.steer({
    list: async () => [...rules].map(([id, rule]) => ({ id, rule })),
    add: async (rule) => {
      if (taken.includes(rule)) throw new Error(`${rule} is taken`);
      rules.set(next, rule);
      return { id: next++ };
    },
    remove: async (id) => void rules.delete(id),
  });
  const said = await steering.catch((error: Error) => error);
  return { said, rules: [...rules.values()] };
}

/** What is there after it, and what is said. Rejects with why it failed. */
async function steered(line: string, before: readonly string[] = [], surroundings = SURROUNDINGS) {
  const { said, rules } = await outcome(line, before, surroundings);
  if (said instanceof Error) throw said;
  return { said, rules };
}

const THERE = ["tcp:127.0.0.1:80:8080", "udp:0.0.0.0:53:53", "tcp:127.0.0.1:2222-10.0.2.15:22"];

it.each([
  ["-A -t 127.0.0.1/443", [...THERE, "tcp:127.0.0.1:443:443"]],
  ["-A -u 443,444", [...THERE, "udp:0.0.0.0:443:443", "udp:0.0.0.0:444:444"]],
  ["-D -t 127.0.0.1/80:8080 -u 53", ["tcp:127.0.0.1:2222-10.0.2.15:22"]],
  ["-D -t 127.0.0.1/2222:10.0.2.15/22", THERE.slice(0, 2)],
  ["-C HOST", []],
  ["-C SPLICE", THERE],
  ["-t 99", ["udp:0.0.0.0:53:53", "tcp:0.0.0.0:99:99"]],
  ["-t 99 -t 100", ["udp:0.0.0.0:53:53", "tcp:0.0.0.0:99:99", "tcp:0.0.0.0:100:100"]],
  ["-u none", [THERE[0], THERE[2]]],
  ["-T none -U none", THERE],
  ["-A -t 2000 -C HOST -A -t 2001 -D -t 2001 -A -u 2002", ["udp:0.0.0.0:2002:2002"]],
  ["-A -t 127.0.0.1/~80,~1024-65535", [...THERE, "tcp:127.0.0.1:all,~80,~1024-65535"]],
])("%s", async (line, after) => {
  expect(await steered(line, THERE)).toEqual({ said: "", rules: after });
});

it("shows what is forwarded, before and after", async () => {
  const table =
    "  HOST\n    TCP [127.0.0.1]:80  =>  8080\n    UDP [0.0.0.0]:53  =>  53\n    TCP [127.0.0.1]:2222  =>  10.0.2.15:22\n  SPLICE\n";
  expect((await steered("", THERE)).said).toBe(`passt/pasta configuration (/c)\n${table}`);
  expect((await steered("-s -C HOST", THERE)).said).toBe(
    `Previous configuration (/c)\n${table}Updated configuration (/c)\n  HOST\n  SPLICE\n`,
  );
});

it.each([
  ["tcp:[::1]:80:80", "TCP [::1]:80  =>  80"],
  ["udp:[::1%eth0]:80-[fd00::15]:8080", "UDP [::1%eth0]:80  =>  [fd00::15]:8080"],
  ["tcp:*:all,~22", "TCP [*]:all,~22  =>  all,~22"],
  ["tcp:*:all,~1024-65535", "TCP [*]:all,~1024-65535  =>  all,~1024-65535"],
  ["tcp:127.0.0.1:8000-8010:9000-9010", "TCP [127.0.0.1]:8000-8010  =>  9000-9010"],
  ["tcp:*:80,443,8000-8010", "TCP [*]:80,443,8000-8010  =>  80,443,8000-8010"],
])("shows %s", async (rule, line) => {
  expect((await steered("", [rule])).said).toContain(`  HOST\n    ${line}\n  SPLICE\n`);
});

it("means every address of both families where the host has them, and finds what was added on IPv4's alone", async () => {
  const both = { ...SURROUNDINGS, exists: () => true };
  expect((await steered("-A -t 80", [], both)).rules).toEqual(["tcp:*:80:80"]);
  expect((await steered("-D -t 80", ["tcp:0.0.0.0:80:80"], both)).rules).toEqual([]);
});

it.each([
  ["-A -t 127.0.0.1/80:8080", "is there already"],
  ["-D -t 127.0.0.1/81", "Couldn't find forwarding rule to delete: tcp:127.0.0.1:81:81"],
])("%s fails", async (line, sentence) => {
  await expect(steered(line, THERE)).rejects.toThrow(sentence);
});

it.each([
  ["-t 80,443", "tcp:0.0.0.0:443:443 is taken"],
  ["-A -u 444 -t 443", "tcp:0.0.0.0:443:443 is taken"],
  ["-C HOST -A -t 443", "tcp:0.0.0.0:443:443 is taken"],
  ["-D -t 127.0.0.1/80:8080 -t 81", "Couldn't find forwarding rule"],
])("%s fails and leaves every port that was there", async (line, sentence) => {
  const { said, rules } = await outcome(line, THERE, SURROUNDINGS, ["tcp:0.0.0.0:443:443"]);
  expect((said as Error).message).toContain(sentence);
  expect([...rules].sort()).toEqual([...THERE].sort());
});

it("says what it could not put back, and puts the rest back", async () => {
  const taken = ["tcp:0.0.0.0:443:443", "tcp:127.0.0.1:80:8080"];
  const { said, rules } = await outcome("-C HOST -A -t 443", THERE, SURROUNDINGS, taken);
  expect((said as Error).message).toBe(
    "tcp:0.0.0.0:443:443 is taken; not put back as it was: tcp:127.0.0.1:80:8080",
  );
  expect([...rules].sort()).toEqual(THERE.slice(1).sort());
});

it.each([
  ["-C NOPE", "Unsupported pif name NOPE"],
  ["-t auto", "is not offered"],
  ["-T 80", "--tcp-ns 80 is not offered"],
  ["-t x", "invalid port specifier x"],
  ["other", "one PATH is needed"],
])("%s is refused before anything is asked", (line, sentence) => {
  expect(() => PESTO.translate([...line.split(" "), "/c"], SURROUNDINGS)).toThrow(sentence);
});
