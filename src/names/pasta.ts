/** pasta(1): the network of a namespace, by a TAP that it makes there. In the background once that is set up. */

import { notePorts, refuseUnlessNone } from "./passt-ports.ts";
import { emptyWords, networkArguments, type PasstWords, processArguments } from "./passt-state.ts";
import { COMMON_WORDS, RELEASE } from "./passt-words.ts";
import {
  type Program,
  type Question,
  Refusal,
  readNumber,
  readWords,
  refusedWord,
  type Surroundings,
  setter,
  type Translation,
  type Word,
} from "./words.ts";

/** The device's name on a host without a default route. */
const DEVICE = "tap0";

interface Words extends PasstWords {
  device?: string;
  netns?: string;
  userns?: string;
  configure: boolean;
  mac?: string;
}

const sets = setter<Words>();

const OWN: readonly Word<Words>[] = [
  sets(
    ["-I", "--ns-ifname"],
    "NAME",
    `--tap. Default: the interface of the host's default route, else ${DEVICE}.`,
    "device",
    (text) => text,
    "tap",
  ),
  sets(["--netns"], "PATH", "--netns.", "netns", (text) => text, "net"),
  sets(["--userns"], "PATH", "--userns.", "userns", (text) => text, "user"),
  {
    forms: ["--no-pidns"],
    help: "A command has the PID namespace of who starts it, with it or without.",
    note: () => {},
  },
  { forms: ["--netns-only"], help: "No user namespace is entered that need not be.", note: () => {} },
  sets(["--config-net"], undefined, "--configure.", "configure", () => true, "setup"),
  sets(["--ns-mac-addr"], "MAC", "--guest-mac.", "mac", (text) => text),
  {
    forms: ["-T", "--tcp-ns"],
    placeholder: "SPEC",
    help: "none, which is also the default: the host's loopback is not the namespace's.",
    note: (_, spec) => refuseUnlessNone("--tcp-ns", spec),
  },
  {
    forms: ["-U", "--udp-ns"],
    placeholder: "SPEC",
    help: "The same.",
    note: (_, spec) => refuseUnlessNone("--udp-ns", spec),
  },
];

const REFUSED: readonly (readonly [form: string, placeholder: string | undefined, why: string])[] = [
  ["--no-netns-quit", undefined, "it ends with the namespace"],
  ["--host-lo-to-ns-lo", undefined, "clients on the host's loopback come from the gateway"],
  ["--splice-only", undefined, "there is always a device"],
  ["--no-splice", undefined, "nothing is spliced"],
  ["--no-copy-routes", undefined, "the namespace has a default route alone"],
  ["--no-copy-addrs", undefined, "the namespace has one address"],
];

const WORDS: readonly Word<Words>[] = [
  ...OWN,
  ...REFUSED.map(([form, placeholder, why]) => refusedWord([form], placeholder, why)),
  ...COMMON_WORDS,
];

/** The namespaces of `PID` or of `--netns`. */
function namespaceArguments(
  { netns, userns }: Words,
  pid: string | undefined,
  { exists }: Surroundings,
): string[] {
  if (userns !== undefined && !exists(userns)) throw new Refusal(`couldn't open user namespace ${userns}`);
  if (pid !== undefined) {
    readNumber("PID", pid, 1, 4_194_304);
    if (!exists(`/proc/${pid}`)) throw new Refusal(`couldn't open network namespace of process ${pid}`);
    return userns === undefined ? ["--netns", pid] : ["--netns", `/proc/${pid}/ns/net`, "--userns", userns];
  }
  if (netns === undefined) throw new RangeError("a namespace of nobody");
  if (!exists(netns)) throw new Refusal(`couldn't open network namespace ${netns}`);
  return ["--netns", netns, ...(userns === undefined ? [] : ["--userns", userns])];
}

/** The PID among the words that are no options; undefined: they are a command, or there are none. */
function pidOf(words: Words, rest: readonly string[]): string | undefined {
  const [first, ...more] = rest;
  if (words.netns !== undefined) {
    if (first !== undefined) throw new Refusal("both --netns and PID or COMMAND given");
    return undefined;
  }
  if (first === undefined || !/^\d+$/.test(first)) return undefined;
  if (more.length > 0) throw new Refusal(`"${rest.join(" ")}" is not offered: a PID, or a command`);
  return first;
}

/** What only a process of its own has: the command's ends with it. */
function refuseForCommand(words: Words): void {
  for (const [form, value] of [
    ["--pid", words.pidFile],
    ["--runas", words.user],
    ["--userns", words.userns],
  ] as const) {
    if (value !== undefined) throw new Refusal(`${form} is not offered beside a command`);
  }
}

function translate(argv: readonly string[], surroundings: Surroundings): Translation | Question {
  const words: Words = { ...emptyWords(), configure: false };
  const rest = readWords(WORDS, argv, words, true);
  if (words.question !== undefined) return words.question;
  for (const ports of [words.tcp, words.udp]) if (!ports.isSaid) notePorts(ports, "auto");
  const device = words.device ?? words.interface ?? surroundings.defaultDevice() ?? DEVICE;
  const pid = pidOf(words, rest);
  const isCommand = pid === undefined && words.netns === undefined;
  const mac = words.mac === undefined ? [] : ["--guest-mac", words.mac];
  if (isCommand) {
    refuseForCommand(words);
    return {
      argv: [...mac, ...networkArguments(words, surroundings.exists)],
      command: { words: rest, device, isConfigured: words.configure },
      background: false,
      warnings: [],
    };
  }
  return {
    argv: [
      ...["--tap", device, ...namespaceArguments(words, pid, surroundings)],
      ...(words.configure ? ["--configure"] : []),
      ...mac,
      ...networkArguments(words, surroundings.exists),
      ...processArguments(words),
    ],
    background: !words.foreground,
    warnings: [],
  };
}

export const PASTA: Program = {
  name: "pasta",
  usage: "pasta [OPTION]... [COMMAND [ARG]...|PID]",
  background: true,
  takesCommand: true,
  positional: ["net"],
  words: WORDS as readonly Word<never>[],
  version: (own) => `pasta ${RELEASE}.sluice-${own}\n`,
  translate,
};
