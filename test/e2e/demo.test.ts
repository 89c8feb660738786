/** What `npm start` shows, on a machine that can and on one that cannot. */
import { accessSync, constants } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { run } from "../support/program.ts";
import { needs } from "../support/requirements.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const DEMO = `import("${ROOT}dist/src/demo/demo.js").then((demo) => demo.main("${ROOT}")).then((status) => { process.exitCode = status; });`;

function canOpenTun(): boolean {
  try {
    accessSync("/dev/net/tun", constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

describe("the demo", () => {
  it("shows the main job where it can, and a replay with the reason where it cannot", async (context) => {
    needs(context, { userNamespaces: true });
    const { status, stdout, stderr } = await run(process.execPath, ["-e", DEMO]).ended;
    expect(stderr).toBe("");
    expect(status).toBe(0);
    if (canOpenTun()) {
      expect(stdout).toMatch(
        /by (udhcpc|dhclient|sluice's own client): 10\.0\.2\.15\/24 for 86400 s, router 10\.0\.2\.2/,
      );
      expect(stdout).toMatch(/GET http:\/\/10\.0\.2\.2:\d+\/ -> 200: Hello from the host/);
      expect(stdout).toMatch(/\(guest port 80\) -> 200: the guest sees 10\.0\.2\.2/);
      expect(stdout).toMatch(/guest to host: \d+\.\d\d Gbit\/s/);
      expect(stdout).toMatch(/host to guest: \d+\.\d\d Gbit\/s/);
      expect(stdout).toMatch(/connect 127\.0\.0\.1:\d+ -> ECONNREFUSED/);
      expect(stdout).toContain("3 echo requests -> 0 answers");
      expect(stdout).toMatch(/icmp +3/);
      expect(stdout).toMatch(/watch it, as sluice ui does: http:\/\/127\.0\.0\.1:\d+\/#[\w-]{43}/);
      expect(stdout).toContain("connect 169.254.169.254:80 -> ECONNREFUSED");
      expect(stdout).toMatch(
        /denied {4}tcp 10\.0\.2\.15:\d+ -> 169\.254\.169\.254:80, 1 s ago, once \(destination-refused\)/,
      );
      expect(stdout).toContain("to allow  --allow-link-local");
      expect(stdout).toMatch(/tcp +out +ESTABLISHED +10\.0\.2\.15:\d+ +10\.0\.2\.2:\d+/);
    } else {
      expect(stdout).toContain("no live guest on this machine: /dev/net/tun");
      expect(stdout).toMatch(/replayed 239 frames of the guest/);
    }
  });

  it("says why when namespaces cannot be made", async (context) => {
    needs(context, { userNamespaces: true, commands: ["unshare", "setpriv"] });
    const drop = `echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set -all --inh-caps -all --no-new-privs "$@"`;
    const words = ["--user", "--map-root-user", "sh", "-c", drop, "sh", process.execPath, "-e", DEMO];
    const { status, stdout } = await run("unshare", words).ended;
    expect(stdout).toMatch(/no live guest on this machine: .*user namespaces/);
    expect(stdout).toMatch(/replayed 239 frames of the guest, \d+ came back/);
    expect(status).toBe(0);
  });
});

it.for([
  ["own", "sluice's own client", []],
  ["dhclient", "dhclient", ["dhclient"]],
  ["udhcpc", "udhcpc", ["udhcpc"]],
] as const)("gets a lease by %s", async ([client, name, commands], context) => {
  needs(context, { tun: true, root: true, commands });
  const env = { ...process.env, SLUICE_DEMO_CLIENT: client };
  const { status, stdout } = await run(process.execPath, ["-e", DEMO], { env }).ended;
  expect(stdout).toContain(`by ${name}: 10.0.2.15/24 for 86400 s, router 10.0.2.2, DNS 10.0.2.3`);
  expect(status).toBe(0);
});
