/**
 * Forwards that are there while somebody in the guest's namespace listens on their port (`-p auto`): once a second the
 * kernel's tables there are read, and what has changed is added or removed like any other forward that comes and goes.
 */
import { forwardRules, onePort } from "../config/forward-rule.ts";
import type { LiveForwards } from "../control/instance.ts";
import type { Logger } from "../engine/boundary.ts";
import type { Forward } from "../engine/config.ts";
import { ephemeralPorts } from "../host/forwards.ts";
import {
  type ListeningPorts,
  ListeningTables,
  type NamespaceEntry,
} from "../host/process/listening-ports.ts";

const INTERVAL_MS = 1000;
const EVERY_PORT = 65_535;

/** A rule of one port. */
type Wanted = Map<string, readonly Forward[]>;

/** The rules there should be, each under its name: one port of `-p`'s forwards for every port that is listened on. */
export function wantedRules(
  forwards: readonly Forward[],
  ports: ListeningPorts,
  ephemeral: { readonly first: number; readonly last: number },
): Wanted {
  const wanted: Wanted = new Map();
  for (const [number, rule] of forwardRules(forwards).entries()) {
    const [first] = rule;
    if (first === undefined) continue;
    const { protocol, hostPort, ports: count = 1 } = first;
    // Of all ports, those of the namespace's own connections come and go too fast to be anybody's service.
    const isAll = count === EVERY_PORT;
    for (const port of ports[protocol]) {
      const isInRange = port >= hostPort && port < hostPort + count;
      if (!isInRange || (isAll && port >= ephemeral.first && port <= ephemeral.last)) continue;
      wanted.set(
        `${number} ${port}`,
        rule.map((forward) => onePort(forward, port)),
      );
    }
  }
  return wanted;
}

export class ListeningForwards {
  /** By name; undefined: the port could not be had, or is being bound. */
  private readonly added = new Map<string, number | undefined>();
  private readonly timer: NodeJS.Timeout;
  private isBusy = false;

  private constructor(
    private readonly tables: ListeningTables,
    private readonly forwards: readonly Forward[],
    private readonly live: LiveForwards,
    private readonly log: Logger,
  ) {
    this.timer = setInterval(() => void this.look(), INTERVAL_MS);
    this.timer.unref();
  }

  /** Rejects with a HelperError. What listens now is forwarded when it resolves. */
  static async start(
    entry: NamespaceEntry,
    forwards: readonly Forward[],
    live: LiveForwards,
    log: Logger,
  ): Promise<ListeningForwards> {
    const all = new ListeningForwards(await ListeningTables.open(entry), forwards, live, log);
    await all.look();
    return all;
  }

  private async look(): Promise<void> {
    if (this.isBusy) return;
    this.isBusy = true;
    try {
      await this.follow(wantedRules(this.forwards, this.tables.read(), ephemeralPorts()));
    } catch (error) {
      this.log.warn(`the ports that are listened on: ${(error as Error).message}`);
    } finally {
      this.isBusy = false;
    }
  }

  private async follow(wanted: Wanted): Promise<void> {
    for (const [name, id] of this.added) {
      if (wanted.has(name)) continue;
      this.added.delete(name);
      if (id !== undefined) await this.live.remove(id);
    }
    for (const [name, rule] of wanted) {
      if (this.added.get(name) !== undefined) continue;
      const known = this.added.has(name);
      this.added.set(name, undefined);
      try {
        const { id } = await this.live.add(...rule);
        this.added.set(name, id);
      } catch (error) {
        // Somebody else has it, and may let go of it: tried again, told of once.
        if (!known) this.log.debug(`a port that is listened on: ${(error as Error).message}`);
      }
    }
  }

  close(): void {
    clearInterval(this.timer);
    this.tables.close();
  }
}
