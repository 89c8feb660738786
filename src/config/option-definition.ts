/** What the option table says of one option, and the parsers that belong to the table alone. */
import { encodeText } from "../engine/wire/dhcp-options.ts";
import type { Network } from "./address.ts";
import { Unacceptable } from "./problem.ts";

export type CommandName = "run" | "exec" | "qemu" | "replay";
export type OptionGroup =
  | "Link"
  | "Network"
  | "DHCP"
  | "IPv6"
  | "Ports"
  | "Policy"
  | "Limits"
  | "DNS"
  | "Process"
  | "Control"
  | "Log";

/** A DHCP option that the server gives to a client that asks for it: the values given become its octets. */
export interface DhcpMeaning {
  readonly code: number;
  readonly encode: (values: readonly string[]) => Uint8Array;
}

/** A DHCP option of one text. */
export function dhcpText(code: number): DhcpMeaning {
  return { code, encode: ([value = ""]) => encodeText(value) };
}

export interface OptionDefinition<T> {
  readonly group: OptionGroup;
  readonly commands: readonly CommandName[];
  /** One-letter form. */
  readonly short?: string;
  /** What stands for the value in the help; absent for a flag. */
  readonly placeholder?: string;
  /** Commands where it stands alone, without its value. */
  readonly flagIn?: readonly CommandName[];
  readonly repeat?: boolean;
  /** The library takes one value by itself where it takes a list. */
  readonly oneWithoutList?: boolean;
  /** The property of the library's options, when it is not the name in camel case. */
  readonly property?: string;
  /** A sentence; what the other fields say (default, DHCP option, repeatable) is added to it. */
  readonly help: string;
  /** The value, or throws Unacceptable. Never called for a flag. `values`: all it takes, where they are few. */
  readonly parse: ((text: string) => T) & { readonly values?: readonly string[] };
  /** How a value that may hold a password is told in complaints. */
  readonly shown?: (text: string) => string;
  /** What holds when the option is not given, as one would write it. */
  readonly default?: string;
  /** Another default for some commands. */
  readonly defaultFor?: { readonly commands: readonly CommandName[]; readonly value: string };
  /** A default that follows from the guest's subnet; `defaultWords` say how. */
  readonly defaultIn?: (net: Network) => number;
  /** For people: where a default comes from that is no constant. */
  readonly defaultWords?: string;
  readonly dhcp?: DhcpMeaning;
}

/** Keeps a definition's own type (its property's name, whether it repeats) for the library's types. */
export function option<const D extends OptionDefinition<unknown>>(definition: D): D {
  return definition;
}

export interface FlagDefinition {
  readonly group: OptionGroup;
  readonly commands: readonly CommandName[];
  readonly help: string;
  readonly parse: () => true;
}

export function flag(group: OptionGroup, commands: readonly CommandName[], help: string): FlagDefinition {
  return { group, commands, help, parse: () => true };
}

/** A parser of one of a few words, which it knows (`values`), for those who list them. */
export function choice<const T extends string>(
  values: readonly T[],
): ((text: string) => T) & { readonly values: readonly T[] } {
  const parse = (text: string): T => {
    const value = values.find((v) => v === text);
    if (value === undefined) throw new Unacceptable(`one of ${values.join(", ")}`, text);
    return value;
  };
  return Object.assign(parse, { values });
}

/** Text that fits a fixed field of a DHCP message, its final NUL included. */
export function parseFieldText(fieldOctets: number): (text: string) => string {
  return (text) => {
    const octets = new TextEncoder().encode(text).length;
    if (octets === 0 || octets >= fieldOctets || text.includes("\0")) {
      throw new Unacceptable(`text of 1 to ${fieldOctets - 1} octets`, text);
    }
    return text;
  };
}
