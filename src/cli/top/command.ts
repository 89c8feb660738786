/** `sluice top`: the screen where there is a terminal to show it on, else one table. */
import { SORTS } from "../../control/flow-rates.ts";
import { VerbError, type VerbRequest } from "../verb-request.ts";
import { Terminal } from "./terminal.ts";
import { printTop, watchTop } from "./top.ts";

export async function topCommand({ flags, json, out, client }: VerbRequest): Promise<void> {
  const { sort = "rate", filter = "" } = flags;
  const known = SORTS.find((name) => name === sort);
  if (known === undefined) {
    throw new VerbError({ place: "--sort", found: String(sort), allowed: SORTS.join(", ") });
  }
  const options = {
    client: await client(),
    color: (process.env["NO_COLOR"] ?? "") === "",
    controls: { sort: known, filter: String(filter) },
  };
  const { stdin, stdout } = process;
  if (flags["once"] === true || json || !stdin.isTTY || !stdout.isTTY) {
    out(await printTop(options, json));
    return;
  }
  await watchTop(options, new Terminal(stdin, stdout));
}
