/** DHCPv6 frame by frame: RFC 9915 (which replaced RFC 8415), sections 16, 18.3 and 21. */
import { describe, expect, it } from "vitest";
import { LINK_LOCAL, MAC, rig6 } from "../../support/conformance6.ts";
import {
  type Client6Message,
  client6Message,
  DUID,
  long,
  plain6,
  SERVER_DUID,
} from "../../support/dhcp6-client.ts";
import { GUEST6, ROUTER6, udp6 } from "../../support/frames6.ts";

const [
  SOLICIT,
  ADVERTISE,
  REQUEST,
  CONFIRM,
  RENEW,
  REBIND,
  REPLY,
  RELEASE,
  DECLINE,
  RECONFIGURE,
  INFORMATION,
] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
const [RELAY_FORWARD, RELAY_REPLY] = [12, 13];
const AGENTS = "ff02::1:2";
const server = SERVER_DUID;
const ias = [{ iaid: 1 }];
const at = (...addresses: readonly string[]) => [{ iaid: 1, addresses }];
const ELSEWHERE = "2001:db8::15";
const FIRST = long(GUEST6);
const SECOND = "fd71:1ae0:d44d:2::16";
const [MALFORMED, NOT_OURS] = ["dhcp6-malformed", "dhcp6-not-ours"];
const NAMES: Readonly<Record<number, string>> = { [ADVERTISE]: "ADVERTISE", [REPLY]: "REPLY" };

interface Way {
  readonly source?: string;
  readonly destination?: string;
  readonly from?: number;
  readonly mac?: readonly number[];
}

function setUp() {
  const { send, exchange } = rig6();
  /** The drop reason, or the reply: its kind, its associations (`iaid=address valid status`), its status. */
  const raw = (
    message: Uint8Array,
    { source = LINK_LOCAL, destination = AGENTS, from = 546, mac = MAC }: Way = {},
  ) => {
    const replies: Uint8Array[] = [];
    const settle = exchange.settle.bind(exchange);
    exchange.settle = () => {
      const frames = settle();
      replies.push(...frames);
      return frames;
    };
    const line = send(udp6({ source, destination }, from, 547, [...message]), mac);
    exchange.settle = settle;
    const [frame] = replies;
    if (frame === undefined) return { line };
    // From the router's link-local address to the client's, port 546 whatever it sent from (section 7.2).
    expect(line).toBe(`UDP fe80::2 > ${source} 547 > 546`);
    const reply = plain6(frame.slice(62));
    expect(reply.transaction).toEqual([0xab, 0xcd, 0xef]);
    expect(reply.options[2]).toEqual(server);
    return { line, reply };
  };
  const ask = (message: Client6Message, way: Way = {}): string => {
    const { line, reply } = raw(client6Message(message), way);
    if (reply === undefined) return line;
    if (message.duid !== null) expect(reply.options[1]).toEqual(message.duid ?? DUID);
    const inIas = reply.ias.map(({ iaid, status, addresses }) => {
      const list = addresses.map(({ address, valid }) => `${address} ${valid}`);
      return `${iaid}=${[...list, ...(status === undefined ? [] : [`status ${status}`])].join(" ")}`;
    });
    const status = reply.status === undefined ? [] : [`status ${reply.status}`];
    return [NAMES[reply.type] ?? reply.type, ...status, ...inIas].join("; ");
  };
  return { raw, ask, exchange };
}

const LEASED = `1=${FIRST} 86400`;

/** What comes of a message when nothing was said before. */
const first = (message: Client6Message, way: Way = {}): string => setUp().ask(message, way);
/** What comes of it from a client that has its address. */
function leased(message: Client6Message, way: Way = {}): string {
  const { ask } = setUp();
  expect(ask({ type: REQUEST, server, ias })).toBe(`REPLY; ${LEASED}`);
  return ask(message, way);
}

describe("RFC 9915 section 18.3.1, SOLICIT", () => {
  it.each<[string, Client6Message, string]>([
    ["an address is advertised", { type: SOLICIT, ias }, `ADVERTISE; ${LEASED}`],
    [
      "the one that is hinted at, if it is free",
      { type: SOLICIT, ias: at(SECOND) },
      `ADVERTISE; 1=${long(SECOND)} 86400`,
    ],
    [
      "not one of another network",
      { type: SOLICIT, ias: at(ELSEWHERE) },
      `ADVERTISE; ${LEASED} ${long(ELSEWHERE)} 0`,
    ],
    ["not the router's", { type: SOLICIT, ias: at(ROUTER6) }, `ADVERTISE; ${LEASED} ${long(ROUTER6)} 0`],
    ["with rapid commit it is leased", { type: SOLICIT, ias, options: [[14, []]] }, `REPLY; ${LEASED}`],
    [
      "a second association gets none",
      { type: SOLICIT, ias: [...ias, { iaid: 2 }] },
      `ADVERTISE; ${LEASED}; 2=status 2`,
    ],
    ["a prefix there is none of", { type: SOLICIT, ias: [{ iaid: 5, code: 25 }] }, "ADVERTISE; 5=status 6"],
    [
      "a temporary address is not known of",
      { type: SOLICIT, ias, options: [[4, [0, 0, 0, 9]]] },
      `ADVERTISE; ${LEASED}`,
    ],
    [
      "unknown options are skipped",
      { type: SOLICIT, ias, options: [[9999, [1, 2, 3]]] },
      `ADVERTISE; ${LEASED}`,
    ],
    [
      "elapsed time, user and vendor class",
      {
        type: SOLICIT,
        ias,
        options: [
          [8, [0, 0]],
          [15, [0, 1, 7]],
          [16, [0, 0, 1, 55, 0, 1, 7]],
        ],
      },
      `ADVERTISE; ${LEASED}`,
    ],
    ["without an association", { type: SOLICIT }, "ADVERTISE"],
    ["with a server's identifier: discarded (16.2)", { type: SOLICIT, ias, server }, NOT_OURS],
    ["without its own: discarded (16.2)", { type: SOLICIT, ias, duid: null }, MALFORMED],
  ])("%s", (_rule, message, expected) => {
    expect(first(message)).toBe(expected);
  });

  it("rapid commit is said back (18.3.1), T1 and T2 are 0.5 and 0.8 of the preferred lifetime (21.4)", () => {
    const { raw } = setUp();
    const { reply } = raw(client6Message({ type: SOLICIT, ias, options: [[14, []]] }));
    expect(reply?.options[14]).toEqual([]);
    expect(reply?.ias).toMatchObject([{ t1: 7200, t2: 11_520, addresses: [{ preferred: 14_400 }] }]);
    expect(raw(client6Message({ type: SOLICIT, ias })).reply?.codes).not.toContain(14);
  });

  it("the advertisement is preferred to all others (18.2.1), and holds its address", () => {
    const { raw, ask } = setUp();
    expect(raw(client6Message({ type: SOLICIT, ias })).reply?.options[7]).toEqual([255]);
    expect(ask({ type: SOLICIT, ias, duid: [0, 1, 2] }, { mac: [2, 0, 0, 0, 0, 9] })).toBe(
      `ADVERTISE; 1=${long(SECOND)} 86400`,
    );
  });
});

describe("RFC 9915 section 18.3.2, REQUEST", () => {
  it.each<[string, Client6Message, string]>([
    ["an address is leased", { type: REQUEST, server, ias: at(GUEST6) }, `REPLY; ${LEASED}`],
    ["without a wish as well", { type: REQUEST, server, ias }, `REPLY; ${LEASED}`],
    ["one of another network: NotOnLink", { type: REQUEST, server, ias: at(ELSEWHERE) }, "REPLY; 1=status 4"],
    [
      "one and one of another network",
      { type: REQUEST, server, ias: at(GUEST6, ELSEWHERE) },
      "REPLY; 1=status 4",
    ],
    ["to nobody: discarded (16.4)", { type: REQUEST, ias }, NOT_OURS],
    [
      "to another server: discarded (16.4)",
      { type: REQUEST, ias, server: [0, 3, 0, 1, 2, 0, 0, 0, 0, 1] },
      NOT_OURS,
    ],
    ["without a client: discarded (16.4)", { type: REQUEST, server, ias, duid: null }, MALFORMED],
  ])("%s", (_rule, message, expected) => {
    expect(first(message)).toBe(expected);
  });

  it("twice is the same address, and another client has another", () => {
    const { ask } = setUp();
    const other = { mac: [2, 0, 0, 0, 0, 9] };
    expect([1, 2].map(() => ask({ type: REQUEST, server, ias }))).toEqual([
      `REPLY; ${LEASED}`,
      `REPLY; ${LEASED}`,
    ]);
    const second = ask({ type: REQUEST, server, ias: at(GUEST6), duid: [0, 4, 9, 9] }, other);
    expect(second).toBe(`REPLY; 1=${long(SECOND)} 86400 ${FIRST} 0`);
  });
});

describe("RFC 9915 section 18.3.3, CONFIRM", () => {
  it.each<[string, Client6Message, string]>([
    ["addresses of this link: Success", { type: CONFIRM, ias: at(GUEST6) }, "REPLY; status 0"],
    [
      "whether we leased them or not",
      { type: CONFIRM, ias: at("fd71:1ae0:d44d:2:1:2:3:4") },
      "REPLY; status 0",
    ],
    ["of another: NotOnLink", { type: CONFIRM, ias: at(ELSEWHERE) }, "REPLY; status 4"],
    ["of both: NotOnLink", { type: CONFIRM, ias: at(GUEST6, ELSEWHERE) }, "REPLY; status 4"],
    ["none: no answer", { type: CONFIRM, ias }, NOT_OURS],
    ["no association: no answer", { type: CONFIRM }, NOT_OURS],
    ["with a server's identifier: discarded (16.5)", { type: CONFIRM, ias: at(GUEST6), server }, NOT_OURS],
    ["without its own: discarded (16.5)", { type: CONFIRM, ias: at(GUEST6), duid: null }, MALFORMED],
  ])("%s", (_rule, message, expected) => {
    expect(first(message)).toBe(expected);
  });
});

describe("RFC 9915 sections 18.3.4 and 18.3.5, RENEW and REBIND", () => {
  it.each<[string, Client6Message, string]>([
    ["RENEW: the lease begins anew", { type: RENEW, server, ias: at(GUEST6) }, `REPLY; ${LEASED}`],
    [
      "RENEW with another address beside it: that one ends",
      { type: RENEW, server, ias: at(GUEST6, ELSEWHERE) },
      `REPLY; ${LEASED} ${long(ELSEWHERE)} 0`,
    ],
    ["REBIND: the same", { type: REBIND, ias: at(GUEST6) }, `REPLY; ${LEASED}`],
    ["RENEW to nobody: discarded (16.6)", { type: RENEW, ias: at(GUEST6) }, NOT_OURS],
    [
      "RENEW without a client: discarded (16.6)",
      { type: RENEW, server, ias: at(GUEST6), duid: null },
      MALFORMED,
    ],
    ["REBIND to a server: discarded (16.7)", { type: REBIND, server, ias: at(GUEST6) }, NOT_OURS],
    ["REBIND without a client: discarded (16.7)", { type: REBIND, ias: at(GUEST6), duid: null }, MALFORMED],
  ])("%s", (_rule, message, expected) => {
    expect(leased(message)).toBe(expected);
  });

  it.each<[string, Client6Message, string]>([
    [
      "RENEW of an address of another link: NoBinding",
      { type: RENEW, server, ias: at(ELSEWHERE) },
      "REPLY; 1=status 3",
    ],
    ["RENEW of nothing: NoBinding", { type: RENEW, server, ias }, "REPLY; 1=status 3"],
    [
      "REBIND of an address of another link: lifetimes 0",
      { type: REBIND, ias: at(ELSEWHERE) },
      `REPLY; 1=${long(ELSEWHERE)} 0`,
    ],
    [
      "RENEW of a lease of before a restart",
      { type: RENEW, server, ias: at(SECOND) },
      `REPLY; 1=${long(SECOND)} 86400`,
    ],
    [
      "REBIND of a lease of before a restart",
      { type: REBIND, ias: at(SECOND) },
      `REPLY; 1=${long(SECOND)} 86400`,
    ],
  ])("%s, of a client nobody knows", (_rule, message, expected) => {
    expect(first(message)).toBe(expected);
  });
});

describe("RFC 9915 sections 18.3.7 and 18.3.8, RELEASE and DECLINE", () => {
  it.each<[string, Client6Message, string]>([
    ["RELEASE: Success", { type: RELEASE, server, ias: at(GUEST6) }, "REPLY; status 0"],
    [
      "RELEASE of what is not its own: NoBinding",
      { type: RELEASE, server, ias: at(SECOND) },
      "REPLY; status 0; 1=status 3",
    ],
    [
      "RELEASE under another IAID: NoBinding",
      { type: RELEASE, server, ias: [{ iaid: 2, addresses: [GUEST6] }] },
      "REPLY; status 0; 2=status 3",
    ],
    ["RELEASE to nobody: discarded (16.9)", { type: RELEASE, ias: at(GUEST6) }, NOT_OURS],
    ["DECLINE: Success", { type: DECLINE, server, ias: at(GUEST6) }, "REPLY; status 0"],
    [
      "DECLINE of what is not its own: NoBinding",
      { type: DECLINE, server, ias: at(SECOND) },
      "REPLY; status 0; 1=status 3",
    ],
    ["DECLINE to nobody: discarded (16.8)", { type: DECLINE, ias: at(GUEST6) }, NOT_OURS],
    [
      "DECLINE without a client: discarded (16.8)",
      { type: DECLINE, server, ias: at(GUEST6), duid: null },
      MALFORMED,
    ],
  ])("%s", (_rule, message, expected) => {
    expect(leased(message)).toBe(expected);
  });

  it("a released address is another's, a declined one is nobody's for a while", () => {
    const afterwards = (type: number): string => {
      const { ask } = setUp();
      ask({ type: REQUEST, server, ias });
      ask({ type, server, ias: at(GUEST6) });
      return ask({ type: REQUEST, server, ias: at(GUEST6), duid: [0, 4, 9, 9] }, { mac: [2, 0, 0, 0, 0, 9] });
    };
    expect(afterwards(RELEASE)).toBe(`REPLY; ${LEASED}`);
    expect(afterwards(DECLINE)).toBe(`REPLY; 1=${long(SECOND)} 86400 ${FIRST} 0`);
  });
});

describe("RFC 9915 section 18.3.6, INFORMATION-REQUEST", () => {
  it.each<[string, Client6Message, string]>([
    ["is answered", { type: INFORMATION }, "REPLY"],
    ["without a client too", { type: INFORMATION, duid: null }, "REPLY"],
    ["to this server", { type: INFORMATION, server }, "REPLY"],
    [
      "to another: discarded (16.12)",
      { type: INFORMATION, server: [0, 3, 0, 1, 2, 0, 0, 0, 0, 1] },
      NOT_OURS,
    ],
    ["with an association: discarded (16.12)", { type: INFORMATION, ias }, NOT_OURS],
  ])("%s", (_rule, message, expected) => {
    expect(first(message)).toBe(expected);
  });

  it("tells the resolver when that is asked for, and when to ask again (21.23)", () => {
    const { raw } = setUp();
    const codes = (request: readonly number[]) =>
      raw(client6Message({ type: INFORMATION, request })).reply?.codes ?? [];
    expect([codes([23]).includes(23), codes([24]).includes(23), codes([32]).includes(32)]).toEqual([
      true,
      false,
      true,
    ]);
  });
});

describe("RFC 9915 section 16, what is discarded", () => {
  it.each([ADVERTISE, REPLY, RECONFIGURE, RELAY_FORWARD, RELAY_REPLY, 0, 14, 255])(
    "message type %i",
    (type) => {
      expect(first({ type, server, ias })).toBe(NOT_OURS);
    },
  );

  it.each<[string, Way]>([
    ["the router's link-local address", { destination: "fe80::2" }],
    ["the router's address", { source: GUEST6, destination: ROUTER6 }],
  ])("what is sent to %s alone", (_name, way) => {
    for (const message of [{ type: SOLICIT, ias }, { type: REQUEST, server, ias }, { type: INFORMATION }]) {
      expect(first(message, way)).toBe(NOT_OURS);
    }
  });

  it("what is sent to all servers of the site (7.1: for relays), from the guest's link-local address", () => {
    expect(first({ type: SOLICIT, ias }, { destination: "ff05::1:3" })).toBe(NOT_OURS);
  });

  const message = client6Message({ type: SOLICIT, ias: at(GUEST6) });
  it.each<[string, Uint8Array]>([
    ["nothing", new Uint8Array(0)],
    ["three octets", message.slice(0, 3)],
    ["an option cut off", message.slice(0, -1)],
    ["an option's head cut off", Uint8Array.of(...message, 0, 8, 0)],
    ["a DUID of no octets", client6Message({ type: SOLICIT, ias, duid: [] })],
    ["a DUID of its type alone", client6Message({ type: SOLICIT, ias, duid: [0, 1] })],
    [
      "a DUID of 131 octets (11.1)",
      client6Message({ type: SOLICIT, ias, duid: new Array<number>(131).fill(1) }),
    ],
    [
      "an association of 11 octets",
      client6Message({ type: SOLICIT, options: [[3, new Array<number>(11).fill(0)]] }),
    ],
    [
      "an address of 23 octets",
      client6Message({
        type: SOLICIT,
        options: [[3, [...new Array<number>(12).fill(0), 0, 5, 0, 23, ...new Array<number>(23).fill(0)]]],
      }),
    ],
    [
      "an option in an association beyond its end",
      client6Message({ type: SOLICIT, options: [[3, [...new Array<number>(12).fill(0), 0, 5, 0, 24, 1]]] }),
    ],
  ])("%s", (_name, octets) => {
    expect(setUp().raw(octets).line).toBe(MALFORMED);
  });

  it.each<[string, readonly number[]]>([
    ["DUID-LLT", [0, 1, 0, 1, 1, 2, 3, 4, ...MAC]],
    ["DUID-EN", [0, 2, 0, 0, 0, 9, 1, 2]],
    ["DUID-LL", [0, 3, 0, 1, ...MAC]],
    ["DUID-UUID", DUID],
    ["a type nobody knows (11: opaque)", [0xab, 0xcd, 1]],
    ["the longest", [0, 4, ...new Array<number>(128).fill(7)]],
  ])("but not a client with %s", (_name, duid) => {
    expect(first({ type: SOLICIT, ias, duid })).toBe(`ADVERTISE; ${LEASED}`);
  });

  it("nor one that sends from another port, or from an address it has", () => {
    expect(first({ type: SOLICIT, ias }, { from: 40_000 })).toBe(`ADVERTISE; ${LEASED}`);
    expect(first({ type: SOLICIT, ias }, { source: SECOND })).toBe(`ADVERTISE; ${LEASED}`);
  });

  it("from ::, or from off the link: never taken", () => {
    for (const source of ["::", "2001:db8::1"])
      expect(first({ type: SOLICIT, ias }, { source })).toBe("ipv6-spoofed-source");
  });
});
