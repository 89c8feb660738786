/**
 * npm run mutation -- FOLDER [PATTERN ...]
 *
 * StrykerJS over a folder of the core (wire, link, network, transport, service) or over src/config ("config"): changes one
 * thing at a time and runs the folder's unit tests. What has been tried before and has not changed is not tried again
 * (.stryker/FOLDER.json). docs/mutations.md tells what survives on purpose. Takes minutes to hours; not part of CI.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
/** One layer of the network at a time: its tests that start whole engines notice less, and take half a minute for all. */
const NETWORK = [
  "test/engine/network/{addresses,admission,control-ports,fragment,ipv4,ipv6,private-addresses}.test.ts",
  "test/engine/network/{destinations-rules,destinations6,reassembly*,sources,strangers,*-alone}.test.ts",
];
/** What is changed, and the tests that are to notice. */
const FOLDERS = {
  wire: { source: "src/engine/wire", tests: ["test/engine/wire/*.test.ts"] },
  link: { source: "src/engine/link", tests: ["test/engine/link/*.test.ts"] },
  network: { source: "src/engine/network", tests: NETWORK },
  transport: {
    source: "src/engine/transport",
    // Without what runs other files once more over IPv6: in a thread that is kept each is loaded once.
    tests: ["test/engine/transport/!(tcp-ipv6).test.ts", "test/nat/{tcp,udp}.test.ts"],
  },
  service: {
    source: "src/engine/service",
    tests: [
      "test/engine/service/*.test.ts",
      "test/engine/nat64.test.ts",
      "test/engine/policy/{first-octets,held-names,flows,questions,replace}.test.ts",
      "test/engine/policy/{limits,name-lookup,quic,quic-names,quic-parts,review,ways,ways-places,ways-steps}.test.ts",
    ],
  },
  config: {
    source: "src/config",
    // Without those that take seconds: any arguments, and a policy as large as one may be.
    tests: [
      "test/config/!(any-arguments).test.ts",
      "test/config/policy/!(large-policy).test.ts",
      "test/cli/{arguments,docs,help}.test.ts",
    ],
  },
};

const [name, ...patterns] = process.argv.slice(2);
if (patterns.length === 0) patterns.push("**/*.ts");
if (!Object.hasOwn(FOLDERS, name ?? "")) {
  const allowed = Object.keys(FOLDERS).join(", ");
  console.error(`npm run mutation -- FOLDER [PATTERN ...]: found "${name ?? ""}"; allowed: ${allowed}`);
  process.exit(2);
}
const { source, tests } = FOLDERS[name];
mkdirSync(new URL("../../.stryker", import.meta.url), { recursive: true });
const { status } = spawnSync(
  process.execPath,
  [
    "node_modules/@stryker-mutator/core/bin/stryker.js",
    "run",
    "test/mutation/stryker.config.json",
    ...[
      "--mutate",
      patterns.map((pattern) => `${source}/${pattern}`).join(","),
      "--incrementalFile",
      `.stryker/${name}.json`,
    ],
  ],
  { cwd: ROOT, stdio: "inherit", env: { ...process.env, MUTATION_TESTS: tests.join(" ") } },
);
process.exit(status ?? 1);
