/** Commands that serve no guest and have no options of the table. */

/** Of `sluice vm`, whose commands describe themselves. */
export const VM_SUMMARY = "KubeVirt-style VM specs: validate, plan, up, down, run";

export const SHELLS = ["bash", "zsh", "fish"] as const;

export const OTHER_COMMANDS = {
  policy: {
    usage: "sluice policy [check|test|schema]",
    summary: "what a policy lets through: check, test, schema",
    description:
      "Reads a policy without a guest: check says everything that is wrong with it, test what becomes of flows, schema prints the JSON Schema of policy files (sluice policy --help).",
    words: ["check", "test", "schema"],
  },
  names: {
    usage: "sluice names [install|remove]",
    summary: "stand in for slirp4netns, passt and pasta: install, remove",
    description:
      "Lets sluice stand in for other programs, which others start by their names; without a command, says what is installed (sluice names --help).",
    words: ["install", "remove"],
  },
  completion: {
    usage: "sluice completion bash|zsh|fish",
    summary: "print a script by which a shell completes the command line",
    description:
      "Prints completions for a shell. bash: source <(sluice completion bash), or a file in /etc/bash_completion.d. zsh: a file _sluice in a directory of fpath. fish: a file in ~/.config/fish/completions.",
    words: SHELLS,
  },
} as const;
