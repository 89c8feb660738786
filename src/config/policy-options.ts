/** The options of the table that say where the guest may go. What they say is read by policy/, which only they load. */
import { hideLogin } from "./hidden-login.ts";
import { parsePath } from "./link-grammar.ts";
import { type CommandName, choice, flag, option } from "./option-definition.ts";

const LIVE: readonly CommandName[] = ["run", "exec", "qemu"];
const TARGETS =
  "NAME[:PORTS], *.NAME, ADDRESS[/PREFIX], @public, @private or @any; with /udp for UDP. A name without ports is 443/tcp";

const asWritten = (text: string): string => text;

export const POLICY_OPTIONS = {
  allow: option({
    group: "Policy",
    commands: LIVE,
    placeholder: "TARGET",
    repeat: true,
    help: `Let flows to TARGET out, and with the first of these nothing else: ${TARGETS}.`,
    parse: asWritten,
  }),
  deny: option({
    group: "Policy",
    commands: LIVE,
    placeholder: "TARGET",
    repeat: true,
    help: "Let nothing out to TARGET. Of --allow, --deny and --ask the first that matches decides; without ports all are meant.",
    parse: asWritten,
  }),
  ask: option({
    group: "Policy",
    commands: LIVE,
    placeholder: "TARGET",
    repeat: true,
    help: "Hold flows to TARGET until somebody has said yes (sluice approve), a minute at most.",
    parse: asWritten,
  }),
  policy: option({
    group: "Policy",
    commands: LIVE,
    placeholder: "FILE",
    help: "Rules for where the guest may go, in YAML or JSON; those of --allow, --deny and --ask come first.",
    parse: parsePath,
  }),
  "policy-default": option({
    group: "Policy",
    commands: LIVE,
    placeholder: "WORD",
    help: "What holds for flows that no rule matches: deny, allow or ask.",
    parse: choice(["deny", "allow", "ask"]),
    defaultWords: "deny, or allow where there are only rules that deny",
  }),
  decide: option({
    group: "Policy",
    commands: LIVE,
    placeholder: "MODULE",
    help:
      "Ask a program about what rules ask, before people: the default export of the JavaScript module MODULE, a file, is called with " +
      "each question and says allow, deny or nothing. It runs with this user's rights, and not confined.",
    parse: parsePath,
  }),
  via: option({
    group: "Policy",
    commands: LIVE,
    placeholder: "URL",
    help:
      "Send all TCP that is allowed by a proxy, names included, and let nothing go straight: socks5://[USER:PASSWORD@]ADDRESS:PORT or " +
      "http://[USER:PASSWORD@]ADDRESS:PORT. Names are not asked for here; UDP is refused.",
    parse: asWritten,
    shown: hideLogin,
  }),
  audit: flag(
    "Policy",
    LIVE,
    "Deny nothing: only note what the policy would have denied, and tell it at the end. Names that connections show are not looked at.",
  ),
} as const;
