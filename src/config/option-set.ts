/**
 * The options one user gave, whether as arguments or as properties: parsed by the table, with everything wrong
 * collected instead of thrown.
 */
import type { CommandName } from "./option-definition.ts";
import {
  type DefaultedName,
  defaultOf,
  definitionOf,
  type OptionName,
  type OptionType,
} from "./option-table.ts";
import { type Problem, quote, Unacceptable } from "./problem.ts";

/** A value and the text it was made from, for later complaints. */
export interface Given<T> {
  readonly value: T;
  readonly text: string;
  /** Number among all that were given. */
  readonly order: number;
}

/** Names the place of an option for a person: `--mtu`, or `ports[1]`. */
export type PlaceOf = (name: OptionName, index: number) => string;

const argumentPlace: PlaceOf = (name) => `--${name}`;

export class OptionSet {
  readonly problems: Problem[] = [];
  readonly #values = new Map<OptionName, Given<unknown>[]>();
  /** Options that were given but could not be parsed: cross-checks stay silent about them. */
  readonly #broken = new Set<OptionName>();
  readonly #placeOf: PlaceOf;
  #count = 0;

  constructor(placeOf: PlaceOf = argumentPlace) {
    this.#placeOf = placeOf;
  }

  /** Notes one option; `text` is undefined for a flag, and for an option that stands alone in this command. */
  add(name: OptionName, text?: string): void {
    const definition = definitionOf(name);
    const given = this.#values.get(name) ?? [];
    const place = this.#placeOf(name, given.length);
    if (given.length > 0 && !definition.repeat) {
      this.problems.push({
        place,
        ...(text === undefined ? {} : { found: shown(name, text) }),
        allowed: "once only",
      });
      return;
    }
    try {
      const standsAlone = text === undefined && definition.placeholder !== undefined;
      given.push({
        value: standsAlone ? "" : definition.parse(text ?? ""),
        text: text ?? "",
        order: this.#count++,
      });
      this.#values.set(name, given);
    } catch (error) {
      if (!(error instanceof Unacceptable)) throw error;
      this.#broken.add(name);
      const part = error.found !== undefined && error.found !== text ? ` (at ${quote(error.found)})` : "";
      this.problems.push({ place, found: shown(name, text ?? ""), allowed: `${error.allowed}${part}` });
    }
  }

  /** Given, and right or wrong. */
  has(name: OptionName): boolean {
    return this.#values.has(name) || this.#broken.has(name);
  }

  /** Given, but not as it should be. */
  broken(...names: OptionName[]): boolean {
    return names.some((name) => this.#broken.has(name));
  }

  get<N extends OptionName>(name: N): OptionType<N> | undefined {
    return this.#values.get(name)?.[0]?.value as OptionType<N> | undefined;
  }

  /** As given, or what the table says holds for `command` otherwise. */
  value<N extends DefaultedName>(name: N, command: CommandName = "run"): OptionType<N> {
    return this.get(name) ?? defaultOf(name, command);
  }

  all<N extends OptionName>(name: N): readonly Given<OptionType<N>>[] {
    return (this.#values.get(name) ?? []) as Given<OptionType<N>>[];
  }

  place(name: OptionName, index = 0): string {
    return this.#placeOf(name, index);
  }

  /** Complains about a value that was fine by itself. */
  reject(name: OptionName, allowed: string, index = 0): void {
    const given = this.#values.get(name)?.[index];
    const isFlag = definitionOf(name).placeholder === undefined;
    this.problems.push({
      place: this.place(name, index),
      ...(given && !isFlag ? { found: shown(name, given.text) } : {}),
      allowed,
    });
  }
}

function shown(name: OptionName, text: string): string {
  return definitionOf(name).shown?.(text) ?? text;
}
