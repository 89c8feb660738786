/** The page of `sluice ui`: what the API tells, once a second, and what people do with it. */

import { formatTargetEnd } from "../control/end-text.ts";
import {
  arrange,
  FlowRates,
  keepOrder,
  type RatedFlow,
  remoteLabel,
  SORTS,
  type Sort,
} from "../control/flow-rates.ts";
import type { ControlEvent, CountersResource, Flow, Question, State } from "../control/schema.ts";
import { formatOctets } from "../supervisor/octets.ts";
import { Api, ApiError } from "./api.ts";
import { byId, make, setRows, setText } from "./elements.ts";
import { FlowTable } from "./flow-table.ts";
import { formatIdle, Rates } from "./format.ts";
import { type QuestionAnswer, QuestionList } from "./questions.ts";
import { RateChart } from "./rate-chart.ts";

const PERIOD_MS = 1000;
/** Asking takes no more than this share of the time. */
const LEAST_PAUSE = 3;
const QUESTIONS_MAX = 100;
const MESSAGE_MS = 6000;
/** How each is sorted, for `aria-sort`. */
const DIRECTIONS: Readonly<Record<Sort, "ascending" | "descending">> = {
  rate: "descending",
  octets: "descending",
  idle: "ascending",
  name: "ascending",
};

class Page {
  readonly #api = new Api();
  readonly #rates = new Rates();
  readonly #drops = new Rates();
  readonly #flowRates = new FlowRates();
  readonly #chart = new RateChart(byId("chart", HTMLDivElement));
  readonly #filter = byId("filter", HTMLInputElement);
  readonly #dialog = byId("why", HTMLDialogElement);
  readonly #table: FlowTable;
  readonly #dns: string[][] = [];
  readonly #questions: QuestionList;
  #all: readonly RatedFlow[] = [];
  #sort: Sort = "rate";
  #asked: RatedFlow | undefined;
  #messageTimer: number | undefined;

  constructor() {
    this.#table = new FlowTable(
      byId("scroller", HTMLDivElement),
      byId("table", HTMLTableElement),
      byId("rows", HTMLTableSectionElement),
      { why: (flow) => void this.#why(flow), kill: (flow) => void this.#kill(flow) },
    );
    this.#questions = new QuestionList(
      byId("questions", HTMLElement),
      byId("question-list", HTMLUListElement),
      this.#filter,
      (question, answer) => void this.#answer(question, answer),
    );
    this.#filter.addEventListener("input", () => this.#showFlows(false));
    for (const button of document.querySelectorAll<HTMLButtonElement>("button[data-sort]")) {
      button.addEventListener("click", () => this.#sortBy(button.dataset["sort"] ?? ""));
    }
    byId("why-close", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
    this.#dialog.addEventListener("close", () => this.#table.takeFocusBack());
    byId("why-kill", HTMLButtonElement).addEventListener("click", () => this.#killAsked());
    this.#sortBy(this.#sort);
  }

  start(): void {
    void this.#poll();
    void this.#api.listen(["dns", "records-lost", "question", "question-answered"], (event) =>
      this.#hear(event),
    );
  }

  async #poll(): Promise<void> {
    for (;;) {
      const begun = performance.now();
      await this.#refresh();
      const took = performance.now() - begun;
      await new Promise((resolve) => setTimeout(resolve, Math.max(PERIOD_MS - took, took * LEAST_PAUSE)));
    }
  }

  async #refresh(): Promise<void> {
    try {
      const [state, counters, flows, questions] = await Promise.all([
        this.#api.state(),
        this.#api.counters(),
        this.#api.flows(),
        this.#api.questions(),
      ]);
      this.#showState(state);
      this.#showCounters(counters);
      this.#takeFlows(flows);
      this.#showQuestions(questions);
    } catch (error) {
      this.#tell(reasonOf(error), true);
    }
  }

  #showState({ name, link, uptimeMs, network, command, version }: State): void {
    if (byId("status", HTMLElement).className === "bad") this.#tell("", false);
    setText(byId("name", HTMLElement), name);
    document.title = `sluice ${name}`;
    const state = link.pulled ? "pulled" : link.up ? "up" : "down";
    const facts = [
      `${command}, ${link.name} is ${state}`,
      `guest ${network.guest}`,
      `up ${formatIdle(uptimeMs)}`,
      `version ${version}`,
    ];
    setText(byId("facts", HTMLElement), facts.join(" · "));
  }

  #showCounters({ counters, drops }: CountersResource): void {
    const atMs = Date.now();
    const rate = this.#rates.update(counters, atMs);
    const [from, to] = [rate("link-octets-from-guest"), rate("link-octets-to-guest")];
    this.#chart.add(atMs, from, to);
    setText(byId("rate-from", HTMLOutputElement), `${formatOctets(from)}/s`);
    setText(byId("rate-to", HTMLOutputElement), `${formatOctets(to)}/s`);
    const counts = drops as Readonly<Record<string, number>>;
    const dropRate = this.#drops.update(counts, atMs);
    const rows = Object.entries(counts)
      .sort(([, a], [, b]) => b - a)
      .map(([reason, count]) => [reason, String(count), `${Math.round(dropRate(reason))}/s`]);
    setRows(byId("drops", HTMLElement), rows, 1);
    byId("drops-none", HTMLElement).hidden = rows.length > 0;
  }

  #takeFlows(flows: readonly Flow[]): void {
    this.#all = this.#flowRates.rate(flows, performance.now());
    // The browser gives the focus back to the row it was on: that row must still show the flow that was asked about.
    this.#showFlows(this.#table.isHeld || this.#dialog.open);
  }

  /** `held`: every flow stays where it stands. */
  #showFlows(held: boolean): void {
    const { value } = this.#filter;
    const arranged = arrange(this.#all, this.#sort, value);
    this.#table.show(held ? keepOrder(arranged, this.#table.flows) : arranged);
    const all = `${this.#all.length} flow${this.#all.length === 1 ? "" : "s"}`;
    setText(byId("count", HTMLElement), value === "" ? all : `${arranged.length} of ${all}`);
  }

  #sortBy(name: string): void {
    const sort = SORTS.find((each) => each === name);
    if (sort === undefined) return;
    this.#sort = sort;
    for (const button of document.querySelectorAll<HTMLButtonElement>("button[data-sort]")) {
      const heading = button.closest("th");
      if (button.dataset["sort"] === sort) heading?.setAttribute("aria-sort", DIRECTIONS[sort]);
      else heading?.removeAttribute("aria-sort");
    }
    this.#showFlows(false);
  }

  #hear(event: ControlEvent): void {
    if (event.type === "records-lost") this.#tell(`${event.count} records were lost`, false);
    if (event.type === "question" || event.type === "question-answered") void this.#askForQuestions();
    if (event.type !== "dns") return;
    const { name, questionType, rcode, addresses, durationMs } = event;
    const answer = rcode === null ? "no answer" : addresses.length > 0 ? addresses.join(", ") : rcode;
    this.#dns.unshift([`${name} ${questionType}`, answer, `${Math.round(durationMs)} ms`]);
    this.#dns.splice(QUESTIONS_MAX);
    setRows(byId("dns", HTMLElement), this.#dns, 2);
    byId("dns-none", HTMLElement).hidden = true;
  }

  #showQuestions(questions: readonly Question[]): void {
    const [first] = this.#questions.show(questions);
    if (first !== undefined) this.#tell(`${formatTargetEnd(first)} waits for an answer`, false);
  }

  async #askForQuestions(): Promise<void> {
    try {
      this.#showQuestions(await this.#api.questions());
    } catch {
      // The next refresh tells people.
    }
  }

  async #answer(question: Question, answer: QuestionAnswer): Promise<void> {
    try {
      await this.#api.answer(question.id, answer);
      const said = answer.verdict === "allow" ? "allowed" : "refused";
      this.#tell(`${formatTargetEnd(question)} was ${said}`, false);
    } catch (error) {
      this.#tell(reasonOf(error), true);
    }
    await this.#askForQuestions();
  }

  async #why(flow: RatedFlow): Promise<void> {
    try {
      const { lines } = await this.#api.why(String(flow.id));
      this.#asked = flow;
      setText(byId("why-title", HTMLElement), `Why: ${remoteLabel(flow)}, flow ${flow.id}`);
      byId("why-lines", HTMLElement).replaceChildren(
        ...lines.flatMap(({ label, text }) => [make("dt", "", label), make("dd", "", text)]),
      );
      this.#dialog.showModal();
    } catch (error) {
      this.#tell(reasonOf(error), true);
    }
  }

  #killAsked(): void {
    this.#dialog.close();
    if (this.#asked !== undefined) void this.#kill(this.#asked);
  }

  async #kill(flow: RatedFlow): Promise<void> {
    try {
      await this.#api.kill(flow.id);
      this.#tell(`Flow ${flow.id} to ${remoteLabel(flow)} was reset`, false);
      await this.#refresh();
    } catch (error) {
      this.#tell(reasonOf(error), true);
    }
  }

  /** Says something to everybody, screen readers included; what is bad stays until it is not. */
  #tell(text: string, isBad: boolean): void {
    const status = byId("status", HTMLElement);
    clearTimeout(this.#messageTimer);
    setText(status, text);
    status.className = isBad ? "bad" : "";
    if (!isBad && text !== "") this.#messageTimer = setTimeout(() => setText(status, ""), MESSAGE_MS);
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof ApiError && error.status === 401) {
    return "This page needs the whole address that sluice ui printed, with what follows the #";
  }
  if (error instanceof ApiError) return error.message;
  return "sluice ui does not answer any more";
}

new Page().start();
