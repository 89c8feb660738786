/** `sluice completion`, in the shells themselves: what each of them offers for a line that is half written. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { definitionOf, optionsOf } from "../../src/config/option-table.ts";
import { VM_COMMAND_NAMES } from "../../src/kubevirt/commands/vm-commands.ts";
import { sluice } from "../support/program.ts";
import { needs } from "../support/requirements.ts";

const directory = mkdtempSync(join(tmpdir(), "sluice-test-completion-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const SHELLS = ["bash", "zsh", "fish"] as const;
type Shell = (typeof SHELLS)[number];

beforeAll(async () => {
  for (const shell of SHELLS) {
    const { stdout, stderr, status } = await sluice(["completion", shell]).ended;
    expect([status, stderr]).toEqual([0, ""]);
    writeFileSync(join(directory, shell === "zsh" ? "_sluice" : `sluice.${shell}`), stdout);
  }
  const files = join(directory, "files");
  mkdirSync(join(files, "folder"), { recursive: true });
  for (const name of ["vm.yaml", "guest one.pcap"]) writeFileSync(join(files, name), "");
});

const BASH = `
source "$1/sluice.bash"
COMP_LINE=$2 COMP_POINT=\${#2}
# The words as readline cuts them.
read -r -a COMP_WORDS < <(sed 's/\\([=:]\\)/ \\1 /g' <<< "$2")
[[ $2 == *[\\ =:] ]] && COMP_WORDS+=("")
COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
_sluice
((\${#COMPREPLY[@]} == 0)) || printf '%s\\n' "\${COMPREPLY[@]}"
`;

/** A shell on a terminal of its own, whose completion system tells what it would add. */
const ZSH = `
zmodload zsh/zpty
zpty shell zsh -f -i
feed() { zpty -w shell "$1"; }
feed "PS1= PS2=; unsetopt zle_bracketed_paste; fpath=($1 \\$fpath); cd $1/files; autoload -Uz compinit; compinit -u -D; zstyle ':completion:*' list-grouped false; zstyle ':completion:*' insert-tab false"
feed 'compadd() { if [[ \${@[1,(i)(-|--)]} == *-(O|A|D)\\ * ]]; then builtin compadd "$@"; return; fi; local -a hits; builtin compadd -A hits "$@"; (( \${#hits} )) && print -rl -- @\${^hits}@; builtin compadd "$@" }'
feed 'tell() { print BEGIN-LIST }; finish() { print END-LIST; exit }; compprefuncs=(tell); comppostfuncs=(finish); bindkey "^I" complete-word; print RE""ADY'
zpty -r shell line '*READY*'
zpty -w -n shell "$2"$'\\t'
zpty -r shell line '*END-LIST*'
print -r -- "$line"
`;

/** What a shell offers behind `line`, sorted, each once. */
function offers(shell: Shell, line: string): string[] {
  const cwd = join(directory, "files");
  const options = {
    cwd,
    encoding: "utf8",
    timeout: 30_000,
    env: { ...process.env, HOME: directory, TERM: "dumb" },
  } as const;
  if (shell === "bash")
    return lines(spawnSync("bash", ["-c", BASH, "bash", directory, line], options).stdout);
  if (shell === "fish") {
    const script = `source ${directory}/sluice.fish; complete -C ${JSON.stringify(line)}`;
    const { stdout } = spawnSync("fish", ["--no-config", "-c", script], options);
    return lines(stdout).map((each) => each.replace(/\t.*/, ""));
  }
  const { stdout } = spawnSync("zsh", ["-f", "-c", ZSH, "zsh", directory, line], options);
  const list = /BEGIN-LIST(.*?)END-LIST/s.exec(stdout)?.[1] ?? stdout;
  return [...new Set([...list.matchAll(/@([^@\r\n]+)@/g)].map(([, word = ""]) => word))].sort();
}

function lines(text: string): string[] {
  return [...new Set(text.split("\n").filter(Boolean))].sort();
}

describe.each(SHELLS)("%s", (shell) => {
  const check = (line: string) => offers(shell, line);

  it("offers the commands", (context) => {
    needs(context, { commands: [shell] });
    expect(check("sluice ")).toEqual(
      expect.arrayContaining(["completion", "exec", "qemu", "replay", "run", "vm"]),
    );
    expect(check("sluice rep")).toEqual(["replay"]);
    expect(check("sluice vm ")).toEqual(expect.arrayContaining([...VM_COMMAND_NAMES].sort()));
    expect(check("sluice vm va")).toEqual(["validate"]);
    expect(check("sluice completion ")).toEqual(expect.arrayContaining(["bash", "fish", "zsh"]));
  });

  it("offers every option of a command, and no other's", (context) => {
    needs(context, { commands: [shell] });
    const offered = check("sluice run --").map((word) => word.replace(/=$/, ""));
    expect(offered).toEqual([...optionsOf("run").map((name) => `--${name}`), "--help"].sort());
    expect(check("sluice run --qemu-l").map((word) => word.replace(/=$/, ""))).toEqual(["--qemu-listen"]);
    expect(check("sluice exec --qemu-l")).toEqual([]);
    expect(check("sluice vm plan --qem").map((word) => word.replace(/=$/, ""))).toEqual(["--qemu-user"]);
  });

  it("offers the values that there are", (context) => {
    needs(context, { commands: [shell] });
    const { parse } = definitionOf("log-level");
    expect(parse.values).toHaveLength(4);
    expect(check("sluice run --log-level ")).toEqual([...parse.values!].sort());
    expect(check("sluice run --log-level d")).toEqual(["debug"]);
    expect(check("sluice run -p 80 --log-level=d").map((word) => word.replace(/^.*=/, ""))).toEqual([
      "debug",
    ]);
    expect(check("sluice qemu --model pc")).toEqual(["pcnet"]);
    expect(check("sluice vm plan --format me")).toEqual(["mermaid"]);
  });

  it("offers files and folders where they are meant", (context) => {
    needs(context, { commands: [shell] });
    const names = (line: string): string[] =>
      check(line).map((name) => name.replaceAll("\\", "").replace(/\/$/, ""));
    expect(names("sluice vm validate v")).toEqual(["vm.yaml"]);
    expect(names("sluice replay gu")).toEqual(["guest one.pcap"]);
    expect(names("sluice run --tftp f")).toEqual(["folder"]);
    expect(names("sluice run --tftp v")).toEqual([]);
    expect(names("sluice run --pcap v")).toEqual(["vm.yaml"]);
  });

  it("leaves the command behind exec to itself", (context) => {
    needs(context, { commands: [shell] });
    expect(check("sluice exec --restrict -- mkdi")).toContain("mkdir");
    expect(check("sluice exec -p 80 mkdi")).toContain("mkdir");
    expect(check("sluice exec cat v").map((name) => name.replace(/\/$/, ""))).toEqual(["vm.yaml"]);
    expect(check("sluice exec -- cat --tft")).toEqual([]);
  });
});

it("says what it can make", async () => {
  for (const args of [[], ["powershell"], ["bash", "zsh"]]) {
    const { status, stderr } = await sluice(["completion", ...args]).ended;
    expect([status, stderr]).toEqual([2, expect.stringContaining("SHELL: ")]);
    expect(stderr).toContain("allowed: one of bash, zsh, fish");
  }
  expect((await sluice(["completion", "--help"]).ended).stdout).toContain("source <(sluice completion bash)");
});
