/** Records as an engine tells them, and a stream that a test holds in its hands. */
import type {
  DnsQuestion,
  Dropped,
  EngineRecord,
  FlowEnded,
  FlowOpened,
  RecordStream,
  RecordType,
} from "../../src/control/records.ts";

export const AT_MS = Date.UTC(2026, 11, 1, 9, 30, 12, 512);

const ENDS = {
  flow: 1842,
  protocol: "tcp",
  direction: "out",
  guest: { address: "10.0.2.15", port: 48122 },
  remote: { address: "203.0.113.91", port: 443 },
  target: { address: "203.0.113.91", port: 443 },
  forward: null,
} as const;

export const opened = (more: Partial<FlowOpened> = {}): FlowOpened => ({
  type: "flow-opened",
  atMs: AT_MS - 2411,
  ...ENDS,
  ...more,
});

export const ended = (more: Partial<FlowEnded> = {}): FlowEnded => ({
  type: "flow-ended",
  atMs: AT_MS,
  startMs: AT_MS - 2411,
  ...ENDS,
  octetsFromGuest: 1820,
  octetsToGuest: 46_391,
  packetsFromGuest: 12,
  packetsToGuest: 9,
  connectMs: 23,
  retransmits: 0,
  reason: "closed",
  endedBy: "guest",
  hostError: null,
  ...more,
});

export const dropped = (more: Partial<Dropped> = {}): Dropped => ({
  type: "drop",
  atMs: AT_MS,
  reason: "destination-refused",
  times: 1,
  from: "guest",
  sample: new Uint8Array(64),
  length: 74,
  protocol: "tcp",
  guest: ENDS.guest,
  remote: { address: "169.254.169.254", port: 80 },
  ...more,
});

export const question = (more: Partial<DnsQuestion> = {}): DnsQuestion => ({
  type: "dns",
  atMs: AT_MS,
  guest: { address: "10.0.2.15", port: 53411 },
  transport: "udp",
  name: "packages.example.com",
  questionType: "A",
  rcode: "NOERROR",
  addresses: ["203.0.113.91"],
  ttlSeconds: 60,
  answeredBy: "resolver",
  durationMs: 14,
  ...more,
});

/** A stream of records that are told by hand. */
export class HeldRecords implements RecordStream {
  attend(): void {}

  readonly readers = new Set<{ types: readonly RecordType[]; read: (record: EngineRecord) => void }>();

  subscribe(types: readonly RecordType[], read: (record: EngineRecord) => void): () => void {
    const reader = { types, read };
    this.readers.add(reader);
    return () => this.readers.delete(reader);
  }

  tell(record: EngineRecord): void {
    for (const { types, read } of this.readers) {
      if (record.type === "records-lost" || types.includes(record.type)) read(record);
    }
  }
}
