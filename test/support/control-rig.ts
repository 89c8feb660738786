/** A control server before an instance that a test holds in its hands. */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { Unacceptable } from "../../src/config/problem.ts";
import { type ControlClient, controlClient } from "../../src/control/client.ts";
import {
  ControlRefusal,
  type FlowFilter,
  type Instance,
  type Measures,
  type PolicyTally,
} from "../../src/control/instance.ts";
import { BoundedMemories } from "../../src/control/memories.ts";
import type { EngineRecord, RecordType } from "../../src/control/records.ts";
import type {
  Answer,
  CaptureRequest,
  CaptureResource,
  Dns,
  Flow,
  ForwardResource,
  PolicyChangeResource,
  PolicyDenial,
  PolicyRequest,
  PolicyResource,
  PolicyRuleResource,
  Question,
  RuleRequest,
  State,
  Why,
} from "../../src/control/schema.ts";
import { ControlServer } from "../../src/control/server.ts";
import type { Forward } from "../../src/engine/config.ts";
import { CONNECT_MS } from "../../src/engine/transport/flow-ledger.ts";
import { STATE_NAMES } from "../../src/engine/transport/tcp/connection.ts";
import { StartError } from "../../src/host/start-error.ts";

const POOL = { used: 1, size: 10 };

export const STATE: State = {
  version: "1.2.3",
  name: "rig",
  command: "run",
  pid: 17,
  enginePid: 18,
  startedAt: "2026-11-28T08:00:00.000Z",
  uptimeMs: 61_500,
  link: { name: "tap tap0", up: true, pulled: false },
  network: {
    mtu: 1500,
    subnet: "10.0.2.0/24",
    gateway: "10.0.2.2",
    dns: "10.0.2.3",
    guest: "10.0.2.15",
    ipv6: null,
  },
  logLevel: "info",
  forwards: 1,
  pools: {
    tcpFlows: POOL,
    udpMappings: POOL,
    dnsQuestions: POOL,
    smallChunks: POOL,
    largeChunks: POOL,
    transmitQueue: POOL,
    reassembly: POOL,
  },
  records: { lost: 0 },
};

export function flowNumber(id: number): Flow {
  return {
    id,
    protocol: "tcp",
    direction: "out",
    state: "ESTABLISHED",
    guest: { address: "10.0.2.15", port: 40_000 + id },
    remote: { address: "203.0.113.7", port: 443 },
    target: { address: "203.0.113.7", port: 443 },
    names: ["www.example.com"],
    forward: null,
    octetsFromGuest: 10,
    octetsToGuest: 2_000_000,
    ageMs: 1500,
    idleMs: 20,
  };
}

const FORWARD: ForwardResource = {
  id: 1,
  rule: "tcp:127.0.0.1:2222:22",
  protocol: "tcp",
  hostAddress: "127.0.0.1",
  hostPort: 2222,
  guestAddress: null,
  guestPort: 22,
  ports: 1,
  origin: "start",
};

const RULE: PolicyRuleResource = {
  id: 1,
  name: "packages",
  verdict: "allow",
  targets: ["packages.example.com"],
  private: false,
  check: null,
  message: null,
  expiresInMs: null,
  allowed: 3,
  denied: 0,
};

const POLICY: PolicyResource = {
  generation: 4,
  default: "deny",
  mode: "enforce",
  rules: [RULE],
  allowed: 0,
  denied: 2,
  text: "version: 1\n",
};

const CHANGE: PolicyChangeResource = {
  generation: 5,
  added: ["new"],
  removed: [],
  kept: 1,
  tests: 0,
  warnings: [],
};

const CAPTURE: CaptureResource = {
  id: 1,
  path: "/tmp/x.pcapng",
  flow: null,
  host: null,
  drops: false,
  startedAt: "2026-11-28T08:00:00.000Z",
  frames: 3,
  octets: 1000,
  lost: 0,
  ended: null,
};

const TALLY: PolicyTally = {
  generation: POLICY.generation,
  rules: [
    { name: 'say "it"', allowed: 3, denied: 1, waitedMs: 1500 },
    { name: "other", allowed: 2, denied: 0, waitedMs: null },
    // As two rules of `sluice allow`.
    { name: 'say "it"', allowed: 4, denied: 0, waitedMs: 250 },
    { name: null, allowed: 0, denied: 7, waitedMs: null },
  ],
  openQuestions: 2,
};

function checkGeneration(expected: number | undefined): void {
  if (expected === undefined || expected === POLICY.generation) return;
  throw new ControlRefusal(412, `the policy is of generation ${POLICY.generation}, not ${expected}`);
}

export class HeldInstance implements Instance {
  /** What was asked of it, in order. */
  readonly asked: unknown[] = [];
  pagesGivenBack = 0;
  flowCount = 5;
  hasPolicy = true;
  readonly memories = new BoundedMemories();
  private readonly readers = new Set<{ types: readonly RecordType[]; read: (r: EngineRecord) => void }>();
  failure: Error | undefined;
  isAttended = false;

  readonly records = {
    subscribe: (types: readonly RecordType[], read: (record: EngineRecord) => void): (() => void) => {
      const reader = { types, read };
      this.readers.add(reader);
      return () => this.readers.delete(reader);
    },
    attend: (isAttended: boolean): void => {
      this.isAttended = isAttended;
    },
  };

  readonly forwards = {
    list: (): readonly ForwardResource[] => [FORWARD],
    add: async (forward: Forward): Promise<ForwardResource> => {
      this.asked.push({ add: forward });
      if (forward.hostPort === 80)
        throw new StartError([{ place: "forward tcp 127.0.0.1:80", reason: "taken" }]);
      return { ...FORWARD, id: 2, hostPort: forward.hostPort };
    },
    remove: async (id: number, cut = false): Promise<void> => {
      this.asked.push({ remove: id, cut });
      if (id !== 1) throw new ControlRefusal(404, `there is no forward ${id}`);
    },
  };

  readonly policy = {
    show: async (): Promise<PolicyResource> => POLICY,
    check: async (request: PolicyRequest): Promise<PolicyChangeResource> => {
      this.asked.push({ check: request });
      return { ...CHANGE, generation: POLICY.generation };
    },
    set: async (request: PolicyRequest, expected?: number): Promise<PolicyChangeResource> => {
      this.asked.push({ set: request, expected });
      checkGeneration(expected);
      return CHANGE;
    },
    addRule: async (request: RuleRequest, expected?: number): Promise<PolicyRuleResource> => {
      this.asked.push({ rule: request });
      checkGeneration(expected);
      if (request.target === "a..b") throw new Unacceptable("a host name", request.target);
      return { ...RULE, id: 9, name: request.target };
    },
    removeRule: async (id: number, expected?: number): Promise<void> => {
      this.asked.push({ removeRule: id });
      checkGeneration(expected);
      if (id !== 1) throw new ControlRefusal(404, `there is no rule ${id}`);
    },
    resetBudget: async (id: number): Promise<void> => {
      this.asked.push({ resetBudget: id });
      if (id !== 1) throw new ControlRefusal(404, `there is no rule ${id}`);
    },
    tally: async (): Promise<PolicyTally | null> => (this.hasPolicy ? TALLY : null),
    questions: async (): Promise<readonly Question[]> => [
      {
        id: 3,
        host: "packages.example",
        port: 443,
        protocol: "tcp",
        rule: "people",
        state: "open",
        count: 4,
        endsInMs: 41_000,
      },
    ],
    answer: async (id: number, answer: Answer): Promise<void> => {
      this.asked.push({ answer, id });
      if (id !== 3) throw new ControlRefusal(404, `there is no question ${id}`);
    },
    denials: async (): Promise<readonly PolicyDenial[]> => [
      {
        host: "evil.example",
        port: 443,
        protocol: "tcp",
        reason: "policy-no-rule",
        rule: null,
        count: 2,
        isPrivate: false,
      },
    ],
  };

  readonly captures = {
    list: async () => [CAPTURE],
    start: async (request: CaptureRequest): Promise<CaptureResource> => {
      this.asked.push({ capture: request });
      return { ...CAPTURE, path: request.path };
    },
    stop: async (id: number): Promise<CaptureResource> => {
      if (id !== CAPTURE.id) throw new ControlRefusal(404, `there is no capture ${id}`);
      return { ...CAPTURE, ended: "stopped" };
    },
    stream: async (wish: object): Promise<Readable> => {
      this.asked.push({ stream: wish });
      return Readable.from([Buffer.from("pcapng")]);
    },
  };

  get listeners(): number {
    return this.readers.size;
  }

  tell(record: EngineRecord): void {
    for (const { types, read } of this.readers) if (types.includes(record.type)) read(record);
  }

  async refresh(): Promise<void> {}

  async keepPort(request: object): Promise<Readable> {
    this.asked.push({ keep: request });
    return Readable.from(["kept\n"]);
  }

  async why(target: string): Promise<Why> {
    this.asked.push({ why: target });
    if (target === "://") throw new Unacceptable("a target", target);
    return { lines: [{ label: "unknown", text: "nothing is remembered" }] };
  }

  async state(): Promise<State> {
    if (this.failure) throw this.failure;
    return STATE;
  }

  async flows(filter: FlowFilter, after: number, limit: number) {
    this.asked.push({ filter, after, limit });
    const end = Math.min(this.flowCount, after + limit);
    const flows = Array.from({ length: end - after }, (_, i) => flowNumber(after + i + 1));
    return { flows, next: end < this.flowCount ? end : null };
  }

  async flowPage(filter: FlowFilter, after: number, limit: number) {
    const octets = Buffer.from(`${JSON.stringify(await this.flows(filter, after, limit))}\n`);
    return { octets, giveBack: () => this.pagesGivenBack++ };
  }

  async killFlow(id: number): Promise<boolean> {
    return id <= this.flowCount;
  }

  async killFlows(filter: FlowFilter): Promise<number> {
    this.asked.push({ kill: filter });
    return 3;
  }

  async leases() {
    return [{ address: "10.0.2.15", mac: "52:54:00:12:34:56", expiresInMs: 3_600_000 }];
  }

  async dns(address?: string): Promise<Dns> {
    this.asked.push({ dns: address });
    const question = {
      at: "2026-11-28T12:00:00.000Z",
      guest: { address: "10.0.2.15", port: 4711 },
      transport: "udp",
      name: "a.example",
      questionType: "A",
      rcode: "NOERROR",
      addresses: ["203.0.113.7"],
      ttlSeconds: 60,
      answeredBy: "resolver",
      durationMs: 3,
    } as const;
    const pin = { address: "203.0.113.7", name: "a.example", endsInMs: 90_000, isStandIn: false };
    return { questions: [{ ...question, addresses: [...question.addresses] }], pins: [pin] };
  }

  async measures(): Promise<Measures> {
    const states = STATE_NAMES.map((name) => (name === "ESTABLISHED" ? 3 : 0));
    const tcp = { states, connects: CONNECT_MS.map(() => 1).concat(2), connectedMs: 12_500 };
    return { state: await this.state(), counters: await this.counters(), tcp };
  }

  async counters() {
    return {
      counters: { "link-octets-from-guest": 7, "tcp-opened": 2, "dns-resolver-nxdomain": 5 },
      drops: { "ipv6-off": 4 },
    };
  }

  async setLogLevel(level: string): Promise<void> {
    this.asked.push({ level });
  }

  async setLink(up: boolean): Promise<void> {
    this.asked.push({ up });
  }

  stop(): void {
    this.asked.push("stop");
  }
}

export class ControlRig {
  readonly instance = new HeldInstance();
  readonly path: string;
  readonly client: ControlClient;
  readonly failures: string[] = [];
  /** Why connections are refused, while it is set. */
  reason: string | undefined;
  private readonly directory = mkdtempSync(join(tmpdir(), "sluice-test-control-"));
  readonly server: ControlServer;
  private readonly listener: Server;

  constructor() {
    this.path = join(this.directory, "rig.sock");
    this.client = controlClient(this.path);
    this.server = new ControlServer({
      instance: this.instance,
      failed: (message) => this.failures.push(message),
    });
    this.listener = createServer({ pauseOnConnect: true }, (socket) => {
      socket.on("error", () => {});
      this.server.accept(socket, this.reason);
    });
  }

  async open(): Promise<this> {
    await new Promise<void>((resolve) => this.listener.listen(this.path, resolve));
    return this;
  }

  close(): void {
    this.server.close();
    this.listener.close();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
