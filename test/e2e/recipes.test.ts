/** The recipes of docs/recipes.md, as they stand there, with the programs they are for. */
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { PROGRAM, run } from "../support/program.ts";
import { PROJECT_ROOT } from "../support/project-root.ts";
import { findCommand, needs, TUN_DEVICE } from "../support/requirements.ts";

const DOCUMENT = readFileSync(join(PROJECT_ROOT, "docs/recipes.md"), "utf8");
const MACHINE = { tun: true, userNamespaces: true } as const;
const COMMANDS = ["curl", "openssl", "unshare", "mount", "ip", "python3"];
const BLOCKS = [...DOCUMENT.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)].map(([, language = "", text = ""]) => ({
  language,
  text,
}));
/** Certificates of these names are the real servers'. */
const NAMES = ["api.example.com", "www.example.com"];
/** What the host knows, and the guest does not. */
const HOSTS = `127.0.0.1 localhost ${NAMES.join(" ")}\n`;
const SERVERS = `
const { readFileSync } = require("node:fs");
const answer = (request, response) => {
  const { host, authorization = "none" } = request.headers;
  response.end([request.socket.encrypted ? "https" : "http", host, request.url, authorization].join(" ") + "\\n");
};
const [key, cert] = [readFileSync("real.key"), readFileSync("real.pem")];
require("node:https").createServer({ key, cert }, answer).listen(443, "127.0.0.1");
require("node:http").createServer(answer).listen(80, "127.0.0.1");
`;

let directory: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "sluice-recipes-"));
  for (const { text } of BLOCKS) {
    const [, file] = /^# ([\w.]+)\n/.exec(text) ?? [];
    if (file !== undefined) writeFileSync(join(directory, file), text);
  }
  writeFileSync(join(directory, "hosts"), HOSTS);
  writeFileSync(join(directory, "servers.cjs"), SERVERS);
  writeFileSync(join(directory, "token"), "Bearer t0ken");
  makeCertificate();
  const bin = join(directory, "bin");
  mkdirSync(bin);
  const program = (name: string, text: string): void => {
    writeFileSync(join(bin, name), `#!/bin/sh\n${text}\n`);
    chmodSync(join(bin, name), 0o755);
  };
  program(
    "sluice",
    `command=$1; shift; exec ${process.execPath} ${PROGRAM} $command --tun-device ${TUN_DEVICE} "$@"`,
  );
  // They run on the host, where names and the real servers' certificates are known, as an ordinary user.
  for (const name of ["nginx", "mitmdump"]) {
    program(
      name,
      `exec unshare --mount sh -c 'mount --bind ${directory}/hosts /etc/hosts &&
        mount --bind ${directory}/real.pem /etc/ssl/certs/ca-certificates.crt &&
        exec unshare --user --map-user=1000 --map-group=1000 "$@"' sh ${findCommand(name)} "$@"`,
    );
  }
});

afterAll(() => {
  if (directory !== undefined) rmSync(directory, { recursive: true });
});

function makeCertificate(): void {
  const names = NAMES.map((name) => `DNS:${name}`).join(",");
  spawnSync("openssl", [
    ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"],
    ...["-subj", "/CN=real", "-addext", `subjectAltName=${names}`],
    ...["-keyout", join(directory, "real.key"), "-out", join(directory, "real.pem")],
  ]);
}

/** The lines for a shell of the recipe that has `program`. */
function linesWith(program: string): string[] {
  const found = BLOCKS.filter(({ language, text }) => language === "sh" && text.includes(`${program} `));
  expect(found).toHaveLength(1);
  return (found[0]?.text ?? "").trim().split("\n");
}

/** Runs a recipe's lines, and then more, in a network of its own whose loopback the real servers are on. */
async function cook(program: string, port: number, more: string) {
  const waits = (at: number): string =>
    `for i in $(seq 300); do ${process.execPath} -e 'require("net").connect(${at}, "127.0.0.1").on("error", () => process.exit(1)).on("connect", () => process.exit())' && break; sleep 0.1; done`;
  const lines = linesWith(program).map((line) =>
    line.endsWith("&") ? `${line}\npids="$pids $!"; ${waits(port)}` : line,
  );
  const script = `
    ip link set lo up; cd ${directory}; PATH=${directory}/bin:$PATH
    ${process.execPath} servers.cjs & pids=$!
    trap 'kill $pids $(cat nginx.pid 2>/dev/null)' EXIT
    ${waits(443)}
    ${lines.join("\n")}
    ${more}`;
  const words = ["--user", "--map-root-user", "--net", "--mount", "sh", "-c", script];
  return run("unshare", words).ended;
}

const file = (name: string): string => readFileSync(join(directory, name), "utf8");

it("P28 nginx puts a credential in that the guest never has", async (context) => {
  needs(context, { ...MACHINE, commands: [...COMMANDS, "nginx"] });
  const { stdout, stderr } = await cook(
    "nginx",
    8899,
    `sluice exec --policy nginx.yaml -- sh -c '
      curl -sS --cacert api.pem -H "Authorization: mine" https://api.example.com/mine
      curl -sS -m 5 https://www.example.com/ 2>&1
      curl -sS -m 5 http://127.0.0.1:8899/ 2>&1
      curl -sS -m 5 --cacert api.pem --connect-to ::10.0.2.2:8899 https://api.example.com/ 2>&1'`,
  );
  expect(stdout, stderr).toMatch(
    new RegExp(
      "^https api.example.com /v1/me Bearer s3cret\nhttps api.example.com /mine Bearer s3cret\n" +
        "curl: \\(6\\) Could not resolve host: www.example.com\n" +
        "curl: \\(7\\) Failed to connect to 127.0.0.1 .*\ncurl: \\(7\\) Failed to connect to 10.0.2.2 .*\n$",
    ),
  );
  expect(file("access.log")).toBe(
    "10.0.2.15 to api.example.com:443: GET /v1/me HTTP/1.1: 200\n10.0.2.15 to api.example.com:443: GET /mine HTTP/1.1: 200\n",
  );
});

it("P28 mitmproxy sees every request, by its name, and changes those it is told to", async (context) => {
  needs(context, { ...MACHINE, commands: [...COMMANDS, "mitmdump"] });
  const node = `require("node:https").get("https://www.example.com/node", (answer) => answer.pipe(process.stdout))`;
  const python = `import urllib.request as r; print(r.urlopen("https://www.example.com/python").read().decode(), end="")`;
  const { stdout, stderr } = await cook(
    "mitmdump",
    8898,
    `cat >clients.sh <<'END'
export SSL_CERT_FILE=mitmproxy-ca-cert.pem NODE_EXTRA_CA_CERTS=mitmproxy-ca-cert.pem
${process.execPath} -e '${node}'
python3 -c '${python}'
curl -sS http://api.example.com/plain
curl -sS -m 5 https://evil.example.net/ 2>&1
END
    sluice exec --policy mitmproxy.yaml -- sh clients.sh`,
  );
  expect(stdout, stderr).toBe(
    "https api.example.com /v1/me Bearer t0ken\nhttps www.example.com /node none\nhttps www.example.com /python none\n" +
      "http api.example.com /plain Bearer t0ken\ncurl: (6) Could not resolve host: evil.example.net\n",
  );
  const seen = file("requests.log").match(/10\.0\.2\.15:\d+: GET \S+/g) ?? [];
  expect(seen.map((line) => line.replace(/^\S+ /, ""))).toEqual([
    "GET https://api.example.com/v1/me",
    "GET https://www.example.com/node",
    "GET https://www.example.com/python",
    "GET http://api.example.com/plain",
  ]);
});

it("the recipes are these, and each of their files is there", () => {
  expect(BLOCKS.map(({ language }) => language)).toEqual(["yaml", "nginx", "sh", "python", "yaml", "sh"]);
  for (const { language, text } of BLOCKS) if (language !== "sh") expect(text).toMatch(/^# [\w.]+\n/);
});
