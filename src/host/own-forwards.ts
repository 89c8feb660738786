/** Forwards of an engine in this process that come and go: this process binds, and the engine serves. */
import { forwardRules, parseForwardRule, ruleText } from "../config/forward-rule.ts";
import { ConfigError, Unacceptable } from "../config/problem.ts";
import type { Forward } from "../engine/config.ts";
import type { EngineHost } from "./engine-host.ts";
import { openable, openForwards } from "./forwards.ts";

/** One rule that is served. */
export interface OwnForward {
  /** Never given twice by an engine; `FlowRow.forward` names it. */
  readonly id: number;
  /** As one would write it, with the port that was bound. */
  readonly rule: string;
  /** Its first port on the host. */
  readonly hostPort: number;
}

/**
 * Ports of the host that lead to the guest; they come and go while it is served.
 *
 * @example
 * ```ts
 * import { createEngine } from "sluice";
 *
 * const engine = await createEngine({ qemuListen: "unix:/tmp/vm.sock" });
 * const { id, hostPort } = engine.forwards.add("0:80");
 * console.log(hostPort > 0); // true
 * console.log(engine.forwards.list().length); // 1
 * console.log(engine.forwards.remove(id, true)); // true
 * await engine.stop();
 * ```
 */
export interface LiveForwards {
  /** Those that are served now, in the order of their ids. */
  list(): readonly OwnForward[];
  /**
   * Binds the ports of a rule in `-p`'s or hostfwd's grammar and serves them: all or none. Throws a ConfigError for what is
   * no rule, a StartError that names every port that cannot be had.
   */
  add(rule: string): OwnForward;
  /** Closes its ports; `cut` resets the connections it has let in. Returns whether there was one. */
  remove(id: number, cut?: boolean): boolean;
}

/** A rule with its ports, as they are served. */
export interface ServedRule {
  readonly id: number;
  readonly rule: readonly Forward[];
  readonly hostPort: number;
  /** Of the engine's options, or added later. */
  readonly origin: "start" | "added";
}

export class OwnForwards implements LiveForwards {
  private readonly rules = new Map<number, ServedRule>();
  private lastId = 0;

  /** `config`: the forwards the engine was started with. */
  constructor(
    private readonly host: EngineHost,
    config: readonly Forward[],
    private readonly changed: (action: "added" | "removed", forward: OwnForward) => void = () => {},
  ) {
    let at = 0;
    for (const rule of forwardRules(config)) {
      this.enter(++this.lastId, rule, host.forwardPorts[at] ?? 0, "start");
      at += rule.length;
    }
  }

  list(): readonly OwnForward[] {
    return this.served().map(shown);
  }

  /** The same with all that is known of them. */
  served(): readonly ServedRule[] {
    return [...this.rules.values()];
  }

  add(rule: string): OwnForward {
    const forwards = openable(parsed(rule));
    const ports = openForwards(forwards).flat();
    const hostPort = ports[0]?.hostPort ?? 0;
    const id = ++this.lastId;
    try {
      this.host.addForward(id, ports);
    } catch (error) {
      this.host.removeForward(id, true);
      throw error;
    }
    const added = this.enter(id, forwards, hostPort, "added");
    this.changed("added", added);
    return added;
  }

  remove(id: number, cut = false): boolean {
    const entry = this.rules.get(id);
    if (entry === undefined) return false;
    this.rules.delete(id);
    const removed = this.host.removeForward(id, cut);
    this.changed("removed", shown(entry));
    return removed;
  }

  private enter(
    id: number,
    rule: readonly Forward[],
    hostPort: number,
    origin: ServedRule["origin"],
  ): OwnForward {
    const entry: ServedRule = { id, rule, hostPort, origin };
    this.rules.set(id, entry);
    return shown(entry);
  }
}

function shown({ id, rule, hostPort }: ServedRule): OwnForward {
  return { id, rule: ruleText(rule, hostPort), hostPort };
}

function parsed(rule: string): Forward[] {
  try {
    return parseForwardRule(rule);
  } catch (error) {
    if (!(error instanceof Unacceptable)) throw error;
    throw new ConfigError([{ place: "rule", found: error.found ?? rule, allowed: error.allowed }]);
  }
}
