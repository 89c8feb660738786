/** Commands about instances that run: the source of their help and of docs/control.md. */

export interface VerbDescription {
  readonly usage: string;
  /** One line, without a dot. */
  readonly summary: string;
  /** How many words it takes, at least and at most. */
  readonly words: readonly [least: number, most: number];
  readonly flags?: Readonly<Record<string, { readonly help: string; readonly placeholder?: string }>>;
}

const ANSWER_FLAGS = {
  for: { placeholder: "TIME", help: "for 10m or so, and not only for what waits now" },
  always: { help: "until the instance ends" },
  save: {
    placeholder: "FILE",
    help: "until the instance ends, and as a rule in the policy FILE, in front of the one that asks",
  },
} as const;

const RULE_FLAGS = {
  for: { placeholder: "TIME", help: "take the rule out again after 30s, 10m, 2h or so" },
  private: { help: "the name may lead to private addresses" },
} as const;

export const VERBS = {
  ls: { usage: "sluice ls", summary: "list the instances that run", words: [0, 0] },
  state: { usage: "sluice state", summary: "what an instance is and how it is", words: [0, 0] },
  flows: {
    usage: "sluice flows [TARGET]",
    summary: "its flows; with TARGET (address, address:port or name) those with that host",
    words: [0, 1],
    flags: { state: { placeholder: "STATE", help: "those in STATE, such as ESTABLISHED" } },
  },
  kill: { usage: "sluice kill ID|TARGET", summary: "reset flows on both sides", words: [1, 1] },
  forward: {
    usage: "sluice forward [ls | add RULE | rm ID]",
    summary: "list, add and remove forwards; RULE as for -p and --hostfwd",
    words: [0, 2],
    flags: { cut: { help: "rm: reset the connections that came by it, too" } },
  },
  why: {
    usage: "sluice why [TARGET]",
    summary:
      "why TARGET (address, name, either with a port, or a flow's number) does not work; by itself the last denial",
    words: [0, 1],
  },
  top: {
    usage: "sluice top",
    summary: "flows by rate, drops and DNS, live",
    words: [0, 0],
    flags: {
      once: { help: "print one table, as a pipe gets it" },
      sort: { placeholder: "KEY", help: "rate (default), octets, idle or name" },
      filter: { placeholder: "TEXT", help: "flows with TEXT in any column" },
    },
  },
  ui: {
    usage: "sluice ui",
    summary: "serve a page that shows it, on 127.0.0.1, until Ctrl-C",
    words: [0, 0],
    flags: {
      port: { placeholder: "PORT", help: "of the page; by default one that is free" },
      open: { help: "open it in the browser (xdg-open)" },
    },
  },
  allow: {
    usage: "sluice allow TARGET",
    summary: "let flows to TARGET out, by a rule in front of all others",
    words: [1, 1],
    flags: RULE_FLAGS,
  },
  deny: {
    usage: "sluice deny TARGET",
    summary: "let no flow to TARGET out, and reset those that are open",
    words: [1, 1],
    flags: { for: RULE_FLAGS.for },
  },
  approve: {
    usage: "sluice approve [ID]",
    summary: "what waits for an answer, and at a terminal the answers; with ID, say yes",
    words: [0, 1],
    flags: ANSWER_FLAGS,
  },
  refuse: {
    usage: "sluice refuse ID",
    summary: "say no to what waits for an answer",
    words: [1, 1],
    flags: ANSWER_FLAGS,
  },
  dns: {
    usage: "sluice dns",
    summary: "the names it asked for lately, and where a policy takes names to lead",
    words: [0, 0],
    flags: { address: { placeholder: "ADDRESS", help: "what has to do with ADDRESS alone" } },
  },
  leases: { usage: "sluice leases", summary: "addresses that guests have by DHCP", words: [0, 0] },
  counters: { usage: "sluice counters", summary: "what it has counted and dropped", words: [0, 0] },
  metrics: {
    usage: "sluice metrics",
    summary: "the same as OpenMetrics text, once or (--listen) for a scraper",
    words: [0, 0],
    flags: {
      listen: {
        placeholder: "ADDRESS",
        help: "serve them at PORT of 127.0.0.1, or ADDRESS:PORT, until Ctrl-C",
      },
    },
  },
  pcap: {
    usage: "sluice pcap [ls | start FILE | stop [ID]]",
    summary: "capture frames as pcapng, with what sluice knows of them; FILE may be - for a pipe",
    words: [0, 2],
    flags: {
      flow: { placeholder: "ID", help: "of one flow" },
      host: { placeholder: "TARGET", help: "of flows with TARGET: an address or a name, either with a port" },
      drops: { help: "only frames of the guest that were dropped" },
      snap: { placeholder: "N", help: "keep N octets of each frame" },
      octets: { placeholder: "N", help: "end before it has more; by default 1 GiB for a file" },
      frames: { placeholder: "N", help: "end with so many" },
      seconds: { placeholder: "N", help: "end after so many" },
    },
  },
  log: { usage: "sluice log LEVEL", summary: "log more or less from now on", words: [1, 1] },
  link: { usage: "sluice link up|down", summary: "plug in or pull the guest's cable", words: [1, 1] },
  events: {
    usage: "sluice events [TYPE,...]",
    summary: "what happens, one JSON object a line, until Ctrl-C",
    words: [0, 16],
  },
  stop: { usage: "sluice stop", summary: "end an instance", words: [0, 0] },
} as const satisfies Record<string, VerbDescription>;

/** Those of `sluice policy` that are about an instance that runs. */
export const POLICY_VERBS = {
  show: {
    usage: "sluice policy show",
    summary: "the policy as it holds, and what each rule has let through and denied",
    words: [0, 0],
    flags: { text: { help: "print it as a policy's file" } },
  },
  set: {
    usage: "sluice policy set FILE",
    summary: "another policy in its place; flows that it does not allow are reset",
    words: [1, 1],
    flags: {
      "keep-open": { help: "leave them open" },
      "dry-run": { help: "only say what it would change" },
      generation: { placeholder: "N", help: "only in place of the policy of generation N (policy show)" },
    },
  },
  rm: { usage: "sluice policy rm ID", summary: "take a rule out of it", words: [1, 1] },
  "reset-budget": {
    usage: "sluice policy reset-budget ID",
    summary: "give a rule its limit of bytes anew",
    words: [1, 1],
  },
  suggest: {
    usage: "sluice policy suggest",
    summary: "a policy that would allow what was denied, or audited",
    words: [0, 0],
    flags: {
      from: {
        placeholder: "FILE|last",
        help: "what a flow log has, or what the last run came to that has ended",
      },
    },
  },
} as const satisfies Record<string, VerbDescription>;

export type PolicyVerbName = keyof typeof POLICY_VERBS;

export function isPolicyVerb(name: string | undefined): name is PolicyVerbName {
  return name !== undefined && Object.hasOwn(POLICY_VERBS, name);
}

export type VerbName = keyof typeof VERBS;

export function isVerb(name: string): name is VerbName {
  return Object.hasOwn(VERBS, name);
}
