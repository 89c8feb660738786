/**
 * The library: an engine inside another program.
 *
 *     import { createEngine } from "sluice";
 *     const engine = await createEngine({ qemuListen: "unix:/tmp/vm.sock", ports: ["2222:22"] });
 *
 * Options are those of `sluice run` with their names in camel case, in the same forms, validated by the same table.
 * The engine runs in the calling process, unconfined, one at a time; the command runs it in a process of its own.
 */

import {
  type CommandOnly,
  isCommandOnly,
  type PropertyOf,
  type PropertyValue,
  propertyOf,
} from "./config/option-property.ts";
import { OptionSet } from "./config/option-set.ts";
import { definitionOf, type OptionName, optionsOf } from "./config/option-table.ts";
import { planHost, planLink } from "./config/plan.ts";
import type { PolicyDocument } from "./config/policy/schema.ts";
import { checkStandIns } from "./config/policy-plan.ts";
import { ConfigError, nearest } from "./config/problem.ts";
import type { EngineRecord } from "./control/records.ts";
import type {
  CaptureResource,
  CaptureStreamQuery,
  ControlEvent,
  Dns,
  EventType,
  PolicyChangeResource,
  PolicyResource,
  PolicyRuleResource,
  Question,
  State,
  Why,
} from "./control/schema.ts";
import type { Logger } from "./engine/boundary.ts";
import type { PolicyConfig } from "./engine/config.ts";
import type { Allow } from "./host/asked-program.ts";
import { isPcapng } from "./host/captures/pcap-file.ts";
import type { EngineHostOptions, LinkSpec } from "./host/engine-options.ts";
import { planEngineHere } from "./host/engine-plan.ts";
import { forLink, openTapOf, tapSpec } from "./host/link/tap-opening.ts";
import { OUTBOUND_ALLOWED, resolveOutbound } from "./host/outbound.ts";
import { type LiveForwards, OwnForwards } from "./host/own-forwards.ts";
import { FOLDER_ALLOWED, folderOf } from "./host/served-folder.ts";
import { type Sluice, serve } from "./serve.ts";
import type { Decide } from "./supervisor/decider.ts";
import type { OwnDecider } from "./supervisor/own-decider.ts";
import type { AnswerWish, OwnWatch, RuleWish } from "./supervisor/own-watch.ts";
import { questionRecord } from "./supervisor/question-record.ts";

export type { PolicyDocument } from "./config/policy/schema.ts";
export { ConfigError, type Problem } from "./config/problem.ts";
export type {
  CaptureResource,
  CaptureStreamQuery,
  ControlEvent,
  Decision,
  Dns,
  EventType,
  PolicyChangeResource,
  PolicyResource,
  PolicyRuleResource,
  Question,
  State,
  Why,
} from "./control/schema.ts";
export type { FlowRow, LeaseRow } from "./engine/api.ts";
export type { Logger } from "./engine/boundary.ts";
export type { DenialRow } from "./engine/policy/denials.ts";
export type { Allow, FlowRequest } from "./host/asked-program.ts";
export type { EngineEnd } from "./host/engine-options.ts";
export type { LiveForwards, OwnForward } from "./host/own-forwards.ts";
export { StartError, type StartProblem } from "./host/start-error.ts";
export type { Sluice } from "./serve.ts";
export type { Decide } from "./supervisor/decider.ts";
export type { AnswerWish, RuleWish } from "./supervisor/own-watch.ts";

/** An engine of this process, with what reaches its guest. */
export interface SteeredSluice extends Sluice {
  /** Forwarded ports, those of the options among them. */
  readonly forwards: LiveForwards;
  /** Captures of the link's frames that come and go. */
  readonly captures: OwnCaptures;
  /** The policy, which changes while it is kept. */
  readonly policy: OwnPolicy;
  /** What it is and how it is: link, network, and of each pool what is in use. */
  state(): Promise<State>;
  /** Everything that is counted, as OpenMetrics text for Prometheus. */
  metrics(): Promise<string>;
  /**
   * Why `target` (an address, a name, either with a port, or a flow's number; by default what failed last) does not work, or
   * what became of it. What happened is known from the first call of this or of `on` on, with `remember` from the start. Rejects
   * with a ConfigError for what is no target.
   *
   * @example
   * ```ts
   * import { createEngine } from "sluice";
   *
   * const engine = await createEngine({ qemuListen: "unix:/tmp/vm.sock", restrict: true });
   * const { lines } = await engine.why("203.0.113.7:443");
   * console.log(lines[0]?.label); // unknown
   * await engine.stop();
   * ```
   */
  why(target?: string): Promise<Why>;
  /**
   * The last 256 questions of DNS, the newest first, and which names a policy takes to lead where; of `address` alone, where one
   * is given. Questions are known as what `why` tells is. Rejects with a ConfigError for what is no address.
   */
  dns(address?: string): Promise<Dns>;
  /** Resets every flow with an address, a name, or either with a port. Returns how many; rejects like `why`. */
  killHost(target: string): Promise<number>;
  /**
   * Calls `listener` with each event of a type, from soon on: what `sluice events` tells, and `records-lost` where this process
   * was too busy to read them. Returns what ends that.
   *
   * @example
   * ```ts
   * import { createEngine } from "sluice";
   *
   * const engine = await createEngine({ qemuListen: "unix:/tmp/vm.sock" });
   * const off = engine.on("flow-ended", ({ remote, octetsToGuest }) => {
   *   console.log(remote.address, octetsToGuest);
   * });
   * off();
   * await engine.stop();
   * ```
   */
  on<T extends EventType>(type: T, listener: (event: EventOf<T>) => void): () => void;
}

/** What happened, by its type. */
export type EventOf<T extends EventType> = Extract<ControlEvent, Record<"type", T>>;

/**
 * A policy while it is kept. All but `questions` reject where the engine was made without one: `policy: { version: 1, default:
 * "allow" }` is one that allows everything.
 *
 * @example
 * ```ts
 * import { createEngine } from "sluice";
 *
 * const engine = await createEngine({
 *   qemuListen: "unix:/tmp/vm.sock",
 *   policy: { version: 1, rules: [{ name: "packages", allow: "packages.example.com" }] },
 * });
 * const { generation } = await engine.policy.show();
 * const { added } = await engine.policy.set(
 *   { version: 1, rules: [{ allow: "packages.example.com" }, { name: "database", allow: "10.20.0.7:5432" }] },
 *   { generation },
 * );
 * console.log(added); // [ 'rule-1', 'database' ]
 * const { id } = await engine.policy.addRule({ verdict: "deny", target: "10.20.0.0/16", for: 600 });
 * await engine.policy.removeRule(id);
 * console.log((await engine.policy.show()).generation); // 4
 * await engine.stop();
 * ```
 */
export interface OwnPolicy {
  /** As it holds now, with what its rules have decided. */
  show(): Promise<PolicyResource>;
  /** What a policy would change. Rejects with a ConfigError that has everything wrong with it. */
  check(policy: PolicyDocument | string): Promise<PolicyChangeResource>;
  /**
   * Another policy in place of the one there is; flows that it does not allow are reset, unless `keepOpen`. Rejects like
   * `check`, and when there is another `generation` than this by now.
   */
  set(
    policy: PolicyDocument | string,
    how?: { readonly keepOpen?: boolean; readonly generation?: number },
  ): Promise<PolicyChangeResource>;
  /** A rule in front of all others, for good or for a time. Rejects like `set`. */
  addRule(rule: RuleWish, generation?: number): Promise<PolicyRuleResource>;
  /** Takes a rule out; rejects when there is none of this id, and like `set`. */
  removeRule(id: number, generation?: number): Promise<void>;
  /** Gives a rule its octets anew; rejects when there is no such rule, or it has no limit of bytes. */
  resetBudget(id: number): Promise<void>;
  /** What flows wait for somebody to say, or waited for lately: the open ones first. `on("question", ...)` hears of new ones. */
  questions(): Promise<readonly Question[]>;
  /** Answers one; rejects when there is no such question, or somebody was quicker. */
  answer(id: number, answer: AnswerWish): Promise<void>;
}

/** Captures in pcapng, with what is known of each frame; sixteen at a time. */
export interface OwnCaptures {
  /** Those there are, as they are now. */
  list(): Promise<readonly CaptureResource[]>;
  /** Begins one into a file that is created or overwritten. Rejects with what is wrong with the wish or the file. */
  start(path: string, wish?: CaptureStreamQuery): Promise<CaptureResource>;
  /** Ends it; rejects when there is none of this id. */
  stop(id: number): Promise<CaptureResource>;
  /** The octets of one as they come: it begins when they are first asked for, and ends when whoever reads them stops. */
  stream(wish?: CaptureStreamQuery): AsyncIterable<Uint8Array>;
}

/** `sluice run`'s options as properties: text or numbers for values, lists for those that repeat, booleans for flags. */
export type CommandOptions = {
  readonly [N in Exclude<OptionName, CommandOnly> as PropertyOf<N>]?: PropertyValue<N>;
};

/** What an engine is made by: one link, and whatever else should not be as it is by default. */
export interface SluiceOptions extends CommandOptions {
  /** Where the guest may go: what a policy file says, as an object or as its text. */
  readonly policy?: PolicyDocument | string;
  /** Decides about each new flow, at once or later; by default all that the options and the policy allow may be. */
  readonly allow?: Allow;
  /** Decides about what the policy's rules ask, before people do. Only with a policy. */
  readonly decide?: Decide;
  /** Remember from the start on what failed and was dropped lately, for `why`. */
  readonly remember?: boolean;
  /** Gets what happens, in sentences; nothing by default. */
  readonly log?: Logger;
  /** Called when the guest's link came up or went down; `name` is that of `linkName`. */
  readonly onLink?: (up: boolean, name: string) => void;
}

const SILENT: Logger = { error: () => {}, warn: () => {}, info: () => {}, debug: () => {} };
const HOOKS = ["allow", "decide", "log", "onLink", "policy", "remember"];

const LIBRARY_OPTIONS: ReadonlyMap<string, OptionName> = new Map(
  optionsOf("run")
    .filter((name) => !isCommandOnly(name))
    .map((name) => [propertyOf(name), name]),
);

/** Reads the properties by the option table. Everything wrong is in `problems` of the set. */
function optionSetOf(options: SluiceOptions): OptionSet {
  const set = new OptionSet((name, index) =>
    definitionOf(name).repeat ? `${propertyOf(name)}[${index}]` : propertyOf(name),
  );
  for (const [property, value] of Object.entries(options)) {
    if (HOOKS.includes(property) || value === undefined) continue;
    const name = LIBRARY_OPTIONS.get(property);
    if (name === undefined) set.problems.push(unknownProperty(property));
    else addProperty(set, name, value);
  }
  return set;
}

/** Options of the command that say a part of a policy, as the library's says it. */
const POLICY_WORDS: Readonly<Record<string, string>> = {
  deny: "policy: { rules: [{ deny: TARGET }] }",
  ask: "policy: { rules: [{ ask: TARGET }] }",
  audit: 'policy: { mode: "audit" }',
  policyDefault: 'policy: { default: "deny" }',
  via: "policy: { via: URL }",
};

function unknownProperty(property: string) {
  const instead = Object.hasOwn(POLICY_WORDS, property) ? POLICY_WORDS[property] : undefined;
  if (instead !== undefined) return { place: property, allowed: `a known option, such as ${instead}` };
  const guess = nearest(property, [...LIBRARY_OPTIONS.keys(), ...HOOKS]);
  return { place: property, allowed: `a known option${guess ? `; did you mean ${guess}?` : ""}` };
}

function addProperty(set: OptionSet, name: OptionName, value: unknown): void {
  const { placeholder, repeat, oneWithoutList } = definitionOf(name);
  const isText = (each: unknown): each is string | number =>
    typeof each === "string" || typeof each === "number";
  const wrong = (allowed: string): void => {
    set.problems.push({ place: propertyOf(name), found: String(value), allowed });
  };
  if (placeholder === undefined) {
    if (typeof value !== "boolean") wrong("true or false");
    else if (value) set.add(name);
  } else if (repeat && !(oneWithoutList && isText(value))) {
    if (!Array.isArray(value) || !value.every(isText)) wrong("a list of texts or numbers");
    else for (const each of value) set.add(name, String(each));
  } else if (isText(value)) {
    set.add(name, String(value));
  } else {
    wrong("a text or a number");
  }
}

async function policyOf({ policy }: SluiceOptions, set: OptionSet): Promise<PolicyConfig | null> {
  if (policy === undefined) return null;
  const { readPolicy } = await import("./config/policy/read.ts");
  const source =
    typeof policy === "string" ? { label: "policy", text: policy } : { label: "policy", value: policy };
  const input = { flags: [], source, fallback: undefined, audit: false };
  const config = readPolicy(input, set.problems)?.config ?? null;
  if (config !== null) checkStandIns(config, set);
  return config;
}

function checkDecide({ decide }: SluiceOptions, policy: PolicyConfig | null, set: OptionSet): void {
  if (decide === undefined) return;
  const place = "decide";
  if (typeof decide !== "function")
    set.problems.push({ place, found: String(decide), allowed: "a function" });
  // What is wrong with a policy is told as its own.
  if (policy === null && set.problems.length === 0)
    set.problems.push({ place, allowed: "only with a policy whose rules ask" });
}

/** The program that decides, if there is one. */
async function deciderOf(
  { decide, log = SILENT }: SluiceOptions,
  policy: PolicyConfig | null,
  tell: (record: EngineRecord) => void,
): Promise<OwnDecider | undefined> {
  if (decide === undefined || policy === null) return undefined;
  const { OwnDecider } = await import("./supervisor/own-decider.ts");
  return new OwnDecider(decide, { policy, log, tell });
}

/** What the engine tells the program, and whoever watches. */
function hooksOf(
  options: SluiceOptions,
  tell: (record: EngineRecord) => void,
): Pick<EngineHostOptions, "onLink" | "onQuestion" | "records"> & { allow?: Allow } {
  return {
    onLink: (up, name) => {
      options.onLink?.(up, name);
      tell({ type: "link", atMs: Date.now(), up, name });
    },
    onQuestion: (question) => tell(questionRecord(question)),
    records: options.remember === true,
    ...(options.allow ? { allow: options.allow } : {}),
  };
}

/** What is loaded when it is first used. */
function watchedBy(
  watching: () => Promise<OwnWatch>,
  failed: (error: unknown) => void,
): Omit<SteeredSluice, keyof Sluice | "forwards"> {
  return {
    state: async () => (await watching()).state(),
    metrics: async () => (await watching()).metrics(),
    why: async (target = "") => (await watching()).why(target),
    dns: async (address) => (await watching()).dns(address),
    killHost: async (target) => (await watching()).killHost(target),
    policy: {
      show: async () => (await watching()).policy(),
      check: async (policy) => (await watching()).checkPolicy(policy),
      set: async (policy, { keepOpen = false, generation } = {}) =>
        (await watching()).setPolicy(policy, keepOpen, generation),
      addRule: async (rule, generation) => (await watching()).addRule(rule, generation),
      removeRule: async (id, generation) => (await watching()).removeRule(id, generation),
      resetBudget: async (id) => (await watching()).resetBudget(id),
      questions: async () => (await watching()).questions(),
      answer: async (id, answer) => (await watching()).answer(id, answer),
    },
    captures: {
      list: async () => (await watching()).captures(),
      start: async (path, wish = {}) => (await watching()).startCapture(path, wish),
      stop: async (id) => (await watching()).stopCapture(id),
      stream: async function* (wish = {}) {
        yield* await (await watching()).streamCapture(wish);
      },
    },
    on: (type, listener) => {
      let isOver = false;
      let off = (): void => {};
      watching()
        .then((watch) => {
          if (!isOver) off = watch.on(type, (event) => listener(event as EventOf<typeof type>));
        })
        .catch(failed);
      return () => {
        if (isOver) return;
        isOver = true;
        off();
      };
    },
  };
}

/**
 * Starts an engine and resolves when it serves. Rejects with a ConfigError (wrong options, all of them at once), a
 * StartError (a port that is taken, a TAP that is not ours), or the helper's error for a TAP in another namespace.
 *
 * @example
 * ```ts
 * import { createEngine } from "sluice";
 *
 * const engine = await createEngine({ qemuListen: "unix:/tmp/vm.sock", ports: ["0:22"] });
 * console.log(engine.linkName); // qemu-listen unix:/tmp/vm.sock
 * console.log(engine.forwardPorts.length); // 1
 *
 * setTimeout(() => void engine.stop(), 100);
 * const { reason } = await engine.ended;
 * console.log(reason); // stopped
 * ```
 */
export async function createEngine(options: SluiceOptions): Promise<SteeredSluice> {
  const set = optionSetOf(options);
  const link = planLink(set);
  const config = { ...forLink(await planEngineHere(set), link), policy: await policyOf(options, set) };
  const host = planHost(set, "run");
  const outbound = resolveOutbound(host);
  if (outbound === undefined) set.reject("outbound-addr", OUTBOUND_ALLOWED);
  const tftp = host.tftp === undefined ? undefined : folderOf(host.tftp);
  if (host.tftp !== undefined && tftp === undefined) set.reject("tftp", FOLDER_ALLOWED);
  checkDecide(options, config.policy, set);
  if (set.problems.length > 0 || link === undefined) throw new ConfigError(set.problems);
  const log = options.log ?? SILENT;
  let spec: LinkSpec;
  if (link.kind === "tap") {
    const tap = await openTapOf(link, config, log);
    spec = tapSpec(tap, tap.fd);
  } else {
    spec = link;
  }
  let watch: Promise<OwnWatch> | undefined;
  const watchFailed = (error: unknown): void => {
    log.error(`events are not told: ${(error as Error).message}`);
  };
  const tell = (record: EngineRecord): void => {
    watch?.then((watching) => watching.tell(record)).catch(watchFailed);
  };
  const decider = await deciderOf(options, config.policy, tell);
  const served = await serve({
    config,
    link: spec,
    log,
    oneOff: host.oneOff,
    ...(host.pcap === undefined ? {} : { pcap: host.pcap, pcapng: isPcapng(host.pcap) }),
    ...(tftp === undefined ? {} : { tftp }),
    ...(outbound === undefined ? {} : { outbound }),
    ...hooksOf(options, tell),
    ...decider?.hooks,
  });
  decider?.follow(served.host);
  const forwards = new OwnForwards(served.host, config.forwards, (action, { id, rule }) =>
    tell({ type: "forward", atMs: Date.now(), action, id, rule }),
  );
  const watching = (): Promise<OwnWatch> => {
    watch ??= import("./supervisor/own-watch.ts")
      .then((module) => new module.OwnWatch({ host: served.host, config, forwards, isHeld: decider?.isHeld }))
      .catch((error) => {
        // Whoever asks next tries again.
        watch = undefined;
        throw error;
      });
    return watch;
  };
  return Object.assign(served, { forwards, ...watchedBy(watching, watchFailed) });
}
