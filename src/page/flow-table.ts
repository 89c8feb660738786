/**
 * The table of flows: only those that can be seen have rows, so that ten thousand cost what thirty do. One row is the
 * active one, which Tab reaches; arrows move it, and screen readers are told of how many rows it is one.
 */
import { type RatedFlow, remoteLabel } from "../control/flow-rates.ts";
import { formatOctets } from "../supervisor/octets.ts";
import { make, setText } from "./elements.ts";
import { formatIdle } from "./format.ts";

const ROW_HEIGHT = 32;
/** Rows beyond what can be seen, at either end. */
const OVERSCAN = 6;

export interface FlowActions {
  why(flow: RatedFlow): void;
  kill(flow: RatedFlow): void;
}

interface Row {
  readonly element: HTMLTableRowElement;
  readonly cells: readonly HTMLTableCellElement[];
  readonly buttons: readonly HTMLButtonElement[];
  flow: RatedFlow | undefined;
}

const CELLS = ["protocol", "state", "guest", "remote", "number rate", "number octets", "number idle"];

export class FlowTable {
  #flows: readonly RatedFlow[] = [];
  readonly #rows: Row[] = [];
  readonly #before = spacer();
  readonly #after = spacer();
  /** The flow that Tab reaches. */
  #activeId = 0;
  #pointedAt = false;

  constructor(
    private readonly scroller: HTMLElement,
    private readonly table: HTMLTableElement,
    private readonly body: HTMLElement,
    private readonly actions: FlowActions,
  ) {
    body.append(this.#before, this.#after);
    scroller.addEventListener("scroll", () => this.#render(), { passive: true });
    body.addEventListener("keydown", (event) => this.#key(event));
    body.addEventListener("click", (event) => this.#click(event));
    body.addEventListener("pointerenter", () => this.#point(true));
    body.addEventListener("pointerleave", () => this.#point(false));
    new ResizeObserver(() => this.#render()).observe(scroller);
  }

  /** Somebody points at a row: rows stay where they are. */
  get isHeld(): boolean {
    return this.#pointedAt || this.#hasFocus;
  }

  get flows(): readonly RatedFlow[] {
    return this.#flows;
  }

  show(flows: readonly RatedFlow[]): void {
    const at = this.#activeIndex;
    this.#flows = flows;
    // Where the active flow has ended, its neighbour is active, not whichever stands first.
    if (this.#activeId !== 0 && !flows.some(({ id }) => id === this.#activeId)) {
      this.#activeId = flows[Math.min(at, flows.length - 1)]?.id ?? 0;
    }
    this.table.setAttribute("aria-rowcount", String(flows.length + 1));
    this.#render();
  }

  /** After a dialog: rows were filled anew under it, and the one that has the focus may show another flow. */
  takeFocusBack(): void {
    this.#render();
  }

  get #hasFocus(): boolean {
    return this.body.contains(document.activeElement);
  }

  #point(on: boolean): void {
    this.#pointedAt = on;
  }

  get #activeIndex(): number {
    const index = this.#flows.findIndex(({ id }) => id === this.#activeId);
    return index < 0 ? 0 : index;
  }

  #render(): void {
    const { clientHeight, scrollTop } = this.scroller;
    const count = this.#flows.length;
    const shown = Math.min(count, Math.ceil(clientHeight / ROW_HEIGHT) + 2 * OVERSCAN);
    const first = Math.max(0, Math.min(Math.floor(scrollTop / ROW_HEIGHT) - OVERSCAN, count - shown));
    const hadFocus = this.#hasFocus;
    const active = this.#activeIndex;
    this.#makeRows(shown);
    setHeight(this.#before, first * ROW_HEIGHT);
    setHeight(this.#after, (count - first - shown) * ROW_HEIGHT);
    this.#rows.forEach((row, i) => {
      this.#fill(row, first + i, first + i === active);
    });
    if (hadFocus) this.#keepFocus(active - first);
  }

  /** The row that had the focus may show another flow now. */
  #keepFocus(at: number): void {
    const row = this.#rows[at];
    if (row === undefined) return;
    const focused = document.activeElement;
    if (row.element.contains(focused)) return;
    const places = this.#rows.map(({ buttons }) => buttons.findIndex((button) => button.matches(":focus")));
    const place = places.find((i) => i >= 0) ?? -1;
    (row.buttons[place] ?? row.element).focus({ preventScroll: true });
  }

  #makeRows(count: number): void {
    while (this.#rows.length < count) {
      const row = makeRow();
      this.#rows.push(row);
      this.#after.before(row.element);
    }
    while (this.#rows.length > count) this.#rows.pop()?.element.remove();
  }

  #fill(row: Row, index: number, isActive: boolean): void {
    const flow = this.#flows[index];
    if (flow === undefined) return;
    row.flow = flow;
    const arrow = flow.direction === "out" ? "out" : "in";
    const pair = (up: number, down: number): string => `${formatOctets(up)}, ${formatOctets(down)}`;
    const texts = [
      `${flow.protocol} ${arrow}`,
      flow.state,
      flow.guest,
      remoteLabel(flow),
      pair(flow.rateFromGuest, flow.rateToGuest),
      pair(flow.octetsFromGuest, flow.octetsToGuest),
      formatIdle(flow.idleMs),
    ];
    texts.forEach((text, i) => {
      const cell = row.cells[i];
      if (cell !== undefined) setText(cell, text);
    });
    const remote = row.cells[3];
    if (remote !== undefined)
      remote.title = flow.names.length > 0 ? `${flow.remote}: ${flow.names.join(", ")}` : flow.remote;
    row.element.setAttribute("aria-rowindex", String(index + 2));
    row.element.tabIndex = isActive ? 0 : -1;
    for (const button of row.buttons) {
      button.tabIndex = isActive ? 0 : -1;
      button.setAttribute("aria-label", `${button.textContent}: ${remoteLabel(flow)}, flow ${flow.id}`);
    }
  }

  #rowOf(event: Event): Row | undefined {
    const target = event.target;
    return target instanceof Node ? this.#rows.find(({ element }) => element.contains(target)) : undefined;
  }

  #click(event: Event): void {
    const row = this.#rowOf(event);
    if (row?.flow === undefined) return;
    const { flow } = row;
    this.#activeId = flow.id;
    if (event.target === row.buttons[0]) this.actions.why(flow);
    else if (event.target === row.buttons[1]) this.actions.kill(flow);
    else row.element.focus();
    this.#render();
  }

  #key(event: KeyboardEvent): void {
    const row = this.#rowOf(event);
    if (row?.flow === undefined) return;
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / ROW_HEIGHT) - 2);
    const steps: Readonly<Record<string, number>> = {
      ArrowDown: 1,
      ArrowUp: -1,
      PageDown: page,
      PageUp: -page,
      Home: -this.#flows.length,
      End: this.#flows.length,
    };
    const step = steps[event.key];
    this.#activeId = row.flow.id;
    const onRow = event.target === row.element;
    if (step !== undefined) this.#move(this.#flows.indexOf(row.flow) + step);
    else if (event.key === "Enter" && onRow) this.actions.why(row.flow);
    else if (event.key === "Delete") this.actions.kill(row.flow);
    else return;
    event.preventDefault();
  }

  /** Makes the flow at `index` the active one, in sight and with the focus. */
  #move(index: number): void {
    const to = Math.max(0, Math.min(index, this.#flows.length - 1));
    const flow = this.#flows[to];
    if (flow === undefined) return;
    this.#activeId = flow.id;
    const { scroller } = this;
    const top = to * ROW_HEIGHT;
    // The heading covers one row's height.
    const room = scroller.clientHeight - 2 * ROW_HEIGHT;
    if (top < scroller.scrollTop) scroller.scrollTop = top;
    else if (top > scroller.scrollTop + room) scroller.scrollTop = top - room;
    this.#render();
    this.#rows.find((row) => row.flow?.id === flow.id)?.element.focus({ preventScroll: true });
  }
}

function makeRow(): Row {
  const element = make("tr");
  const cells = CELLS.map((className) => make("td", className));
  const actions = make("td", "actions");
  const buttons = [make("button", "", "Why"), make("button", "danger", "End")];
  for (const button of buttons) button.type = "button";
  actions.append(...buttons);
  element.append(...cells, actions);
  return { element, cells, buttons, flow: undefined };
}

/** A row as high as those that are not there. */
function spacer(): HTMLTableRowElement {
  const row = make("tr", "space");
  row.setAttribute("aria-hidden", "true");
  row.append(make("td"));
  return row;
}

function setHeight(row: HTMLTableRowElement, height: number): void {
  row.style.height = `${height}px`;
  row.hidden = height === 0;
}
