/** passt(1): a guest of QEMU or of a program like it, by a socket. In the background once that can connect. */

import { isAuto } from "./passt-ports.ts";
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

/** Where passt listens that is told nothing: the first of these that is not there. */
const SOCKETS_MAX = 100;

interface Words extends PasstWords {
  socket?: string;
  fd?: number;
  oneOff: boolean;
  vhostUser: boolean;
}

const REFUSED: readonly (readonly [form: string, placeholder: string | undefined])[] = [
  ["--repair-path", "PATH"],
  ["--migrate-exit", undefined],
  ["--migrate-no-linger", undefined],
];

const sets = setter<Words>();

const WORDS: readonly Word<Words>[] = [
  sets(
    ["-s", "--socket", "--socket-path"],
    "PATH",
    "--qemu-listen unix:PATH. Default: the first of /tmp/passt_1.socket and on that is not there.",
    "socket",
    (text) => text,
  ),
  sets(["-F", "--fd"], "FD", "--fd; ends with its connection.", "fd", (text) =>
    readNumber("--fd", text, 3, 1_048_575),
  ),
  sets(["-1", "--one-off"], undefined, "--one-off.", "oneOff", () => true),
  sets(
    ["--vhost-user"],
    undefined,
    "--vhost-user in place of --qemu-listen; refused beside --fd.",
    "vhostUser",
    () => true,
  ),
  ...REFUSED.map(([form, placeholder]) =>
    refusedWord([form], placeholder, "connections end with their host"),
  ),
  ...COMMON_WORDS,
];

function translate(argv: readonly string[], surroundings: Surroundings): Translation | Question {
  const words: Words = { ...emptyWords(), oneOff: false, vhostUser: false };
  const [extra] = readWords(WORDS, argv, words);
  if (words.question !== undefined) return words.question;
  if (extra !== undefined) throw new Refusal(`extra non-option argument: ${extra}`);
  if ([words.tcp, words.udp].some(isAuto)) throw new Refusal("auto ports are pasta's");
  return {
    argv: [
      ...linkArguments(words, surroundings.exists),
      ...(words.oneOff ? ["--one-off"] : []),
      ...networkArguments(words, surroundings.exists),
      ...processArguments(words),
    ],
    background: !words.foreground,
    warnings: [],
  };
}

function linkArguments({ socket, fd, vhostUser }: Words, exists: Surroundings["exists"]): string[] {
  if (fd === undefined) {
    return [vhostUser ? "--vhost-user" : "--qemu-listen", `unix:${socket ?? freeSocket(exists)}`];
  }
  if (socket !== undefined) throw new Refusal("--socket and --fd: one of them");
  if (vhostUser) throw new Refusal("--vhost-user is not offered beside --fd: a machine connects by --socket");
  return ["--fd", String(fd)];
}

function freeSocket(exists: Surroundings["exists"]): string {
  const all = Array.from({ length: SOCKETS_MAX }, (_, i) => `/tmp/passt_${i + 1}.socket`);
  const free = all.find((path) => !exists(path));
  if (free === undefined) throw new Refusal("all of /tmp/passt_1.socket and on are there: --socket PATH");
  return free;
}

export const PASST: Program = {
  name: "passt",
  usage: "passt [OPTION]...",
  background: true,
  words: WORDS as readonly Word<never>[],
  version: (own) => `passt ${RELEASE}.sluice-${own}\n`,
  translate,
};
