/** Commands that serve no guest and have no options of the table. */

/** Of `sluice vm`, whose commands describe themselves. */
export const VM_SUMMARY = "KubeVirt-style VM specs: validate, plan, up, down, run";

export const SHELLS = ["bash", "zsh", "fish"] as const;

export const OTHER_COMMANDS = {
  policy: {
    usage: "sluice policy [check|test|schema|show|set|rm|reset-budget|suggest]",
    summary: "policies: check, test, schema; of what runs: show, set, rm, reset-budget, suggest",
    description:
      "Reads a policy without a guest: check says everything that is wrong with it, test what becomes of flows, schema prints the JSON Schema of policy files. The others are about an instance that runs: show says what its policy is and has decided, set replaces it, rm takes a rule out, reset-budget gives one its limit of bytes anew, suggest writes one that would allow what was denied (sluice policy --help).",
    words: ["check", "test", "schema", "show", "set", "rm", "reset-budget", "suggest"],
  },
  names: {
    usage: "sluice names [install|remove]",
    summary: "stand in for slirp4netns, passt and pasta: install, remove",
    description:
      "Lets sluice stand in for other programs, which others start by their names; without a command, says what is installed (sluice names --help).",
    words: ["install", "remove"],
  },
  "kubevirt-binding": {
    usage: "sluice kubevirt-binding [OPTIONS]",
    summary: "the sidecar of a KubeVirt network binding plugin",
    description:
      "Serves the hooks of a VM's launcher in a Kubernetes pod, and the VM's guest, until the VM ends (sluice kubevirt-binding --help).",
    words: [],
  },
  completion: {
    usage: "sluice completion bash|zsh|fish",
    summary: "print a script by which a shell completes the command line",
    description:
      "Prints completions for a shell. bash: source <(sluice completion bash), or a file in /etc/bash_completion.d. zsh: a file _sluice in a directory of fpath. fish: a file in ~/.config/fish/completions.",
    words: SHELLS,
  },
} as const;
