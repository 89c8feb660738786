/** What each `sluice vm` command is called, takes and is for: the source of parsing and of `--help`. */

export interface VmOption {
  /** What stands for the value in the help; absent for a flag. */
  readonly placeholder?: string;
  /** May be given several times. */
  readonly repeat?: true;
  readonly help: string;
}

type Example = readonly [command: string, purpose: string];

export interface VmCommandDescription {
  readonly usage: string;
  /** One line for the overview. */
  readonly summary: string;
  readonly description: string;
  readonly options: Readonly<Record<string, VmOption>>;
  /** Started by other commands; not in the overview. */
  readonly internal?: boolean;
  /** Command lines with what each is for. */
  readonly examples: readonly [Example, ...Example[]];
}

export type VmCommandName =
  | "validate"
  | "plan"
  | "up"
  | "down"
  | "status"
  | "run"
  | "qemu-args"
  | "export"
  | "schema"
  | "dhcp-serve";

/** Options of every command that reads a spec. */
const SPEC_OPTIONS = {
  binding: {
    placeholder: "OTHER=slirp|bridge",
    repeat: true,
    help: "Carry a cluster's own binding plugin, binding: {name: OTHER}, out as one of ours. Repeatable.",
  },
  network: {
    placeholder: "NETWORK=DEVICE",
    repeat: true,
    help: "What the multus network NETWORK of the spec is here: a network interface, which becomes a port of a bridge with the VM, or a bridge that is there already. Repeatable.",
  },
} as const;

/** Options of every command that is about one VM. */
const VM_OPTIONS = {
  ...SPEC_OPTIONS,
  vm: { placeholder: "NAME", help: "The VM whose metadata.name is NAME, where the file has several." },
  name: {
    placeholder: "NAME",
    help: "What the VM is called here (default metadata.name, or the file's name).",
  },
  uplink: { placeholder: "DEVICE", help: "The pod's network interface (default eth0)." },
  "resolv-conf": {
    placeholder: "FILE",
    help: "Where the pod's name servers are read (default /etc/resolv.conf).",
  },
  "run-dir": {
    placeholder: "DIR",
    help: "Where state and sockets are kept (default $XDG_RUNTIME_DIR/sluice/vm or /run/sluice/vm).",
  },
  "qemu-user": {
    placeholder: "USER",
    help: "Who QEMU runs as: a name or UID[:GID]. TAPs and sockets are made for this user.",
  },
} as const;

/** Options of every command that works inside a pod. */
const POD_OPTIONS = {
  "pod-netns": {
    placeholder: "PATH|PID",
    help: "Work inside this pod: the path of its network namespace, or one of its processes (which also says where its resolv.conf and its device plugins' variables are).",
  },
  ...VM_OPTIONS,
} as const;

/** Options of the commands that say how QEMU's cards are connected. */
const CARD_OPTIONS = {
  ...POD_OPTIONS,
  "vhost-user": {
    help: "Cards of slirp in memory that QEMU shares (sluice run --vhost-user), where their model is virtio: much faster than a socket. `run` has QEMU share it; who starts QEMU otherwise says so itself (-object memory-backend-memfd,id=ID,size=SIZE,share=on -machine memory-backend=ID).",
  },
} as const;

/** Options of the commands that start engines, or show how. */
const ENGINE_OPTIONS = {
  ...CARD_OPTIONS,
  "no-sandbox": { help: "Do not confine the engine processes (sluice run --no-sandbox)." },
} as const;

export const VM_COMMANDS: Readonly<Record<VmCommandName, VmCommandDescription>> = {
  validate: {
    usage: "sluice vm validate [OPTIONS] FILE...",
    summary: "check spec files and tell everything that is wrong with them",
    description:
      "Reads YAML files (- is standard input) and reports every problem with its field, its place, what was found and what is allowed. Documents of other kinds are skipped with a note. The exit status is 0 when all VMs are right, 2 otherwise.",
    options: {
      format: { placeholder: "text|json", help: "How problems are told (default text)." },
      ...SPEC_OPTIONS,
    },
    examples: [["sluice vm validate vm.yaml --format json", "problems as data, for a program"]],
  },
  plan: {
    usage: "sluice vm plan [OPTIONS] FILE",
    summary: "show what would be done for a VM, step by step",
    description:
      "Shows what `up` would do on this machine as it is now: bridges, addresses moved, DHCP given to the guest, engines, ports, QEMU arguments. Changes nothing and needs no root. What cannot be read here stands as <...>. The exit status is 1 when `up` would refuse.",
    options: {
      format: { placeholder: "text|json|mermaid|dot", help: "Words, data or a picture (default text)." },
      ...ENGINE_OPTIONS,
    },
    examples: [
      ["sluice vm plan vm.yaml", "read it before it happens"],
      ["sluice vm plan vm.yaml --format dot | dot -Tsvg > vm.svg", "a picture of it"],
    ],
  },
  up: {
    usage: "sluice vm up [OPTIONS] FILE",
    summary: "bring a VM's network up",
    description:
      "Does what `plan` shows and prints QEMU's arguments. A step that fails undoes everything before it. A VM that is up already stays as it is; engines and DHCP servers that died are started again. Outside a network namespace of its own it refuses to take an interface that --uplink does not name. Needs root in the pod (CAP_NET_ADMIN, CAP_NET_RAW) for the bridge binding.",
    options: ENGINE_OPTIONS,
    examples: [
      ["sluice vm up vm.yaml", "inside a pod"],
      [
        "sluice vm up --pod-netns 4711 --qemu-user qemu vm.yaml",
        "from outside, for a QEMU that runs as qemu",
      ],
    ],
  },
  down: {
    usage: "sluice vm down [OPTIONS] FILE | --name NAME",
    summary: "take it down: addresses, routes and MAC go back to where they were",
    description:
      "Ends what `up` started and undoes what it changed, also after an `up` that was cut off. A VM that is not up is no error.",
    options: POD_OPTIONS,
    examples: [["sluice vm down vm.yaml", "the pod is as it was before up"]],
  },
  status: {
    usage: "sluice vm status [OPTIONS] FILE | --name NAME",
    summary: "tell whether everything of a VM's network is there",
    description:
      "Lists bridges, TAPs, engines and DHCP servers. The exit status is 0 when all of them are there, else 1.",
    options: { format: { placeholder: "text|json", help: "Words or data (default text)." }, ...POD_OPTIONS },
    examples: [["sluice vm status vm.yaml", "ok or GONE for each part"]],
  },
  run: {
    usage: "sluice vm run [OPTIONS] FILE -- QEMU [ARGUMENT...]",
    summary: "up, QEMU with the arguments added, down",
    description:
      "Brings the network up, runs QEMU in the foreground with the network arguments behind its own, and takes the network down when it ends. Signals go to QEMU; the exit status is QEMU's (128 + N when signal N ended it).",
    options: ENGINE_OPTIONS,
    examples: [["sluice vm run vm.yaml -- qemu-system-x86_64 -m 1G disk.qcow2", "a VM on the pod's network"]],
  },
  "qemu-args": {
    usage: "sluice vm qemu-args [OPTIONS] FILE",
    summary: "print QEMU's network arguments",
    description: "Prints the arguments for QEMU of a VM that is up, or of one that `up` would bring up now.",
    options: {
      format: { placeholder: "shell|json", help: "Quoted for a shell, or a JSON list (default shell)." },
      ...CARD_OPTIONS,
    },
    examples: [
      ['eval "qemu-system-x86_64 -m 1G disk.qcow2 $(sluice vm qemu-args vm.yaml)"', "start QEMU yourself"],
    ],
  },
  export: {
    usage: "sluice vm export [OPTIONS] FILE",
    summary: "print a cluster's manifest of today for a spec of either form",
    description:
      "Prints the VMs of a spec as VirtualMachines that KubeVirt takes today, on standard output: slirp becomes a binding plugin, the older form and device plugins' networks what has taken their place. The rest of a document is carried over, comments are not. What a cluster may see otherwise is a note on standard error.",
    options: {
      binding: {
        placeholder: "NAME",
        help: "The binding plugin that the cluster has for slirp (default sluice).",
      },
      namespace: { placeholder: "NAME", help: "The namespace of everything printed." },
    },
    examples: [["sluice vm export vm.yaml | kubectl apply -f -", "the same VM, in a cluster"]],
  },
  "dhcp-serve": {
    usage: "sluice vm dhcp-serve DEVICE OFFER",
    summary: "answer DHCP on a bridge",
    description:
      "Started by `up`: answers the one guest that the offer in the file OFFER names, on the bridge DEVICE.",
    options: { "ready-fd": { placeholder: "N", help: "Write 1 to this descriptor when ready." } },
    internal: true,
    examples: [["sluice vm dhcp-serve br0 offer.json", "as up does it"]],
  },
  schema: {
    usage: "sluice vm schema",
    summary: "print the JSON Schema of a spec file",
    description:
      "Prints the JSON Schema (draft 2020-12) that the validator checks fields by; editors complete against it.",
    options: {},
    examples: [["sluice vm schema > vm.schema.json", "a schema file for an editor"]],
  },
};

const NAMES = Object.keys(VM_COMMANDS) as VmCommandName[];

/** The commands for people. */
export const VM_COMMAND_NAMES = NAMES.filter((name) => VM_COMMANDS[name].internal !== true);

/** The command of a name, the internal one included. */
export function findVmCommand(name: string): VmCommandName | undefined {
  return NAMES.find((known) => known === name);
}
