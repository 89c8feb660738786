/** What is wrong with one option of a command line, by Node's parser's token of it. */
import { nearest, type Problem, quote } from "../../config/problem.ts";

export interface OptionToken {
  readonly rawName: string;
  readonly value?: string | undefined;
  readonly inlineValue?: boolean | undefined;
}

/** What is wrong with the value of an option that is known. `again`: it was given before, and is to be given once. */
export function valueProblem(token: OptionToken, takesValue: boolean, again: boolean): Problem | undefined {
  const { rawName, value } = token;
  if (again) return { place: rawName, allowed: "the option once" };
  if (!takesValue)
    return value === undefined ? undefined : { place: rawName, found: value, allowed: "no value" };
  if (value === undefined || value === "") return { place: rawName, allowed: "a value after it" };
  // `--uplink --name x` is a forgotten value; one that does begin with a dash is written `--uplink=-value`.
  if (token.inlineValue !== true && value.startsWith("-") && value.length > 1) {
    return { place: rawName, found: value, allowed: `a value after it (or ${rawName}=VALUE)` };
  }
  return undefined;
}

/** An option that `command`, such as `sluice vm up`, does not have among `known`. */
export function unknownOption(command: string, rawName: string, known: readonly string[]): Problem {
  const guess = nearest(rawName.replace(/^-+/, ""), known);
  const meant = guess === undefined ? "" : `; did you mean --${guess}?`;
  return {
    place: quote(rawName).slice(1, -1),
    allowed: `an option that ${command} has (${command} --help lists them)${meant}`,
  };
}
