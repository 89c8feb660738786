/** What keys do to what is shown: a pure step from one state to the next, and what is to be asked of the instance. */
import { SORTS, type Sort } from "../../control/flow-rates.ts";

export interface Controls {
  readonly sort: Sort;
  readonly filter: string;
  /** The flow that is pointed at, by id; 0: the first. */
  readonly selectedId: number;
  /** Index of that flow when it was last seen: whoever takes its place is pointed at once it has ended. */
  readonly selectedAt: number;
  readonly mode: "list" | "filter" | "confirm";
  readonly paused: boolean;
}

export type Wish =
  | { readonly do: "quit" }
  | { readonly do: "why"; readonly id: number }
  | { readonly do: "close-why" }
  | { readonly do: "kill"; readonly id: number };

export const INITIAL: Controls = {
  sort: "rate",
  filter: "",
  selectedId: 0,
  selectedAt: 0,
  mode: "list",
  paused: false,
};

/** Ids of the flows in the order in which they are shown, and how many fit. */
export interface Shown {
  readonly ids: readonly number[];
  readonly page: number;
}

/** The index of the flow that is pointed at, 0 when there is none. */
export function selectedIndex({ selectedId, selectedAt }: Controls, ids: readonly number[]): number {
  const at = ids.indexOf(selectedId);
  if (at >= 0) return at;
  return selectedId === 0 ? 0 : Math.max(0, Math.min(selectedAt, ids.length - 1));
}

/** One key. */
export function press(controls: Controls, key: string, shown: Shown): { controls: Controls; wish?: Wish } {
  if (key === "quit") return { controls, wish: { do: "quit" } };
  switch (controls.mode) {
    case "filter":
      return { controls: editFilter(controls, key) };
    case "confirm":
      return confirm(controls, key, shown);
    case "list":
      return list(controls, key, shown);
  }
}

function editFilter(controls: Controls, key: string): Controls {
  const { filter } = controls;
  if (key === "enter") return { ...controls, mode: "list" };
  if (key === "escape") return { ...controls, mode: "list", filter: "" };
  if (key === "backspace") return { ...controls, filter: filter.slice(0, -1) };
  return key.length === 1 ? { ...controls, filter: filter + key } : controls;
}

function confirm(controls: Controls, key: string, { ids }: Shown): { controls: Controls; wish?: Wish } {
  const back: Controls = { ...controls, mode: "list" };
  const id = ids[selectedIndex(controls, ids)];
  return key === "y" && id !== undefined ? { controls: back, wish: { do: "kill", id } } : { controls: back };
}

function list(controls: Controls, key: string, shown: Shown): { controls: Controls; wish?: Wish } {
  const { ids, page } = shown;
  const at = selectedIndex(controls, ids);
  const id = ids[at];
  const move = (by: number): { controls: Controls } => ({ controls: pointAt(controls, ids, at + by) });
  switch (key) {
    case "q":
      return { controls, wish: { do: "quit" } };
    case "up":
      return move(-1);
    case "down":
      return move(1);
    case "page-up":
      return move(-page);
    case "page-down":
      return move(page);
    case "home":
      return move(-ids.length);
    case "end":
      return move(ids.length);
    case "s":
      return {
        controls: { ...controls, sort: SORTS[(SORTS.indexOf(controls.sort) + 1) % SORTS.length] ?? "rate" },
      };
    case "/":
      return { controls: { ...controls, mode: "filter" } };
    case "p":
      return { controls: { ...controls, paused: !controls.paused } };
    case "enter":
      return id === undefined
        ? { controls }
        : { controls: pointAt(controls, ids, at), wish: { do: "why", id } };
    case "x":
      return { controls: id === undefined ? controls : { ...pointAt(controls, ids, at), mode: "confirm" } };
    case "escape":
      return { controls, wish: { do: "close-why" } };
    default:
      return { controls };
  }
}

function pointAt(controls: Controls, ids: readonly number[], index: number): Controls {
  const selectedAt = Math.max(0, Math.min(index, ids.length - 1));
  return { ...controls, selectedAt, selectedId: ids[selectedAt] ?? 0 };
}
