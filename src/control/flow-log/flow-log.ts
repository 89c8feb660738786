/**
 * `--flow-log`: what the guest's flows came to, one JSON object a line, while it happens. It reads the records like any
 * other reader; without it the engine makes no records of flows that ended well.
 */
import type { FlowLogLevel } from "../../config/host-plan.ts";
import type { EngineRecord, RecordStream, RecordType } from "../records.ts";
import { Denials, isDeniedFlow } from "./denials.ts";
import { denial, type EntryContext, entryOf } from "./entry.ts";
import { FlowLines } from "./flow-lines.ts";
import { LineWriter } from "./line-writer.ts";
import type { FlowLogEntry } from "./schema.ts";

const ENDS: readonly RecordType[] = [
  "flow-ended",
  "drop",
  "dns",
  "link",
  "forward",
  "policy",
  "question",
  "question-answered",
];

export interface FlowLogOptions extends EntryContext {
  readonly records: RecordStream;
  /** Open for writing; whoever opened it closes it. */
  readonly fd: number;
  readonly level: FlowLogLevel;
  readonly warn: (message: string) => void;
}

export interface FlowLog {
  /** Writes what is left, and ends. */
  close(): Promise<void>;
}

/** Begins to write. */
export function startFlowLog(options: FlowLogOptions): FlowLog {
  const writer = new LineWriter({
    fd: options.fd,
    failed: ({ message }) => options.warn(`the flow log ends here: ${message}`),
  });
  let lost = 0;
  const tellLost = (): void => {
    if (lost === 0) return;
    const line = asLine(entryOf({ type: "records-lost", atMs: Date.now(), count: lost }, options));
    if (writer.add(line)) lost = 0;
  };
  const write = (line: string): void => {
    tellLost();
    if (!writer.add(line)) lost++;
  };
  const flows = new FlowLines(options);
  const denials = new Denials((record, times) => write(asLine(denial(record, times, options))));
  const read = (record: EngineRecord): void => {
    if (record.type === "flow-ended") write(flows.ended(record));
    else if (record.type === "flow-opened") write(flows.opened(record));
    else if (record.type !== "drop") write(asLine(entryOf(record, options)));
    else if (isDeniedFlow(record)) denials.add(record);
  };
  const types = options.level === "all" ? [...ENDS, "flow-opened" as const] : ENDS;
  const unsubscribe = options.records.subscribe(types, read);
  return {
    close: async () => {
      unsubscribe();
      denials.close();
      await writer.drain();
      tellLost();
      await writer.drain();
      writer.close();
    },
  };
}

function asLine(entry: FlowLogEntry): string {
  return `${JSON.stringify(entry)}\n`;
}
