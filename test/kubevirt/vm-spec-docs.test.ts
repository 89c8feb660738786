/**
 * docs/vm-spec.md tells the truth: samples stand in it verbatim, pictures are what `plan` draws, and each row of its
 * table names test files that have a test with the row's number in its name.
 */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { planVm } from "../../src/kubevirt/plan/plan.ts";
import { planMermaid } from "../../src/kubevirt/plan/plan-graph.ts";
import { planReport } from "../../src/kubevirt/plan/plan-text.ts";
import { formatSpecProblem } from "../../src/kubevirt/spec/spec-problem.ts";
import { validateText } from "../../src/kubevirt/spec/validate.ts";
import { accepted, sample, WHOLE_SAMPLES, wrappedFragment } from "./samples.ts";

const ROOT = new URL("../../", import.meta.url);
const DOCUMENT = readFileSync(new URL("docs/vm-spec.md", ROOT), "utf8");

function numbers(letter: string, last: number): string[] {
  return Array.from({ length: last }, (_, i) => `${letter}${i + 1}`);
}

/** `| S1 | text | files |`. */
const ROWS = [...DOCUMENT.matchAll(/^\| ([SDK]\d+) \| ([^|]+) \| ([^|]+) \|$/gm)].map(
  ([, number, , files]) => ({
    number,
    files: [...files.matchAll(/`([^`]+)`/g)].map(([, file]) => file),
  }),
);

describe("docs/vm-spec.md", () => {
  it("has one row for each S1-S41, D1-D14, K1-K16 and K40-K42", () => {
    const all = [...numbers("S", 41), ...numbers("D", 14), ...numbers("K", 16), "K40", "K41", "K42"];
    expect(ROWS.map(({ number }) => number)).toEqual(all);
  });

  it.each(ROWS)("$number is tested where the table says", ({ number, files }) => {
    expect(files.length).toBeGreaterThan(0);
    for (const file of files) {
      const titles = [
        ...readFileSync(new URL(`test/${file}`, ROOT), "utf8").matchAll(/"((?:[SDK]\d+ )[^"]*)"/g),
      ].map(([, title]) => title);
      expect(
        titles.some((title) => new RegExp(`\\b${number}\\b`).test(title)),
        `${number} in ${file}`,
      ).toBe(true);
    }
  });

  it.each([...WHOLE_SAMPLES, "a2-resource-fragment"] as const)(
    "shows %s verbatim, with its picture",
    (name) => {
      expect(DOCUMENT).toContain(`\`\`\`yaml\n${sample(name)}\`\`\`\n`);
      const model = accepted(name === "a2-resource-fragment" ? wrappedFragment() : sample(name));
      const eth0 = {
        mac: "02:42:0a:f4:01:05",
        mtu: 1500,
        addresses: [{ address: "10.244.1.5", prefixLength: 24 }],
        routes: [{ destination: "0.0.0.0/0", gateway: "10.244.1.1", metric: 0, fromAddress: false }],
        ipv6Addresses: [],
      };
      const red = { ...eth0, mac: "0a:58:c0:a8:32:02", addresses: [], routes: [] };
      const plan = planVm(
        { vm: "vm", model, uplink: "eth0", runDirectory: "/run/sluice/vm/vm" },
        {
          devices: new Map([
            ["eth0", eth0],
            ["eth-red01", red],
          ]),
          resolver: { nameServers: ["10.96.0.10"], engineResolvers: [], search: [] },
          resources: { devices: new Map([["red", "eth-red01"]]), problems: [] },
        },
      );
      expect(DOCUMENT).toContain(`\`\`\`mermaid\n${planMermaid(plan)}\`\`\`\n`);
    },
  );

  it("K16 has today's bindings, each with a sample and what sluice says to it", () => {
    const section = /^## Today's KubeVirt$(.*?)^## /ms.exec(DOCUMENT)?.[1] ?? "";
    const pairs = [...section.matchAll(/^```yaml\n(.*?)^```\n\n```\n(.*?)^```\n/gms)];
    expect(pairs.map(([, text]) => BINDING.exec(text ?? "")?.[1])).toEqual([
      "masquerade",
      "passtBinding",
      "binding",
      "bridge",
      "sriov",
    ]);
    for (const [, text = "", said] of pairs) expect(said).toBe(answer(text));
  });
});

const BINDING = /^ +(?:- )?(masquerade|passtBinding|binding|bridge|sriov):/m;

/** What `plan` says in a pod with an eth1 for the secondary network, or why it says nothing. */
function answer(text: string): string {
  const { vms, problems } = validateText("web.yaml", text);
  const [vm] = vms;
  if (vm === undefined) return problems.map((problem) => `${formatSpecProblem(problem)}\n`).join("\n");
  const eth1 = { mac: "0a:58:c0:a8:32:02", mtu: 1500, addresses: [], routes: [], ipv6Addresses: [] };
  const plan = planVm(
    {
      vm: "web",
      model: vm.model,
      uplink: "eth0",
      runDirectory: "/run/sluice/vm/web",
      devices: { lan: "eth1" },
    },
    {
      devices: new Map([["eth1", eth1]]),
      resolver: { nameServers: ["10.96.0.10"], engineResolvers: [], search: [] },
      resources: { devices: new Map(), problems: [] },
    },
  );
  return planReport(plan, vm.notes);
}
