/**
 * Which code an input reaches, from V8's own precise coverage (the inspector's Profiler domain).
 *
 * V8 tells of a function's blocks only where their count differs from what is around them, so what has been reached is
 * kept the other way round: for each function that ever ran, the stretches that have not. They only get fewer.
 *
 * Counting is on, so that taking the coverage starts it anew. Only functions that are compiled while it runs have
 * their blocks told apart: make one before what it is to watch is loaded.
 */
import { Session } from "node:inspector";

interface Range {
  readonly startOffset: number;
  readonly endOffset: number;
  readonly count: number;
}

interface ScriptCoverage {
  readonly scriptId: string;
  readonly url: string;
  readonly functions: readonly { readonly ranges: readonly Range[] }[];
}

/** From and to, in characters of the script. */
type Stretch = readonly [number, number];

/** What an execution has added: by function, the stretches that still have not been reached. */
export type News = ReadonlyMap<string, readonly Stretch[]>;

function lengthOf(stretches: readonly Stretch[]): number {
  return stretches.reduce((sum, [from, to]) => sum + to - from, 0);
}

function intersection(a: readonly Stretch[], b: readonly Stretch[]): Stretch[] {
  return a.flatMap(([from, to]) =>
    b.map(([start, end]): Stretch => [Math.max(from, start), Math.min(to, end)]).filter(([s, e]) => s < e),
  );
}

/** The stretches of a function that did not run: innermost ranges win, and those of count 0 are what is left over. */
function unreached(ranges: readonly Range[]): Stretch[] {
  return ranges
    .filter(({ count }) => count === 0)
    .map(({ startOffset, endOffset }) => [startOffset, endOffset]);
}

export class Coverage {
  private readonly session = new Session();
  private missing = new Map<string, readonly Stretch[]>();

  /** Scripts whose URL satisfies `isOfInterest` count. */
  constructor(private readonly isOfInterest: (url: string) => boolean) {
    this.session.connect();
    this.session.post("Profiler.enable");
    this.session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });
  }

  /** Functions that have run, and how many of their characters. */
  get reached(): { readonly functions: number; readonly characters: number } {
    let characters = 0;
    for (const [name, stretches] of this.missing) {
      const [, from, to] = name.split(":");
      characters += Number(to) - Number(from) - lengthOf(stretches);
    }
    return { functions: this.missing.size, characters };
  }

  /** What was executed since the last call and never before what has been remembered. */
  takeNews(): News {
    const news = new Map<string, readonly Stretch[]>();
    // Answers of an in-process session come before `post` returns.
    this.session.post("Profiler.takePreciseCoverage", (error, taken) => {
      if (error !== null) throw error;
      for (const { scriptId, url, functions } of taken.result as ScriptCoverage[]) {
        if (!this.isOfInterest(url)) continue;
        for (const { ranges } of functions) this.compare(scriptId, ranges, news);
      }
    });
    return news;
  }

  private compare(scriptId: string, ranges: readonly Range[], news: Map<string, readonly Stretch[]>): void {
    if (ranges[0].count === 0) return;
    const name = `${scriptId}:${ranges[0].startOffset}:${ranges[0].endOffset}`;
    const known = this.missing.get(name);
    if (known !== undefined && known.length === 0) return;
    const now = unreached(ranges);
    if (known === undefined) {
      news.set(name, now);
      return;
    }
    const left = intersection(known, now);
    if (lengthOf(left) < lengthOf(known)) news.set(name, left);
  }

  remember(news: News): void {
    for (const [name, stretches] of news) this.missing.set(name, stretches);
  }

  /** As if nothing had been reached yet. */
  forget(): void {
    this.takeNews();
    this.missing = new Map();
  }

  close(): void {
    this.session.post("Profiler.stopPreciseCoverage");
    this.session.disconnect();
  }
}
