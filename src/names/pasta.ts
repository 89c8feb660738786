/** pasta(1): the network of a namespace, by a TAP that it makes there. In the background once that is set up. */

import { notePorts } from "./passt-ports.ts";
import { commonArguments, emptyWords, type PasstWords } from "./passt-state.ts";
import { COMMON_WORDS, RELEASE } from "./passt-words.ts";
import {
  type Program,
  type Question,
  Refusal,
  readNumber,
  readWords,
  refusedWord,
  type Surroundings,
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

/** Ports that the namespace would reach on the host's loopback: none, ever. */
function noteNone(form: string): (words: Words, text: string) => void {
  return (_, text) => {
    if (text !== "none") {
      throw new Refusal(
        `${form} ${text} is not offered: none; what listens on the host's loopback is reached by --map-host-loopback`,
      );
    }
  };
}

const OWN: readonly Word<Words>[] = [
  {
    forms: ["-I", "--ns-ifname"],
    placeholder: "NAME",
    help: `--tap. Default: the interface of the host's default route, else ${DEVICE}.`,
    kind: "tap",
    note: (words, text) => {
      words.device = text;
    },
  },
  {
    forms: ["--netns"],
    placeholder: "PATH",
    help: "--netns.",
    kind: "net",
    note: (words, text) => {
      words.netns = text;
    },
  },
  {
    forms: ["--userns"],
    placeholder: "PATH",
    help: "--userns.",
    kind: "user",
    note: (words, text) => {
      words.userns = text;
    },
  },
  { forms: ["--netns-only"], help: "No user namespace is entered that need not be.", note: () => {} },
  {
    forms: ["--config-net"],
    help: "--configure.",
    kind: "setup",
    note: (words) => {
      words.configure = true;
    },
  },
  {
    forms: ["--ns-mac-addr"],
    placeholder: "MAC",
    help: "--guest-mac.",
    note: (words, text) => {
      words.mac = text;
    },
  },
  {
    forms: ["-T", "--tcp-ns"],
    placeholder: "SPEC",
    help: "none, which is also the default: the host's loopback is not the namespace's.",
    note: noteNone("--tcp-ns"),
  },
  {
    forms: ["-U", "--udp-ns"],
    placeholder: "SPEC",
    help: "The same.",
    note: noteNone("--udp-ns"),
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

function namespaceArguments(words: Words, rest: readonly string[], { exists }: Surroundings): string[] {
  const [pid, ...command] = rest;
  const { netns, userns } = words;
  if (netns !== undefined && pid !== undefined) throw new Refusal("both --netns and PID given");
  if (command.length > 0 || (pid !== undefined && !/^\d+$/.test(pid))) {
    throw new Refusal(`"${rest.join(" ")}" is not offered: a PID; sluice exec runs commands`);
  }
  if (userns !== undefined && !exists(userns)) throw new Refusal(`couldn't open user namespace ${userns}`);
  if (pid !== undefined) {
    readNumber("PID", pid, 1, 4_194_304);
    if (!exists(`/proc/${pid}`)) throw new Refusal(`couldn't open network namespace of process ${pid}`);
    return userns === undefined ? ["--netns", pid] : ["--netns", `/proc/${pid}/ns/net`, "--userns", userns];
  }
  if (netns === undefined) throw new Refusal("a PID or --netns PATH is needed; sluice exec runs commands");
  if (!exists(netns)) throw new Refusal(`couldn't open network namespace ${netns}`);
  return ["--netns", netns, ...(userns === undefined ? [] : ["--userns", userns])];
}

function translate(argv: readonly string[], surroundings: Surroundings): Translation | Question {
  const words: Words = { ...emptyWords(), configure: false };
  const rest = readWords(WORDS, argv, words);
  if (words.question !== undefined) return words.question;
  for (const ports of [words.tcp, words.udp]) if (!ports.isSaid) notePorts(ports, "auto");
  const device = words.device ?? words.interface ?? surroundings.defaultDevice() ?? DEVICE;
  return {
    argv: [
      ...["--tap", device, ...namespaceArguments(words, rest, surroundings)],
      ...(words.configure ? ["--configure"] : []),
      ...(words.mac === undefined ? [] : ["--guest-mac", words.mac]),
      ...commonArguments(words, surroundings.exists),
    ],
    background: !words.foreground,
    warnings: [],
  };
}

export const PASTA: Program = {
  name: "pasta",
  usage: "pasta [OPTION]... PID",
  background: true,
  positional: ["net"],
  words: WORDS as readonly Word<never>[],
  version: (own) => `pasta ${RELEASE}.sluice-${own}\n`,
  translate,
};
