/** `sluice why`: from facts to sentences. The same causes made to happen by real clients: test/e2e/why.test.ts. */
import { describe, expect, it } from "vitest";
import type { AskedName, Denial, FlowFilter, Instance } from "../../src/control/instance.ts";
import type { Dropped } from "../../src/control/records.ts";
import type { Flow, ForwardResource, Question } from "../../src/control/schema.ts";
import type { TargetFailure, WhySources } from "../../src/control/why/facts.ts";
import { formatWhy } from "../../src/control/why/rules.ts";
import { formatTarget, parseWhyTarget } from "../../src/control/why/target.ts";
import { answerWhy } from "../../src/control/why/why.ts";
import { defaultEngineConfig, type EngineConfig } from "../../src/engine/config.ts";

const NOW_MS = Date.UTC(2026, 11, 1);
const GUEST = { address: "10.0.2.15", port: 48122 };
const end = (address: string, port: number) => ({ address, port });

interface Known {
  readonly config?: Partial<EngineConfig>;
  readonly denials?: readonly Denial[];
  readonly dropped?: readonly Dropped[];
  readonly failures?: readonly TargetFailure[];
  readonly flows?: readonly Flow[];
  readonly forwards?: readonly ForwardResource[];
  readonly question?: AskedName;
  readonly asked?: readonly Question[];
  readonly addresses?: readonly string[];
  readonly names?: readonly string[];
  readonly drops?: Readonly<Record<string, number>>;
  readonly linkUp?: boolean;
  /** Gets what the flow table is asked for. */
  readonly listings?: FlowFilter[];
}

/** An instance that knows what it is given. */
function sources(known: Known): WhySources {
  const { flows = [], names = [], addresses = [] } = known;
  const instance = {
    memories: {
      namesOf: () => names.map((name) => ({ name, answeredAtMs: NOW_MS - 30_000 })),
      addressesOf: () => addresses,
      denials: () => known.denials ?? [],
      drops: () => known.dropped ?? [],
      failures: () => known.failures ?? [],
      questionOf: () => known.question,
    },
    forwards: { list: () => known.forwards ?? [] },
    policy: { questions: async () => known.asked ?? [] },
    state: async () => ({ link: { up: known.linkUp ?? true } }),
    counters: async () => ({ counters: {}, drops: known.drops ?? {} }),
    flows: async (filter: FlowFilter, after: number, limit: number) => {
      known.listings?.push(filter);
      const { hosts } = filter;
      const fits = ({ remote }: Flow): boolean =>
        hosts === undefined || hosts.some(({ host }) => host === remote.address);
      return { flows: flows.filter((flow) => flow.id > after && fits(flow)).slice(0, limit), next: null };
    },
  } as unknown as Instance;
  return {
    instance,
    config: { ...defaultEngineConfig(), ...known.config },
    nowMs: () => NOW_MS,
  };
}

async function why(target: string, known: Known = {}): Promise<string> {
  const { lines } = await answerWhy(sources(known), target);
  return formatWhy(lines);
}

const denial = (reason: string, remote = end("203.0.113.91", 443), more: Partial<Denial> = {}): Denial => ({
  reason,
  protocol: "tcp",
  guest: GUEST,
  remote,
  firstMs: NOW_MS - 20_000,
  lastMs: NOW_MS - 12_000,
  times: 3,
  ...more,
});
const failure = (hostError: string): TargetFailure => ({
  address: "203.0.113.91",
  port: 443,
  hostError,
  atMs: NOW_MS - 12_000,
  times: 1,
});
const question = (more: Partial<AskedName>): AskedName => ({
  atMs: NOW_MS - 5000,
  questionType: "A",
  rcode: "NOERROR",
  answeredBy: "resolver",
  times: 2,
  ...more,
});
const flow = (more: Partial<Flow> = {}): Flow => ({
  id: 17,
  protocol: "tcp",
  direction: "out",
  state: "ESTABLISHED",
  guest: GUEST,
  remote: end("203.0.113.91", 443),
  target: end("203.0.113.91", 443),
  names: [],
  forward: null,
  octetsFromGuest: 1820,
  octetsToGuest: 46_391,
  ageMs: 60_000,
  idleMs: 4000,
  ...more,
});

describe("a destination that is refused", () => {
  it("by --restrict", async () => {
    const text = await why("203.0.113.91:443", {
      config: { restrict: true },
      denials: [denial("destination-restricted")],
    });
    expect(text).toBe(`\
denied    tcp 10.0.2.15:48122 -> 203.0.113.91:443, 12 s ago, 3 times (destination-restricted)
because   --restrict keeps the guest from everything outside, DNS included
to allow  start without --restrict, or declare it: --guestfwd
`);
  });

  it("because it is the gateway, which is not the host", async () => {
    expect(
      await why("10.0.2.2:8080", { denials: [denial("destination-no-service", end("10.0.2.2", 8080))] }),
    ).toBe(`\
denied    tcp 10.0.2.15:48122 -> 10.0.2.2:8080, 12 s ago, 3 times (destination-no-service)
because   10.0.2.2 is the gateway, which stands for this host only where that was allowed
to allow  --allow-host-loopback, and 10.0.2.2 is this host's own 127.0.0.1
`);
  });

  it("because nothing is there in the guest's own network", async () => {
    expect(
      await why("10.0.2.77", { denials: [denial("destination-no-service", end("10.0.2.77", 5432))] }),
    ).toBe(`\
denied    tcp 10.0.2.15:48122 -> 10.0.2.77:5432, 12 s ago, 3 times (destination-no-service)
because   10.0.2.77 is in the guest's own network, where nothing was declared at this port
to allow  --guestfwd tcp:10.0.2.77:5432-TARGET puts something there
`);
  });

  it("because it is a cloud's metadata service", async () => {
    expect(
      await why("169.254.169.254:80", {
        denials: [denial("destination-refused", end("169.254.169.254", 80))],
      }),
    ).toBe(`\
denied    tcp 10.0.2.15:48122 -> 169.254.169.254:80, 12 s ago, 3 times (destination-refused)
because   169.254.169.254 is link-local, or a cloud's metadata service: what is there may hand out this host's secrets
to allow  --allow-link-local opens all of these addresses
`);
  });

  it("because it is a group", async () => {
    const remote = end("224.0.0.251", 5353);
    const denials = [denial("destination-refused", remote, { protocol: "udp", times: 1 })];
    expect(await why("224.0.0.251", { denials })).toBe(`\
denied    udp 10.0.2.15:48122 -> 224.0.0.251:5353, 12 s ago, once (destination-refused)
because   224.0.0.251 is a multicast group, and groups are not sent to
to allow  --allow-multicast, for queries such as those of mDNS and SSDP
`);
  });

  it("because nobody outside could have it, and because a program said no", async () => {
    const loopback = [denial("destination-refused", end("127.0.0.1", 80))];
    expect(await why("127.0.0.1:80", { denials: loopback })).toContain(
      "127.0.0.1 is no address that anything outside could have",
    );
    expect(await why("203.0.113.91", { denials: [denial("destination-refused")] })).toContain(
      "the program that runs this guest's network said no",
    );
  });

  it("by the policy", async () => {
    expect(await why("203.0.113.91:443", { denials: [denial("policy-no-rule")] })).toBe(`\
denied    tcp 10.0.2.15:48122 -> 203.0.113.91:443, 12 s ago, 3 times (policy-no-rule)
because   no rule of the policy names it, and what none names is denied
to allow  --allow 203.0.113.91:443, or a rule of the policy's file
`);
  });

  it("because the guest has no IPv6", async () => {
    expect(await why("[2001:db8::1]:443")).toBe(`\
denied    [2001:db8::1]:443: the guest has not tried, and would be refused (ipv6-off)
because   the guest has no IPv6
to allow  --ipv6 auto or --ipv6 on
`);
  });

  it("though it has not been tried", async () => {
    expect(await why("169.254.169.254")).toContain(
      "the guest has not tried, and would be refused (destination-refused)",
    );
  });
});

describe("packets that are dropped", () => {
  it("for their source", async () => {
    const guest = end("10.0.2.99", 48122);
    expect(await why("10.0.2.99", { denials: [denial("ipv4-spoofed-source", undefined, { guest })] })).toBe(`\
denied    tcp 10.0.2.99:48122 -> 203.0.113.91:443, 12 s ago, 3 times (ipv4-spoofed-source)
because   the packet came from 10.0.2.99, and the guest's address is 10.0.2.15
to allow  --guest-addr 10.0.2.99 if that is the guest's address, or --guest-addr any
`);
  });

  it("for want of room", async () => {
    const full = await why("203.0.113.91", {
      config: { maxFlows: 64 },
      denials: [denial("flow-table-full")],
    });
    expect(full).toContain("the flow table is full: 64 flows are in use\nto allow  --max-flows N for more");
    expect(await why("203.0.113.91", { denials: [denial("udp-mappings-full")] })).toContain(
      "--max-udp-mappings N",
    );
    expect(await why("203.0.113.91", { denials: [denial("host-socket-failed")] })).toContain("ulimit -n");
  });

  it("for a reason that needs the counters", async () => {
    expect(await why("203.0.113.91", { denials: [denial("tcp-paws")] })).toContain("the reason tcp-paws");
  });

  it("though they are pings", async () => {
    expect(await why("203.0.113.91", { drops: { icmp: 4 } })).toBe(`\
unknown   203.0.113.91: no flow, no denial and no failure is remembered
because   no packet for it came from the guest, or all went well; nothing keeps the guest from it
also      4 ICMP packets of the guest were dropped: sluice carries TCP and UDP, so pings go unanswered
`);
  });
});

describe("a connection that the host could not make", () => {
  it.each([
    ["ECONNREFUSED", "that host is there and refused", ""],
    ["ETIMEDOUT", "nobody answered", ""],
    ["ENETUNREACH", "this host itself has no route there", "to change a route on this host"],
    ["EHOSTUNREACH", "cannot be reached", "to change `ip route get ADDRESS`"],
    ["EMFILE", "sluice has no descriptor left", "to change a higher limit"],
    ["EADDRNOTAVAIL", "no port left", "to change a wider net.ipv4.ip_local_port_range"],
    ["EWHATEVER", "errno(3)", ""],
  ])("for %s", async (error, because, change) => {
    const text = await why("203.0.113.91:443", {
      failures: [failure(error)],
      names: ["packages.example.com"],
    });
    const [head, second, ...rest] = text.trimEnd().split("\n");
    expect(head).toBe(`failed    tcp to 203.0.113.91:443, 12 s ago, once (${error})`);
    expect(second).toMatch(/^because {3}/);
    expect(second).toContain(because);
    expect(rest[0] ?? "").toContain(change);
    expect(rest.at(-1)).toBe("names     packages.example.com (answered 30 s ago)");
  });

  it("is told of rather than an older denial", async () => {
    const denials = [denial("destination-refused", undefined, { lastMs: NOW_MS - 60_000 })];
    expect(await why("203.0.113.91:443", { denials, failures: [failure("ETIMEDOUT")] })).toMatch(/^failed/);
    expect(await why("", { denials, failures: [failure("ETIMEDOUT")] })).toMatch(/^failed/);
    const later = [denial("destination-refused", undefined, { lastMs: NOW_MS - 1000 })];
    expect(await why("", { denials: later, failures: [failure("ETIMEDOUT")] })).toMatch(/^denied/);
  });
});

describe("a name", () => {
  it("that does not exist", async () => {
    expect(await why("no.example.com", { question: question({ rcode: "NXDOMAIN" }) })).toBe(`\
failed    DNS no.example.com A, 5 s ago, 2 times (NXDOMAIN)
because   this host's resolver says that no such name exists
`);
  });

  it("that no resolver knows anything of", async () => {
    expect(
      await why("a.example", { question: question({ rcode: null, answeredBy: "nobody", times: 1 }) }),
    ).toBe(`\
failed    DNS a.example A, 5 s ago, once (no answer)
because   none of this host's resolvers answered in time, or there is none
to change this host's /etc/resolv.conf, or --resolver ADDRESS
`);
    expect(await why("a.example", { question: question({ rcode: "SERVFAIL" }) })).toContain(
      "the last of this host's resolvers said that it failed",
    );
    expect(await why("a.example", { question: question({ rcode: "REFUSED" }) })).toContain("--resolver");
    expect(await why("a.example", { question: question({ rcode: "NOTIMP" }) })).toContain("says NOTIMP");
    expect(await why("a.example", { question: question({ questionType: "AAAA" }) })).toContain(
      "has no AAAA record",
    );
  });

  it("that --restrict keeps from being asked", async () => {
    const asked = question({ rcode: "REFUSED", answeredBy: "sluice" });
    expect(await why("a.example", { config: { restrict: true }, question: asked })).toContain(
      "because   --restrict keeps the guest from everything outside",
    );
  });

  it("that was never asked for", async () => {
    expect(await why("a.example")).toContain("the guest has not asked for this name");
    expect(await why("a.example", { config: { dns: 0 } })).toContain("--no-dns");
  });

  it("leads to what became of its address", async () => {
    const text = await why("packages.example.com:443", {
      question: question({}),
      addresses: ["203.0.113.91", "203.0.113.92"],
      failures: [failure("ECONNREFUSED")],
    });
    expect(text).toContain("failed    tcp to 203.0.113.91:443");
    expect(text).toContain("names     packages.example.com is 203.0.113.91, 203.0.113.92\n");
  });
});

describe("a flow that is there", () => {
  it("is well", async () => {
    expect(await why("17", { flows: [flow()] })).toBe(`\
open      flow 17, tcp 10.0.2.15:48122 -> 203.0.113.91:443, ESTABLISHED
because   nothing is wrong with it that sluice could see: 1820 octets from the guest and 46391 octets to it in 60 s, the last from the guest 4 s ago
`);
  });

  it("waits for the host, for the guest, or for an answer over UDP", async () => {
    const connecting = flow({ state: "CONNECTING", ageMs: 9000 });
    expect(await why("203.0.113.91:443", { flows: [connecting] })).toBe(`\
waiting   flow 17, tcp 10.0.2.15:48122 -> 203.0.113.91:443, CONNECTING
because   this host has been trying to connect for 9 s and had no answer yet
`);
    const inbound = flow({ state: "SYN-SENT", direction: "in", ageMs: 9000 });
    expect(await why("#17", { flows: [inbound] })).toContain("the guest does not answer its SYN");
    const silent = flow({ protocol: "udp", state: "MAPPED", octetsToGuest: 0 });
    expect(await why("17", { flows: [silent] })).toContain("nothing came back; UDP does not tell why");
  });

  it("waits for somebody to answer the policy's question", async () => {
    const question: Question = {
      id: 3,
      host: "db.example.com",
      port: 443,
      protocol: "tcp",
      rule: "ask: *.example.com",
      state: "open",
      count: 1,
      endsInMs: 42_000,
    };
    const known = {
      flows: [flow({ state: "CONNECTING" })],
      names: ["db.example.com"],
      addresses: ["203.0.113.91"],
      asked: [{ ...question, port: 80 }, question],
    };
    for (const target of ["203.0.113.91:443", "db.example.com:443", "17"]) {
      expect(await why(target, known)).toMatch(`\
waiting   db.example.com:443/tcp
because   the policy asks about it (ask: *.example.com), and nobody has answered yet; after 42 s more it is refused
to allow  sluice approve 3
`);
    }
    expect(await why("", { asked: [question] })).toMatch(/^waiting/);
    const answered = [{ ...question, state: "allowed" as const }];
    expect(await why("17", { ...known, asked: answered })).toContain("trying to connect");
  });

  it("is less than what went wrong since it began", async () => {
    const known = { flows: [flow()], failures: [failure("ECONNREFUSED")] };
    expect(await why("203.0.113.91:443", known)).toMatch(/^failed/);
    expect(await why("17", known)).toMatch(/^open/);
    const older = { ...failure("ECONNREFUSED"), atMs: NOW_MS - 120_000 };
    expect(await why("203.0.113.91:443", { ...known, failures: [older] })).toMatch(/^open/);
  });

  it("is not there any more", async () => {
    expect(await why("18", { flows: [flow()] })).toBe(
      "unknown   there is no flow 18: it has ended, or never was\n",
    );
  });
});

it("a port of this host that is forwarded", async () => {
  const forwards: ForwardResource[] = [
    {
      id: 1,
      rule: "127.0.0.1:2222:22",
      protocol: "tcp",
      hostAddress: "127.0.0.1",
      hostPort: 2222,
      guestAddress: null,
      guestPort: 22,
      ports: 1,
      origin: "start",
    },
  ];
  expect(await why("127.0.0.1:2222", { forwards })).toContain("one that is refused was refused by the guest");
});

it("nothing at all", async () => {
  expect(await why("")).toBe("unknown   nothing was denied, and nothing failed, that is remembered\n");
  expect(await why("", { linkUp: false })).toContain("because   no guest is attached");
  expect(await why("203.0.113.1", { linkUp: false })).toContain("because   no guest is attached");
});

it("goes through the flow table once, however many addresses a name has", async () => {
  const listings: FlowFilter[] = [];
  const text = await why("packages.example.com", {
    addresses: ["203.0.113.90", "203.0.113.91", "203.0.113.92"],
    flows: [flow(), flow({ id: 18, remote: end("203.0.113.92", 443), octetsToGuest: 99_000 })],
    listings,
  });
  expect(listings.map(({ hosts }) => hosts?.length)).toEqual([3]);
  expect(text).toContain("flow 18");
});

it("no octet of the guest reaches a terminal", async () => {
  const text = await why("203.0.113.91:443", {
    failures: [failure("ETIMEDOUT")],
    names: ["a\u001b[2J\u009b\u202eb"],
  });
  expect(text).toMatch(/^[\n\x20-\x7e]+$/);
  expect(text).toContain("a\\x1b[2J\\x9b\\u{202e}b");
});

describe("targets", () => {
  it.each([
    ["", "the last denial"],
    ["17", "flow 17"],
    ["#17", "flow 17"],
    ["192.0.2.1", "192.0.2.1"],
    ["192.0.2.1:443", "192.0.2.1:443"],
    ["2001:DB8::1", "2001:db8::1"],
    ["[2001:db8::1]:443", "[2001:db8::1]:443"],
    ["Example.ORG.", "example.org"],
    ["example.org:80", "example.org:80"],
  ])("%s", (text, written) => {
    expect(formatTarget(parseWhyTarget(text))).toBe(written);
  });

  it.each(["http://example.org", "192.0.2.1:70000", "a b", "[::1", "-x", "\u001b[2J"])("not %j", (text) => {
    expect(() => parseWhyTarget(text)).toThrow(/ADDRESS|port/);
  });
});
