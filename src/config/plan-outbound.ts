/** What the guest's traffic leaves by, from the options. */
import type { Outbound } from "./host-plan.ts";
import type { OptionSet } from "./option-set.ts";

/** As given, or undefined. Complains about more than one address of a family, and about more than an interface. */
export function planOutbound(options: OptionSet): Outbound[] | undefined {
  const given = options.all("outbound-addr").map(({ value }) => value);
  const hasInterface = given.some(({ kind }) => kind === "interface");
  given.forEach(({ kind }, i) => {
    const isSecond = given.findIndex((other) => other.kind === kind) < i;
    if (isSecond || (hasInterface && i > 0)) {
      options.reject("outbound-addr", "one address of each family, or one interface", i);
    }
  });
  return given.length === 0 ? undefined : given;
}
