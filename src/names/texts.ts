/** What a name says of itself, made from its table. */
import { entry } from "../config/help-text.ts";
import type { Program } from "./words.ts";

const INDENT = 34;

/** What the launcher (native-shims/launcher.c) has to know of the words; those that are refused it does not know. */
export function wordsText({ words, background, positional = [], takesCommand }: Program): string {
  const lines = words
    .filter(({ refused }) => refused !== true)
    .map(({ forms, placeholder, kind }) =>
      [kind ?? (placeholder === undefined ? "flag" : "value"), ...forms].join(" "),
    );
  if (positional.length > 0) lines.push(["positional", ...positional].join(" "));
  if (takesCommand) lines.push("command");
  if (background) lines.push("background");
  return `${lines.join("\n")}\n`;
}

/** `--help`. Clients look for single words in it. */
export function helpText({ name, usage, words }: Program): string {
  const lines = words.map(({ forms, placeholder, help }) => {
    const last = forms.at(-1) ?? "";
    const value = placeholder === undefined ? "" : `${last.startsWith("--") ? "=" : " "}${placeholder}`;
    return entry(`${forms.join(", ")}${value}`, help, INDENT);
  });
  return `Usage: ${usage}\n\n${name}'s words, served by sluice, and what each is there:\n${lines.join("\n")}\n`;
}
