/**
 * A coverage-guided fuzzer: inputs that reach new code join the corpus and are mutated further. Taking the coverage is
 * dear, so it is taken once per batch; only a batch with news is run again, by halves, to see whose they were.
 */
import type { Coverage, News } from "./coverage.ts";
import { mutated, Random } from "./mutate.ts";
import type { FuzzTarget } from "./target.ts";

const BATCH_MIN = 16;
const BATCH_MAX = 1024;
/** Inputs after which a target starts over; a failure is told with all of them. */
const HISTORY_MAX = 2000;
/** An input that takes more CPU time hangs. */
const HANG_MS = 3000;
const SHRINK_TRIES = 3000;

/** CPU time, not the clock's: a run at low priority, or one stopped for a while, does not hang. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

export interface Failure {
  readonly error: Error;
  /** The inputs that lead to it, from a fresh start; one, shrunk, where one is enough. */
  readonly inputs: readonly Uint8Array[];
}

export interface FuzzResult {
  readonly executions: number;
  readonly functions: number;
  readonly characters: number;
  readonly corpus: number;
  readonly seconds: number;
  readonly failure: Failure | null;
}

/** What the fuzzer asks of a coverage. */
export type CoverageSource = Pick<Coverage, "takeNews" | "remember" | "forget" | "reached">;

export interface FuzzOptions {
  readonly seed: number;
  /** CPU seconds of this process. */
  readonly seconds: number;
  readonly executionsMax?: number;
  /** More inputs to start from. */
  readonly inputs?: readonly Uint8Array[];
  readonly coverage: CoverageSource;
  readonly progress?: (line: string) => void;
}

export function fuzz(target: FuzzTarget, options: FuzzOptions): FuzzResult {
  return new Fuzzer(target, options).run();
}

class Fuzzer {
  private readonly random: Random;
  private readonly corpus: Uint8Array[] = [];
  private readonly coverage: CoverageSource;
  private history: Uint8Array[] = [];
  private executions = 0;
  private readonly startMs = cpuMs();

  constructor(
    private readonly target: FuzzTarget,
    private readonly options: FuzzOptions,
  ) {
    this.random = new Random(options.seed);
    this.coverage = options.coverage;
  }

  run(): FuzzResult {
    let failure: Failure | null = null;
    try {
      this.target.reset();
      this.explore();
    } catch (error) {
      failure = this.reduced(error as Error);
    }
    return {
      executions: this.executions,
      ...this.coverage.reached,
      corpus: this.corpus.length,
      seconds: this.seconds,
      failure,
    };
  }

  private get seconds(): number {
    return (cpuMs() - this.startMs) / 1000;
  }

  private get over(): boolean {
    return (
      this.seconds >= this.options.seconds || this.executions >= (this.options.executionsMax ?? Infinity)
    );
  }

  private explore(): void {
    this.coverage.forget();
    for (const input of this.target.seeds()) this.corpus.push(input);
    this.consider([...this.corpus, ...(this.options.inputs ?? [])]);
    if (this.corpus.length === 0) this.corpus.push(Uint8Array.of(0));
    let size = BATCH_MIN;
    let reportedMs = Date.now();
    while (!this.over) {
      const batch = Array.from({ length: size }, () => this.next());
      size = this.consider(batch) ? BATCH_MIN : Math.min(size * 2, BATCH_MAX);
      if (Date.now() - reportedMs > 10_000) {
        reportedMs = Date.now();
        this.options.progress?.(this.status());
      }
    }
  }

  private status(): string {
    const rate = (this.executions / Math.max(this.seconds, 0.001)).toFixed(0);
    return `${this.executions} inputs, ${rate}/s, ${this.coverage.reached.characters} characters of code, corpus of ${this.corpus.length}`;
  }

  /** A child of the corpus; the youngest third is chosen half of the time. */
  private next(): Uint8Array {
    const { corpus, random, target } = this;
    const third = Math.ceil(corpus.length / 3);
    const parent =
      random.below(2) === 0 ? corpus[corpus.length - 1 - random.below(third)] : random.pick(corpus);
    return mutated(random, parent, random.pick(corpus), target.dictionary, target.lengthMax);
  }

  /** Runs the inputs and keeps those that reached something new; whether there were any. */
  private consider(inputs: readonly Uint8Array[]): boolean {
    for (const input of inputs) this.execute(input);
    const news: News = this.coverage.takeNews();
    if (news.size === 0) return false;
    if (inputs.length <= 1) {
      this.coverage.remember(news);
      this.corpus.push(...inputs);
    } else if (!this.over) {
      this.consider(inputs.slice(0, inputs.length >> 1));
      this.consider(inputs.slice(inputs.length >> 1));
    }
    return true;
  }

  private execute(input: Uint8Array): void {
    if (this.history.length >= HISTORY_MAX) {
      this.target.reset();
      this.history = [];
    }
    this.history.push(input);
    this.executions++;
    const startMs = cpuMs();
    this.target.run(input);
    const tookMs = cpuMs() - startMs;
    if (tookMs > HANG_MS) throw new Error(`an input took ${tookMs.toFixed(0)} ms of CPU`);
  }

  private fails(inputs: readonly Uint8Array[]): Error | null {
    try {
      this.target.reset();
      const startMs = cpuMs();
      for (const input of inputs) this.target.run(input);
      this.target.reset();
      return cpuMs() - startMs > HANG_MS ? new Error("hangs") : null;
    } catch (error) {
      return error as Error;
    }
  }

  private reduced(error: Error): Failure {
    const last = this.history[this.history.length - 1];
    if (last === undefined || this.fails([last]) === null) return { error, inputs: this.history };
    let best = last;
    for (let tries = 0; tries < SHRINK_TRIES && best.length > 0; tries++) {
      const at = this.random.below(best.length);
      const length = Math.min(1 + this.random.below(Math.max(1, best.length >> 2)), best.length - at);
      const shorter = new Uint8Array([...best.subarray(0, at), ...best.subarray(at + length)]);
      if (this.fails([shorter]) !== null) best = shorter;
    }
    return { error: this.fails([best]) ?? error, inputs: [best] };
  }
}
