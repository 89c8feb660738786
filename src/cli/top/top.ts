/** `sluice top` at work: asks the instance, keeps what the screen shows, and does what keys wish for. */
import { setTimeout as sleep } from "node:timers/promises";
import { allFlows } from "../../control/all-flows.ts";
import type { ControlClient } from "../../control/client.ts";
import { arrange, FlowRates, type RatedFlow, remoteLabel } from "../../control/flow-rates.ts";
import type { ControlEvent } from "../../control/schema.ts";
import type { WhyLine } from "../../control/why/rules.ts";
import { type Controls, INITIAL, press, selectedIndex, type Wish } from "./controls.ts";
import { renderOnce, renderTop, type Summary, type Tally, type TopScreen } from "./render.ts";
import type { Terminal } from "./terminal.ts";

/** How often the instance is asked; less often where asking takes more than 2 % of one CPU, ours and its JSON. */
const PERIOD_MS = 1000;
const CPU_SHARE = 0.02;
const PERIOD_MOST_MS = 30_000;
const US_PER_MS = 1000;

export interface TopOptions {
  readonly client: ControlClient;
  readonly color: boolean;
  readonly controls?: Partial<Controls>;
}

/** What the instance said, and what it said before. */
class TopState {
  controls: Controls;
  details: readonly WhyLine[] = [];
  /** Said at the bottom until the next key. */
  message = "";
  readonly #rates = new FlowRates();
  #flows: readonly RatedFlow[] = [];
  #arranged: readonly RatedFlow[] = [];
  #summary: Summary | undefined;
  #counts: Readonly<Record<string, number>> = {};
  #atMs = 0;
  #lastQuestion: string | undefined;

  constructor(private readonly options: TopOptions) {
    this.controls = { ...INITIAL, ...options.controls };
  }

  /** Asks for everything once. */
  async refresh(): Promise<void> {
    const { client } = this.options;
    const [state, counters, flows] = await Promise.all([
      client.state(),
      client.counters(),
      allFlows((after) => client.flowPage({ after })),
    ]);
    const atMs = performance.now();
    const tally = this.#tallies({ ...counters.counters, ...counters.drops }, atMs);
    this.#flows = this.#rates.rate(flows, atMs);
    this.#summary = {
      name: state.name,
      uptimeMs: state.uptimeMs,
      linked: state.link.up,
      fromGuest: tally("link-octets-from-guest").rate,
      toGuest: tally("link-octets-to-guest").rate,
      drops: Object.keys(counters.drops)
        .map(tally)
        .sort((a, b) => b.count - a.count),
      dnsQueries: tally("dns-queries"),
      lastQuestion: this.#lastQuestion,
    };
    this.arrange();
  }

  #tallies(counts: Readonly<Record<string, number>>, atMs: number): (name: string) => Tally {
    const [before, beforeMs] = [this.#counts, this.#atMs];
    this.#counts = counts;
    this.#atMs = atMs;
    const seconds = (atMs - beforeMs) / US_PER_MS;
    return (name) => {
      const count = counts[name] ?? 0;
      const rate = beforeMs === 0 || seconds <= 0 ? 0 : Math.max(0, count - (before[name] ?? 0)) / seconds;
      return { name, count, rate };
    };
  }

  hear(event: ControlEvent): void {
    if (event.type !== "dns") return;
    const { name, questionType, rcode, addresses } = event;
    this.#lastQuestion = `${name} ${questionType}: ${addresses[0] ?? rcode ?? "no answer"}`;
  }

  arrange(): void {
    this.#arranged = arrange(this.#flows, this.controls.sort, this.controls.filter);
  }

  get flows(): readonly RatedFlow[] {
    return this.#arranged;
  }

  /** Undefined before the first answer. */
  get screen(): TopScreen | undefined {
    if (this.#summary === undefined) return undefined;
    const { controls } = this;
    const selected = selectedIndex(
      controls,
      this.#arranged.map(({ id }) => id),
    );
    const prompt = this.#prompt(this.#arranged[selected]);
    return {
      summary: this.#summary,
      flows: this.#arranged,
      total: this.#flows.length,
      sort: controls.sort,
      filter: controls.filter,
      selected,
      color: this.options.color,
      details: this.details,
      ...(prompt === undefined ? {} : { prompt }),
    };
  }

  #prompt(flow: RatedFlow | undefined): string | undefined {
    const { mode, filter, paused } = this.controls;
    if (mode === "filter") return `filter: ${filter}_   (enter keeps it, escape clears it)`;
    if (mode === "confirm" && flow !== undefined) {
      return `reset flow ${flow.id}, ${flow.guest} to ${remoteLabel(flow)}, on both sides? y or n`;
    }
    if (this.message !== "") return this.message;
    return paused ? "paused; p goes on" : undefined;
  }

  /** Does what a key wished for; whatever fails is told at the bottom. True when it was to quit. */
  async fulfil(wish: Wish): Promise<boolean> {
    const { client } = this.options;
    try {
      switch (wish.do) {
        case "quit":
          return true;
        case "close-why":
          this.details = [];
          return false;
        case "why":
          this.details = (await client.why(String(wish.id))).lines;
          return false;
        case "kill":
          await client.killFlow(wish.id);
          this.message = `flow ${wish.id} was reset`;
          return false;
      }
    } catch (error) {
      this.message = (error as Error).message;
      return false;
    }
  }
}

/** Two listings a second apart, printed once: as a table, or a flow a line. */
export async function printTop(options: TopOptions, json: boolean): Promise<string> {
  const state = new TopState(options);
  await state.refresh();
  await sleep(PERIOD_MS);
  await state.refresh();
  if (json) return state.flows.map((flow) => `${JSON.stringify(flow)}\n`).join("");
  const { screen } = state;
  return screen === undefined ? "" : renderOnce(screen);
}

/** Shows the screen until somebody quits. Rejects when the instance has ended. */
export async function watchTop(options: TopOptions, terminal: Terminal): Promise<void> {
  const state = new TopState(options);
  await state.refresh();
  const draw = (): void => {
    const { screen } = state;
    if (screen !== undefined) terminal.draw(renderTop(screen, terminal.size));
  };
  const ending = new AbortController();
  const quit = new Promise<void>((resolve) => {
    ending.signal.addEventListener("abort", () => resolve(), { once: true });
  });
  terminal.press = (key) => {
    state.message = "";
    const shown = { ids: state.flows.map(({ id }) => id), page: Math.max(1, terminal.size.rows - 6) };
    const { controls, wish } = press(state.controls, key, shown);
    const isRearranged = controls.sort !== state.controls.sort || controls.filter !== state.controls.filter;
    state.controls = controls;
    if (isRearranged) state.arrange();
    draw();
    if (wish === undefined) return;
    void state.fulfil(wish).then((isOver) => (isOver ? ending.abort() : draw()));
  };
  terminal.resized = draw;
  terminal.open();
  try {
    draw();
    void hearEvents(options.client, state, ending.signal);
    await Promise.race([quit, refreshAlways(state, draw, ending.signal)]);
  } finally {
    ending.abort();
    terminal.close();
  }
}

async function hearEvents(client: ControlClient, state: TopState, signal: AbortSignal): Promise<void> {
  try {
    for await (const event of client.events(["dns"], signal)) state.hear(event);
  } catch {
    // The instance has ended; the next refresh says so.
  }
}

async function refreshAlways(state: TopState, draw: () => void, signal: AbortSignal): Promise<void> {
  let pauseMs = PERIOD_MS;
  while (!signal.aborted) {
    await sleep(pauseMs, undefined, { signal }).catch(() => {});
    if (signal.aborted || state.controls.paused) continue;
    const before = process.cpuUsage();
    await state.refresh();
    draw();
    const { user, system } = process.cpuUsage(before);
    pauseMs = Math.min(Math.max(PERIOD_MS, (user + system) / US_PER_MS / CPU_SHARE), PERIOD_MOST_MS);
  }
}
