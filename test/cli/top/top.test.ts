/** `sluice top`: what keys do, what the screen shows at any size, and that no text of a guest moves a cursor. */
import { describe, expect, it } from "vitest";
import { type Controls, INITIAL, press, selectedIndex } from "../../../src/cli/top/controls.ts";
import { keysOf } from "../../../src/cli/top/keys.ts";
import { fitTo, formatDuration, renderOnce, renderTop, type TopScreen } from "../../../src/cli/top/render.ts";
import { arrange, FlowRates, keepOrder, type RatedFlow } from "../../../src/control/flow-rates.ts";
import type { Flow } from "../../../src/control/schema.ts";
import { standInFlow } from "../../support/stand-in-api.ts";

const flow = (id: number, more: Partial<RatedFlow> = {}): RatedFlow => ({
  id,
  protocol: "tcp",
  direction: "out",
  state: "ESTABLISHED",
  guest: `10.0.2.15:${40_000 + id}`,
  remote: `203.0.113.${id % 250}:443`,
  names: id % 2 === 0 ? [`host-${id}.example.com`] : [],
  octetsFromGuest: 1000 * id,
  octetsToGuest: 2000 * id,
  rateFromGuest: 10 * id,
  rateToGuest: 20 * id,
  idleMs: 1000 * id,
  ...more,
});

const screen = (more: Partial<TopScreen> = {}): TopScreen => ({
  summary: {
    name: "agent-7",
    uptimeMs: 8_100_000,
    linked: true,
    fromGuest: 1_234_567,
    toGuest: 34_500_000,
    drops: [
      { name: "destination-refused", count: 200, rate: 4 },
      { name: "icmp", count: 100, rate: 0 },
    ],
    dnsQueries: { name: "dns-queries", count: 120, rate: 3 },
    lastQuestion: "packages.example.com A: 203.0.113.91",
  },
  flows: [flow(4), flow(3), flow(2), flow(1)],
  total: 4,
  sort: "rate",
  filter: "",
  selected: 1,
  color: false,
  ...more,
});

describe("the screen", () => {
  it("at 80x24", () => {
    const lines = renderTop(screen(), { columns: 80, rows: 24 });
    expect(lines.slice(0, 9)).toEqual([
      "sluice agent-7   up 2 h   link up   from guest 1.2 MB/s   to guest 34.5 MB/s",
      "4 flows, by rate",
      "300 dropped (4/s): destination-refused 200, icmp 100",
      "120 DNS questions (3/s), last: packages.example.com A: 203.0.113.91",
      " PROTO  STATE         REMOTE                               UP/S   DOWN/S    IDLE",
      " tcp    ESTABLISHED   host-4.example.com:443               40 B     80 B     4 s",
      ">tcp    ESTABLISHED   203.0.113.3:443                      30 B     60 B     3 s",
      " tcp    ESTABLISHED   host-2.example.com:443               20 B     40 B     2 s",
      " tcp    ESTABLISHED   203.0.113.1:443                      10 B     20 B     1 s",
    ]);
    expect(lines.length).toBe(24);
    expect(lines.at(-1)).toBe("q quit  up/down  enter why  x kill  s sort  / filter  p pause");
  });

  it("at 200x60 has every column", () => {
    const lines = renderTop(screen(), { columns: 200, rows: 60 });
    expect(lines[4]?.trim().split(/\s+/)).toEqual([
      ...["PROTO", "DIR", "STATE", "GUEST", "REMOTE", "ADDRESS", "UP/S", "DOWN/S", "UP", "DOWN", "IDLE"],
    ]);
    expect(lines[5]).toContain("10.0.2.15:40004");
    expect(lines.length).toBe(60);
  });

  const flows = Array.from({ length: 10_000 }, (_, i) => flow(i + 1));
  it.each([
    [80, 24],
    [200, 60],
    [40, 10],
    [20, 5],
    [10, 1],
  ])("never has more than %i columns and %i rows", (columns, rows) => {
    const details = [{ label: "because", text: "word ".repeat(100) }] as const;
    for (const selected of [0, 5000, 9999]) {
      for (const more of [{}, { details }, { prompt: "filter: ".repeat(40) }]) {
        const lines = renderTop(screen({ flows, total: 10_000, selected, ...more }), { columns, rows });
        expect(lines.length).toBeLessThanOrEqual(rows);
        for (const line of lines) expect(line.length).toBeLessThanOrEqual(columns);
      }
    }
  });

  it("shows the flow that is pointed at, in 10,000", () => {
    const lines = renderTop(screen({ flows, total: 10_000, selected: 7000 }), { columns: 80, rows: 24 });
    expect(lines.filter((line) => line.startsWith(">"))).toEqual([
      expect.stringContaining("203.0.113.1:443"),
    ]);
  });

  it("colors by attributes alone, and resets them", () => {
    const lines = renderTop(screen({ color: true }), { columns: 80, rows: 24 });
    expect(lines.some((line) => line.startsWith("\u001b[7m"))).toBe(true);
    for (const line of lines.filter((each) => each.includes("\u001b")))
      expect(line.endsWith("\u001b[0m")).toBe(true);
  });

  it("breaks why between words, with its label once", () => {
    const details = [{ label: "because", text: `${"word ".repeat(20)}end` }] as const;
    const lines = renderTop(screen({ details }), { columns: 80, rows: 24 });
    const at = lines.indexOf("Why (escape closes)");
    expect(lines[at + 1]).toMatch(/^because {3}word word/);
    expect(lines[at + 2]).toMatch(/^ {10}word.*end$/);
  });

  it("lets no control octet of a guest through, in any place", () => {
    const evil = "\u001b]0;owned\u0007\u001b[2J\r\n\u009b1m\u202e";
    const bad = flow(1, { names: [evil], remote: evil, guest: evil, state: evil });
    const summary = { ...screen().summary, name: evil, lastQuestion: evil };
    const shown = screen({ flows: [bad], summary, filter: evil, prompt: evil });
    const lines = renderTop(
      { ...shown, details: [{ label: "names", text: evil }] },
      { columns: 200, rows: 60 },
    );
    for (const line of lines) expect(line).toMatch(/^[\x20-\x7e]*$/);
    expect(renderOnce(shown)).toMatch(/^[\n\x20-\x7e]*$/);
  });
});

it("one table for pipes has all flows, wide as they are", () => {
  const text = renderOnce(screen({ flows: Array.from({ length: 200 }, (_, i) => flow(i + 1)) }));
  expect(text.trimEnd().split("\n").length).toBe(205);
  expect(text).toContain("203.0.113.2:443");
  expect(text).toContain("host-2.example.com");
});

it("texts are cut in the middle", () => {
  expect(fitTo("packages.example.com:443", 14)).toBe("packag..om:443");
  expect([fitTo("abc", 2), fitTo("abc", 0), fitTo("abc", 3)]).toEqual(["ab", "", "abc"]);
});

it("durations", () => {
  expect([0, 950, 1000, 119_000, 120_000, 7_200_000, 200_000_000].map(formatDuration)).toEqual([
    ...["0 ms", "950 ms", "1 s", "119 s", "2 min", "2 h", "2 d"],
  ]);
});

describe("keys", () => {
  it("of terminals", () => {
    expect(keysOf("\u001b[A\u001bOB\u001b[5~\u001b[6~q/\r\u007f\u0003")).toEqual([
      ...["up", "down", "page-up", "page-down", "q", "/", "enter", "backspace", "quit"],
    ]);
    expect(keysOf("\u001b")).toEqual(["escape"]);
    expect(keysOf("\u001b[1;5C\u001b[200~ü\u0000")).toEqual([]);
  });

  const ids = [10, 20, 30, 40];
  const shown = { ids, page: 2 };
  const pressed = (keys: readonly string[], controls: Controls = INITIAL): Controls =>
    keys.reduce((state, key) => press(state, key, shown).controls, controls);

  it("move", () => {
    expect(pressed(["down"]).selectedId).toBe(20);
    expect(pressed(["down", "down", "up"]).selectedId).toBe(20);
    expect(pressed(["page-down"]).selectedId).toBe(30);
    expect(pressed(["end"]).selectedId).toBe(40);
    expect(pressed(["end", "down"]).selectedId).toBe(40);
    expect(pressed(["end", "home", "up"]).selectedId).toBe(10);
  });

  it("point at a flow, wherever it goes, and at its place once it has ended", () => {
    const controls = pressed(["down"]);
    expect(selectedIndex(controls, [40, 30, 20, 10])).toBe(2);
    expect(selectedIndex(controls, [10, 30, 40])).toBe(1);
    expect(selectedIndex(controls, [])).toBe(0);
  });

  it("filter", () => {
    expect(pressed(["/", "a", "q", "b", "backspace", "enter"])).toMatchObject({ filter: "aq", mode: "list" });
    expect(pressed(["/", "a", "escape"])).toMatchObject({ filter: "", mode: "list" });
  });

  it("kill after a yes, and only then", () => {
    const asked = pressed(["down", "x"]);
    expect(asked.mode).toBe("confirm");
    expect(press(asked, "y", shown).wish).toEqual({ do: "kill", id: 20 });
    expect(press(asked, "n", shown)).toEqual({ controls: { ...asked, mode: "list" } });
  });

  it("ask why, sort, pause, quit", () => {
    expect(press(INITIAL, "enter", shown).wish).toEqual({ do: "why", id: 10 });
    expect(press(INITIAL, "escape", shown).wish).toEqual({ do: "close-why" });
    expect(pressed(["s"]).sort).toBe("octets");
    expect(pressed(["s", "s", "s", "s"]).sort).toBe("rate");
    expect(pressed(["p"]).paused).toBe(true);
    expect(press(INITIAL, "q", shown).wish).toEqual({ do: "quit" });
    expect(press(pressed(["/"]), "quit", shown).wish).toEqual({ do: "quit" });
    expect(press(INITIAL, "enter", { ids: [], page: 2 }).wish).toBeUndefined();
  });
});

describe("flows", () => {
  const listed = (id: number, from: number, to: number): Flow =>
    standInFlow(id, { octetsFromGuest: from, octetsToGuest: to });

  it("have rates from one listing to the next", () => {
    const rates = new FlowRates();
    expect(rates.rate([listed(1, 100, 100)], 1000)[0]).toMatchObject({ rateFromGuest: 0, rateToGuest: 0 });
    const [one, two] = rates.rate([listed(1, 300, 100), listed(2, 50, 0)], 3000);
    expect(one).toMatchObject({ rateFromGuest: 100, rateToGuest: 0 });
    expect(two).toMatchObject({ rateFromGuest: 25 });
    const closing = standInFlow(1, { state: "CLOSE-WAIT", names: ["late.example"], idleMs: 7, ageMs: 9 });
    expect(rates.rate([closing], 4000)).toEqual([
      expect.objectContaining({ id: 1, state: "CLOSE-WAIT", names: ["late.example"], idleMs: 7, ageMs: 9 }),
    ]);
    expect(rates.rate([listed(2, 90, 0)], 5000)[0]).toMatchObject({ rateFromGuest: 90 });
  });

  it("are sorted and filtered by anything that is shown of them", () => {
    const flows = [flow(1), flow(2), flow(3), flow(12)];
    const ids = (sort: "rate" | "octets" | "idle" | "name", filter = "") =>
      arrange(flows, sort, filter).map(({ id }) => id);
    expect(ids("rate")).toEqual([12, 3, 2, 1]);
    expect(ids("idle")).toEqual([1, 2, 3, 12]);
    expect(ids("name")).toEqual([1, 3, 12, 2]);
    expect(ids("octets", "HOST-2")).toEqual([2]);
    expect(ids("rate", "40012")).toEqual([12]);
  });

  it("keep their order while somebody points at one", () => {
    const before = [flow(3), flow(1), flow(2)];
    expect(keepOrder([flow(2), flow(9), flow(1)], before).map(({ id }) => id)).toEqual([1, 2, 9]);
  });
});
