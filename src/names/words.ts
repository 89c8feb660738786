/**
 * Command lines of other programs: a table of words per program, in the style of the option table, and getopt_long(3)'s
 * way to read them: abbreviations, `-cr3`, values behind `=` or in the next word, and its sentences when something is wrong.
 */
import type { Forward } from "../engine/config.ts";

/** The least MTU that sluice serves. */
export const MTU_LEAST = 576;

/** Forwards that come and go. */
export interface RunningForwards {
  /** Rejects when a port cannot be had. */
  add(forward: Forward): Promise<{ readonly id: number }>;
  remove(id: number): Promise<void>;
}

/** The rules of a program that runs already, as `sluice forward` has them. */
export interface RunningRules {
  list(): Promise<readonly { readonly id: number; readonly rule: string }[]>;
  /** Rejects when a port cannot be had. */
  add(rule: string): Promise<{ readonly id: number }>;
  remove(id: number): Promise<void>;
}

/** What is asked besides a guest's network. */
export type Question = "help" | "version";

/** What names a TAP: its network namespace, the user namespace to enter before, its own name. */
export type TapWord = "net" | "user" | "tap";

/** A word that a program takes. `S` is what its command line comes to, written as the words are read. */
export interface Word<S> {
  /** Long and short forms, the one that the program's manual has first. */
  readonly forms: readonly string[];
  /** What stands for the value; absent for a word without one. */
  readonly placeholder?: string;
  /** A sentence for `--help` and the documentation: what it comes to here. */
  readonly help: string;
  /**
   * What the launcher has to know of it: a question, a word that keeps it from going to the background, one
   * that has the TAP set up, one that asks for a view of its own, one whose value is a file to be made, what names a TAP.
   */
  readonly kind?: Question | "stay" | "setup" | "sandbox" | "place" | TapWord;
  /** Nothing that it asks for is to be had: `note` throws. */
  readonly refused?: true;
  /** Throws a Refusal. */
  readonly note: (state: S, value: string) => void;
}

/** A command line that cannot be served. The message is a sentence without the program's name. */
export class Refusal extends Error {
  override readonly name = "Refusal";
}

/** What a command line of another program comes to. */
export interface Translation {
  /** For `sluice run`; for `sluice exec` where there is a command. */
  readonly argv: readonly string[];
  /** A command to run in namespaces of its own, as their root, in place of serving those that are there. */
  readonly command?: {
    readonly words: readonly string[];
    readonly device: string;
    readonly isConfigured: boolean;
  };
  /** Nothing is served: what is served by the control socket at `path` is steered. `steer` gives what is said of it. */
  readonly steering?: { readonly path: string; readonly steer: (rules: RunningRules) => Promise<string> };
  /** Return once the guest is served, and serve on apart from the caller. */
  readonly background: boolean;
  /** Said on standard output once the guest is served. */
  readonly greeting?: string;
  /** Serves an API of the program's own. Rejects with the system's error; returns what ends it. */
  readonly serveApi?: (forwards: RunningForwards) => Promise<() => void>;
  /** For people, before the start. */
  readonly warnings: readonly string[];
}

/** A program that sluice can stand in for. */
export interface Program {
  readonly name: string;
  readonly usage: string;
  /** It goes to the background unless a word says that it stays. */
  readonly background: boolean;
  readonly words: readonly Word<never>[];
  /** What words that are no options name, in order. */
  readonly positional?: readonly TapWord[];
  /** The first of them, if it is no number, and what follows it are a command to run, in the foreground; so is nothing at all. */
  readonly takesCommand?: true;
  /** The text of `--version`, with sluice's own version. */
  readonly version: (own: string) => string;
  /** Throws a Refusal. */
  readonly translate: (argv: readonly string[], surroundings: Surroundings) => Translation | Question;
}

/** What a translation may ask of the machine. */
export interface Surroundings {
  readonly exists: (path: string) => boolean;
  /** The interface of the host's default route. */
  readonly defaultDevice: () => string | undefined;
}

/**
 * Reads the words of `argv` into `state`; returns those that are no options; with `upToCommand` the first of these and all
 * that follows. Throws a Refusal.
 */
export function readWords<S>(
  table: readonly Word<S>[],
  argv: readonly string[],
  state: S,
  upToCommand = false,
): string[] {
  const rest: string[] = [];
  const words = [...argv];
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    if (word === "--") return [...rest, ...words];
    if (word.startsWith("--")) readLong(table, word, words, state);
    else if (word.startsWith("-") && word.length > 1) readShort(table, word, words, state);
    else if (upToCommand) return [word, ...words];
    else rest.push(word);
  }
  return rest;
}

function readLong<S>(table: readonly Word<S>[], word: string, following: string[], state: S): void {
  const at = word.indexOf("=");
  const name = at < 0 ? word : word.slice(0, at);
  const found = findLong(table, name);
  if (found.entry.placeholder === undefined) {
    if (at >= 0) throw new Refusal(`option '${found.form}' doesn't allow an argument`);
    found.entry.note(state, "");
    return;
  }
  const value = at < 0 ? following.shift() : word.slice(at + 1);
  if (value === undefined) throw new Refusal(`option '${found.form}' requires an argument`);
  found.entry.note(state, value);
}

/** The word of this name, or the only one that begins with it. */
function findLong<S>(table: readonly Word<S>[], name: string): { entry: Word<S>; form: string } {
  const all = table.flatMap((entry) =>
    entry.forms.filter((form) => form.startsWith("--")).map((form) => ({ entry, form })),
  );
  const exact = all.find(({ form }) => form === name);
  if (exact !== undefined) return exact;
  const begun = all.filter(({ form }) => form.startsWith(name));
  const [only] = begun;
  if (only === undefined) throw new Refusal(`unrecognized option '${name}'`);
  if (new Set(begun.map(({ entry }) => entry)).size > 1) {
    const possible = begun.map(({ form }) => `'${form}'`).join(" ");
    throw new Refusal(`option '${name}' is ambiguous; possibilities: ${possible}`);
  }
  return only;
}

/** Letters behind one dash; the first that takes a value has the rest of the word, or the next word. */
function readShort<S>(table: readonly Word<S>[], word: string, following: string[], state: S): void {
  for (let i = 1; i < word.length; i++) {
    const letter = word[i] as string;
    const entry = table.find(({ forms }) => forms.includes(`-${letter}`));
    if (entry === undefined) throw new Refusal(`invalid option -- '${letter}'`);
    if (entry.placeholder === undefined) {
      entry.note(state, "");
      continue;
    }
    const value = i + 1 < word.length ? word.slice(i + 1) : following.shift();
    if (value === undefined) throw new Refusal(`option requires an argument -- '${letter}'`);
    entry.note(state, value);
    return;
  }
}

/** A maker of words of `S` that set one member of it to their value, or to what `value` makes of it. */
export function setter<S>() {
  return <K extends keyof S>(
    forms: readonly string[],
    placeholder: string | undefined,
    help: string,
    key: K,
    value: (text: string) => S[K],
    kind?: NonNullable<Word<S>["kind"]>,
  ): Word<S> => ({
    forms,
    ...(placeholder === undefined ? {} : { placeholder }),
    help,
    ...(kind === undefined ? {} : { kind }),
    note: (state, text) => {
      state[key] = value(text);
    },
  });
}

/** A word that asks for what is not to be had, and why. */
export function refusedWord(
  forms: readonly string[],
  placeholder: string | undefined,
  why: string,
): Word<unknown> {
  return {
    forms,
    ...(placeholder === undefined ? {} : { placeholder }),
    help: `Refused: ${why}.`,
    refused: true,
    note: () => {
      throw new Refusal(`${forms[0]} is not offered: ${why}`);
    },
  };
}

/** A decimal number from `min` to `max`. Throws a Refusal. */
export function readNumber(form: string, text: string, min: number, max: number): number {
  const value = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= min && value <= max)) throw new Refusal(`invalid ${form} "${text}": ${min} to ${max}`);
  return value;
}
