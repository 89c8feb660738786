/** The help of an option: its sentence and what the other fields of its definition say. */
import { formatIpv4 } from "../engine/wire/address-text.ts";
import { CORE, definitionOf, type OptionName } from "./option-table.ts";

export function helpOf(name: OptionName): string {
  const { help, repeat, dhcp } = definitionOf(name);
  const code = dhcp === undefined ? "" : ` (option ${dhcp.code})`;
  return `${help.slice(0, -1)}${code}${defaultNote(name)}.${repeat ? " Repeatable." : ""}`;
}

/** ` (default 1500)`, or nothing. */
function defaultNote(name: OptionName): string {
  const { default: usual, defaultFor, defaultIn, defaultWords } = definitionOf(name);
  if (defaultIn) return ` (default: ${defaultWords}, ${formatIpv4(defaultIn(CORE))})`;
  if (defaultWords !== undefined) return ` (default: ${defaultWords})`;
  if (usual === undefined) return "";
  return ` (default ${usual}${defaultFor ? `; ${defaultFor.value} for ${listed(defaultFor.commands)}` : ""})`;
}

/** `exec, qemu and replay`. */
function listed(words: readonly string[]): string {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}
