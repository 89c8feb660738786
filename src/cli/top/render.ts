/**
 * The screen of `sluice top` as lines of text: a pure function of what is known and how large the terminal is. Every text
 * that a guest may have chosen is made printable first, so that a line has as many columns as characters.
 */
import { type RatedFlow, remoteLabel, type Sort } from "../../control/flow-rates.ts";
import { printable } from "../../control/printable.ts";
import { LABEL_WIDTH, type WhyLine } from "../../control/why/rules.ts";
import { formatOctets } from "../../supervisor/octets.ts";

export interface Size {
  readonly columns: number;
  readonly rows: number;
}

/** A counter and how fast it grows, per second. */
export interface Tally {
  readonly name: string;
  readonly count: number;
  readonly rate: number;
}

/** What the head of the screen tells. */
export interface Summary {
  readonly name: string;
  readonly uptimeMs: number;
  readonly linked: boolean;
  /** Octets a second over the link. */
  readonly fromGuest: number;
  readonly toGuest: number;
  /** Frames and datagrams that were dropped, most frequent first. */
  readonly drops: readonly Tally[];
  readonly dnsQueries: Tally;
  /** The last question, such as `packages.example.com A: 203.0.113.91`. */
  readonly lastQuestion: string | undefined;
}

export interface TopScreen {
  readonly summary: Summary;
  /** In order; `total` counts those that the filter leaves out, too. */
  readonly flows: readonly RatedFlow[];
  readonly total: number;
  readonly sort: Sort;
  readonly filter: string;
  /** Index of the flow that is pointed at. */
  readonly selected: number;
  /** What is asked at the bottom instead of the keys: a filter that is being written, whether to kill. */
  readonly prompt?: string;
  /** Why the flow that is pointed at is as it is, over the lower half. */
  readonly details?: readonly WhyLine[];
  readonly color: boolean;
}

const RESET = "\x1b[0m";
const BOLD = "\x1b[1m";
const INVERSE = "\x1b[7m";

const POINTER = ">";
const NO_POINTER = " ";
const KEYS = "q quit  up/down  enter why  x kill  s sort  / filter  p pause";

interface Column {
  readonly heading: string;
  readonly width: number;
  readonly right?: boolean;
  readonly cell: (flow: RatedFlow) => string;
}

const PROTOCOL: Column = { heading: "PROTO", width: 5, cell: ({ protocol }) => protocol };
const DIRECTION: Column = { heading: "DIR", width: 3, cell: ({ direction }) => direction };
const STATE: Column = { heading: "STATE", width: 12, cell: ({ state }) => state };
const GUEST: Column = { heading: "GUEST", width: 21, cell: ({ guest }) => guest };
const ADDRESS: Column = { heading: "ADDRESS", width: 26, cell: ({ remote }) => remote };
const FROM: Column = { heading: "UP/S", width: 7, right: true, cell: (f) => formatOctets(f.rateFromGuest) };
const TO: Column = { heading: "DOWN/S", width: 7, right: true, cell: (f) => formatOctets(f.rateToGuest) };
const UP: Column = { heading: "UP", width: 7, right: true, cell: (f) => formatOctets(f.octetsFromGuest) };
const DOWN: Column = { heading: "DOWN", width: 7, right: true, cell: (f) => formatOctets(f.octetsToGuest) };
const IDLE: Column = { heading: "IDLE", width: 6, right: true, cell: ({ idleMs }) => formatDuration(idleMs) };
const REMOTE_WIDTH_MIN = 16;
const GAP = 2;

/** The columns that fit, the remote with what is left over. */
function columnsFor(width: number): Column[] {
  const [before, after] =
    width >= 160
      ? [
          [PROTOCOL, DIRECTION, STATE, GUEST],
          [ADDRESS, FROM, TO, UP, DOWN, IDLE],
        ]
      : width >= 110
        ? [
            [PROTOCOL, DIRECTION, STATE, GUEST],
            [FROM, TO, UP, DOWN, IDLE],
          ]
        : [
            [PROTOCOL, STATE],
            [FROM, TO, IDLE],
          ];
  const fixed = [...before, ...after].reduce((sum, column) => sum + column.width + GAP, 0);
  const remote = { heading: "REMOTE", width: Math.max(width - fixed, REMOTE_WIDTH_MIN), cell: remoteLabel };
  return [...before, remote, ...after];
}

function tableLine(columns: readonly Column[], text: (column: Column) => string): string {
  return columns
    .map((column) => {
      const cell = fitTo(text(column), column.width);
      return column.right ? cell.padStart(column.width) : cell.padEnd(column.width);
    })
    .join(" ".repeat(GAP))
    .trimEnd();
}

/** Printable, and no longer than `width`: what is too long loses its middle, for both ends of a name tell something. */
export function fitTo(text: string, width: number): string {
  const safe = printable(text);
  if (safe.length <= width) return safe;
  if (width <= 2) return safe.slice(0, Math.max(width, 0));
  const tail = Math.floor((width - 2) / 2);
  return `${safe.slice(0, width - 2 - tail)}..${safe.slice(safe.length - tail)}`;
}

/** `950 ms`, `12 s`, `3 min`, `2 h`, `4 d`: the largest unit that is at least one, rounded down. */
export function formatDuration(ms: number): string {
  if (ms < 1000) return `${Math.max(0, Math.floor(ms))} ms`;
  const seconds = Math.floor(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86_400)} d`;
}

function summaryLines({ summary, flows, total, sort, filter }: TopScreen): string[] {
  const { name, uptimeMs, linked, fromGuest, toGuest, drops, dnsQueries, lastQuestion } = summary;
  const dropped = drops.reduce((sum, { count }) => sum + count, 0);
  const perSecond = drops.reduce((sum, { rate }) => sum + rate, 0);
  const worst = drops.slice(0, 4).map((drop) => `${drop.name} ${drop.count}`);
  const shown = filter === "" ? `${total} flows` : `${flows.length} of ${total} flows with "${filter}"`;
  return [
    `sluice ${name}   up ${formatDuration(uptimeMs)}   link ${linked ? "up" : "down"}   ` +
      `from guest ${formatOctets(fromGuest)}/s   to guest ${formatOctets(toGuest)}/s`,
    `${shown}, by ${sort}`,
    dropped === 0
      ? "nothing dropped"
      : `${dropped} dropped (${Math.round(perSecond)}/s): ${worst.join(", ")}${drops.length > 4 ? ", ..." : ""}`,
    `${dnsQueries.count} DNS questions (${Math.round(dnsQueries.rate)}/s)` +
      (lastQuestion === undefined ? "" : `, last: ${lastQuestion}`),
  ];
}

/** A line of `sluice why`, broken between words where it is too long, its label in a column of its own. */
function detailLines({ label, text }: WhyLine, width: number): string[] {
  const room = Math.max(width - LABEL_WIDTH - 1, 1);
  const lines: string[] = [];
  for (const word of printable(text).split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= room)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines.map((line, i) => `${(i === 0 ? label : "").padEnd(LABEL_WIDTH)} ${line}`);
}

/** The first of `count` rows to show so that `selected` is among `room` of them, in the middle where that can be. */
function firstRow(selected: number, count: number, room: number): number {
  return Math.max(0, Math.min(selected - Math.floor(room / 2), count - room));
}

/** The whole screen: `size.rows` lines at most, each with no more than `size.columns` columns. */
export function renderTop(screen: TopScreen, size: Size): string[] {
  const { columns: width, rows } = size;
  const paint = (style: string, line: string): string =>
    screen.color ? `${style}${line.padEnd(width)}${RESET}` : line;
  const columns = columnsFor(width - POINTER.length);
  const heading = NO_POINTER + tableLine(columns, (column) => column.heading);
  const lines = [
    ...summaryLines(screen).map((line) => fitTo(line, width)),
    paint(BOLD, fitTo(heading, width)),
  ];
  const details = (screen.details ?? []).flatMap((line) => detailLines(line, width));
  const detailRows = details.length === 0 ? 0 : Math.min(details.length + 1, Math.floor(rows / 2));
  const room = Math.max(0, rows - lines.length - detailRows - 1);
  const first = firstRow(screen.selected, screen.flows.length, room);
  for (let row = first; row < Math.min(first + room, screen.flows.length); row++) {
    const flow = screen.flows[row] as RatedFlow;
    const isSelected = row === screen.selected;
    const cells = tableLine(columns, (column) => column.cell(flow));
    const line = fitTo((isSelected ? POINTER : NO_POINTER) + cells, width);
    lines.push(isSelected ? paint(INVERSE, line) : line);
  }
  while (lines.length < rows - detailRows - 1) lines.push("");
  if (detailRows > 0) {
    lines.push(paint(BOLD, fitTo("Why (escape closes)", width)));
    for (const line of details.slice(0, detailRows - 1)) lines.push(fitTo(line, width));
  }
  lines.push(paint(screen.prompt === undefined ? "" : BOLD, fitTo(screen.prompt ?? KEYS, width)));
  return lines.slice(0, rows);
}

/** One table for pipes and `--once`: the head, and every flow, as wide as it needs to be. */
export function renderOnce(screen: TopScreen): string {
  const columns = [PROTOCOL, DIRECTION, STATE, GUEST, ADDRESS, FROM, TO, UP, DOWN, IDLE].map((column) => ({
    ...column,
    width: screen.flows.reduce(
      (width, flow) => Math.max(width, printable(column.cell(flow)).length),
      column.heading.length,
    ),
  }));
  const name: Column = { heading: "NAME", width: 0, cell: ({ names }) => names[0] ?? "" };
  const row = (text: (column: Column) => string): string => {
    const last = printable(text(name));
    return `${tableLine(columns, text)}${last === "" ? "" : `  ${last}`}`;
  };
  const lines = [
    ...summaryLines(screen).map(printable),
    row((column) => column.heading),
    ...screen.flows.map((flow) => row((column) => column.cell(flow))),
  ];
  return `${lines.join("\n")}\n`;
}
