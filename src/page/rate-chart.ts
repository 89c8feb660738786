/** Rates of the last five minutes, drawn by uPlot in the page's colours. */
import uPlot from "uplot";
import { formatOctets } from "../supervisor/octets.ts";

const SAMPLES_MAX = 300;
const HEIGHT = 168;
const AXIS_WIDTH = 64;
const WINDOW_SECONDS = 300;

export class RateChart {
  readonly #times: number[] = [];
  readonly #from: number[] = [];
  readonly #to: number[] = [];
  #plot: uPlot | undefined;

  constructor(private readonly place: HTMLElement) {
    new ResizeObserver(() => this.#plot?.setSize(this.#size)).observe(place);
    // The colours are the style sheet's, which follows the system's.
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
    this.#draw();
  }

  /** Octets a second, at `atMs` since the epoch. */
  add(atMs: number, from: number, to: number): void {
    this.#times.push(atMs / 1000);
    this.#from.push(from);
    this.#to.push(to);
    for (const list of [this.#times, this.#from, this.#to]) if (list.length > SAMPLES_MAX) list.shift();
    this.#plot?.setData(this.#data);
  }

  get #data(): uPlot.AlignedData {
    return [this.#times, this.#from, this.#to];
  }

  get #size(): { width: number; height: number } {
    return { width: Math.max(this.place.clientWidth, 100), height: HEIGHT };
  }

  #draw(): void {
    const style = getComputedStyle(document.documentElement);
    const color = (name: string): string => style.getPropertyValue(`--${name}`).trim();
    const axis = {
      stroke: color("quiet"),
      grid: { stroke: color("line"), width: 1 },
      ticks: { show: false },
    };
    const line = (name: string): uPlot.Series => ({
      stroke: color(name),
      width: 2,
      points: { show: false },
    });
    this.#plot?.destroy();
    this.#plot = new uPlot(
      {
        ...this.#size,
        legend: { show: false },
        cursor: { show: false },
        scales: {
          x: { range: (_plot, _low, high) => [high - WINDOW_SECONDS, high] },
          y: { range: (_plot, _low, high) => [0, Math.max(high * 1.1, 1000)] },
        },
        series: [{}, line("from"), line("to")],
        axes: [
          { ...axis, size: 30, values: (_plot, ticks) => ticks.map(timeOfDay) },
          { ...axis, size: AXIS_WIDTH, values: (_plot, ticks) => ticks.map((tick) => formatOctets(tick)) },
        ],
      },
      this.#data,
      this.place,
    );
  }
}

/** `09:30:05`, the second where it is not a whole minute. */
function timeOfDay(seconds: number): string {
  const [time = ""] = new Date(seconds * 1000).toTimeString().split(" ");
  return time.endsWith(":00") ? time.slice(0, -3) : time;
}
