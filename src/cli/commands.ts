/** What each command is called, takes and is for: the source of `--help` and of docs/options.md. */
import type { CommandName } from "../config/option-definition.ts";
import type { OwnOption } from "./arguments.ts";

export interface CommandDescription {
  readonly usage: string;
  /** One line for the overview. */
  readonly summary: string;
  readonly description: string;
  readonly own: Readonly<Record<string, OwnOption>>;
  /** Command lines with what each is for. */
  readonly examples: readonly (readonly [command: string, purpose: string])[];
}

export const COMMANDS: Readonly<Record<CommandName, CommandDescription>> = {
  run: {
    usage: "sluice run LINK [OPTIONS]",
    summary: "serve one guest on a TAP or a QEMU socket",
    description:
      "Serves one guest, in the foreground or with --background, until a signal, or until the guest's namespace, the parent process or --exit-fd goes away. Exactly one link option is needed.",
    own: {},
    examples: [
      [
        "sluice run --qemu-listen unix:/tmp/vm.sock -p 2222:22",
        "wait for QEMU on a socket; its port 22 is 2222 here",
      ],
      [
        "sluice run --tap tap0 --netns 4711 --configure",
        "give the namespaces of process 4711 a network, ready to use",
      ],
      [
        "sluice run --tap tap0 --net 192.168.7.0/24 --restrict",
        "a guest that reaches nothing, on a subnet of its own",
      ],
      [
        "sluice run --background --pid-file /tmp/vm.pid --qemu-listen unix:/tmp/vm.sock",
        "return once it serves; SIGTERM to the process in the pid file ends it",
      ],
    ],
  },
  exec: {
    usage: "sluice exec [OPTIONS] [--] COMMAND [ARGUMENT...]",
    summary: "run a command in a network namespace of its own, behind the engine",
    description:
      "Runs COMMAND in a new user and network namespace whose only way out is the engine: no root, no QEMU. The exit status is the command's (128 + N when signal N ended it).",
    own: {},
    examples: [
      ["sluice exec -- ip address", "see what a guest gets"],
      ["sluice exec -p 8080:80 -- ./server", "reach port 80 of the command as 127.0.0.1:8080"],
      ["sluice exec --restrict -- make test", "run something that must not reach the network"],
      [
        "sluice exec --allow registry.example.com -- make fetch",
        "or only one name, and be told what else it tried",
      ],
    ],
  },
  qemu: {
    usage: "sluice qemu [OPTIONS] [--] QEMU [ARGUMENT...]",
    summary: "start QEMU with its network card behind the engine",
    description:
      "Starts the engine and QEMU together, joined by a socket pair or, with --vhost-user, by the machine's memory; adds the -netdev and -device arguments. The exit status is QEMU's.",
    own: {},
    examples: [
      [
        "sluice qemu -p 2222:22 -- qemu-system-x86_64 -m 1G disk.qcow2",
        "a guest whose SSH port is 2222 here",
      ],
      [
        "sluice qemu --vhost-user -- qemu-system-x86_64 -accel kvm -m 4G disk.qcow2",
        "the card in memory that the machine shares: the fastest there is",
      ],
      ["sluice qemu --mtu 9000 --model e1000 -- qemu-system-x86_64 disk.img", "another card, a larger MTU"],
    ],
  },
  replay: {
    usage: "sluice replay FILE [OPTIONS]",
    summary: "let a capture play the guest",
    description:
      "Sends the guest's frames of a pcap file to the engine, without a guest and without waiting, and prints what became of them.",
    own: {
      output: { placeholder: "FILE", help: "Write the frames of both sides to FILE (pcap)." },
      speed: {
        placeholder: "N",
        help: "1 keeps the capture's pace, 2 doubles it, 0 waits for nothing.",
        default: "0",
      },
    },
    examples: [
      ["sluice replay guest.pcap --output answers.pcap", "see what the engine answers to a recorded guest"],
    ],
  },
};

export const COMMAND_NAMES = Object.keys(COMMANDS) as CommandName[];
