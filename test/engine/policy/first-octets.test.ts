/** The name in what a connection says first, however its octets come; and what it is told where that may not be. */
import { describe, expect, it } from "vitest";
import type { PolicyConfig } from "../../../src/engine/config.ts";
import { HELD_NAME_OCTETS } from "../../../src/engine/limits.ts";
import { type DropReasonName, dropReason } from "../../../src/engine/metrics/drop-reasons.ts";
import { Name } from "../../../src/engine/policy/name.ts";
import type { Policy } from "../../../src/engine/policy/policy.ts";
import { NO_RULE } from "../../../src/engine/policy/rule-set.ts";
import {
  FirstOctets,
  NEEDS_MORE,
  NO_NAME_SHOWN,
  NOT_THE_PROTOCOL,
  SHOWN_NAME,
  UNREADABLE,
} from "../../../src/engine/service/names/first-octets.ts";
import { writeRefusal } from "../../../src/engine/service/names/refusal.ts";
import type { TcpConnection } from "../../../src/engine/transport/tcp/connection.ts";
import type { TcpContext } from "../../../src/engine/transport/tcp/context.ts";
import { ALERT_49, clientHello, hello, inRecords } from "../../support/client-hello.ts";

const CHUNK_OCTETS = 1000;
/** The first chunk begins in its middle, as one does of which something was taken. */
const OFFSET = 7;

/** What has come of one connection, in chunks. */
class Backlog {
  readonly connection = { backlogHead: 0, backlogOffset: OFFSET, backlogOctets: 0 };
  private readonly octets = new Uint8Array(40 * CHUNK_OCTETS);
  readonly context: unknown;
  /** Octets that were looked at. */
  looks = 0;

  constructor() {
    const view = new DataView(this.octets.buffer);
    const look = (at: number): void => {
      if (at >= OFFSET + this.connection.backlogOctets) throw new Error(`octet ${at} has not come`);
      this.looks++;
    };
    this.context = {
      arena: {
        octets: new Proxy(this.octets, {
          get(octets, at): unknown {
            look(Number(at));
            return Reflect.get(octets, at, octets);
          },
        }),
      },
      view: {
        getUint8: (at: number): number => {
          look(at);
          return view.getUint8(at);
        },
      },
      pool: {
        filled: new Array(40).fill(CHUNK_OCTETS),
        next: Array.from({ length: 40 }, (_, chunk) => chunk + 1),
        at: (chunk: number) => chunk * CHUNK_OCTETS,
      },
    };
  }

  come(octets: Uint8Array): void {
    this.octets.set(octets, OFFSET + this.connection.backlogOctets);
    this.connection.backlogOctets += octets.length;
  }
}

function setUp(isTls: boolean, place = 1) {
  const backlog = new Backlog();
  const first = new FirstOctets(backlog.context as TcpContext, 3);
  first.begin(place, isTls);
  const look = (): number => first.look(place, backlog.connection as TcpConnection);
  const come = (octets: Uint8Array | string): number => {
    backlog.come(Buffer.from(octets as string, "latin1"));
    return look();
  };
  const name = (): string | null => {
    const found = new Name();
    return first.readName(found) ? found.text : null;
  };
  return { first, backlog, look, come, name };
}

/** What is found of a whole, and of it octet by octet, each of which is to say the same at the same place. */
function find(isTls: boolean, whole: Uint8Array | string) {
  const octets = Buffer.from(whole as string, "latin1");
  const atOnce = setUp(isTls);
  const result = atOnce.come(octets);
  const piecemeal = setUp(isTls);
  let found = NEEDS_MORE;
  let at = 0;
  while (found === NEEDS_MORE && at < octets.length) found = piecemeal.come(octets.subarray(at, ++at));
  expect(found, "octet by octet").toBe(result);
  const name = result === SHOWN_NAME ? atOnce.name() : null;
  if (result === SHOWN_NAME) expect(piecemeal.name()).toBe(name);
  return { result, at, name };
}

describe("a request's head", () => {
  it.each([
    ["GET / HTTP/1.1\r\nHost: good.example:80\r\n\r\nbody", "good.example"],
    ["GET http://good.example/ HTTP/1.1\r\nHost: good.example\r\n\r\n", "good.example"],
    [`GET / HTTP/1.1\r\nX: ${"y".repeat(3000)}\r\nHost: far.example\r\n\r\n`, "far.example"],
  ])("shows its name with its last octet", (head, name) => {
    const found = find(false, head);
    expect([found.result, found.name]).toEqual([SHOWN_NAME, name]);
    expect(found.at).toBe(head.indexOf("\r\n\r\n") + 4);
  });

  it.each([
    ["GET / HTTP/1.0\r\n\r\n", NO_NAME_SHOWN],
    ["GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n", UNREADABLE],
    ["\0GET", NOT_THE_PROTOCOL],
    [" GET", NOT_THE_PROTOCOL],
    ["GET /", NEEDS_MORE],
    ["GET / HTTP/1.1\r\nHost: a.example\r\n\r", NEEDS_MORE],
  ])("%j is %i", (head, result) => {
    expect(find(false, head).result).toBe(result);
  });

  it("has at most 16 KiB", () => {
    const filled = (octets: number): string => {
      const head = "GET / HTTP/1.1\r\nHost: a.example\r\nX: \r\n\r\n";
      return head.replace("X: ", `X: ${"y".repeat(octets - head.length)}`);
    };
    expect(setUp(false).come(filled(HELD_NAME_OCTETS))).toBe(SHOWN_NAME);
    expect(setUp(false).come(filled(HELD_NAME_OCTETS + 1))).toBe(UNREADABLE);
    expect(setUp(false).come(filled(HELD_NAME_OCTETS + 1).slice(0, HELD_NAME_OCTETS))).toBe(UNREADABLE);
    const short = setUp(false);
    expect(short.come(filled(HELD_NAME_OCTETS + 1).slice(0, HELD_NAME_OCTETS - 1))).toBe(NEEDS_MORE);
    expect(short.come("y")).toBe(UNREADABLE);
  });

  it("is not looked at again before more has come, and each octet once", () => {
    const { backlog, look, come } = setUp(false);
    expect(look()).toBe(NEEDS_MORE);
    come("GET / HTTP/1.1\r\nHost: a");
    const { looks } = backlog;
    for (let i = 0; i < 5; i++) expect(look()).toBe(NEEDS_MORE);
    expect(backlog.looks).toBe(looks);
    come("b");
    expect(backlog.looks).toBe(looks + 1);
  });

  it("is another one in another place, and in the same one later", () => {
    const { first, backlog } = setUp(false, 0);
    const c = backlog.connection as TcpConnection;
    backlog.come(Buffer.from("GET / HTTP/1.1\r\n\r"));
    expect(first.look(0, c)).toBe(NEEDS_MORE);
    first.begin(2, false);
    expect(first.look(2, c)).toBe(NEEDS_MORE);
    first.begin(0, true);
    expect(first.look(0, c)).toBe(NOT_THE_PROTOCOL);
    first.begin(0, false);
    backlog.come(Buffer.from("\n"));
    expect([first.look(0, c), first.look(2, c)]).toEqual([NO_NAME_SHOWN, NO_NAME_SHOWN]);
  });
});

const HELLO = clientHello("good.example");

describe("a ClientHello", () => {
  it.each([16_384, 100, 7, 4, 3, 1])("shows its name in records of %i octets", (size) => {
    const records = inRecords(HELLO, size);
    const found = find(true, Buffer.concat([records, Buffer.from("more")]));
    expect(found).toEqual({ result: SHOWN_NAME, at: records.length, name: "good.example" });
  });

  it("shows its name however long it is, and in records of any lengths", () => {
    const extension = Buffer.concat([Buffer.from([0, 51, 12, 0]), Buffer.alloc(3072, 3)]);
    const long = clientHello("long.example", [extension]);
    expect(find(true, inRecords(long, 1111))).toMatchObject({ result: SHOWN_NAME, name: "long.example" });
    const mixed = Buffer.concat([
      inRecords(long.subarray(0, 2)),
      inRecords(long.subarray(2, 2000)),
      inRecords(long.subarray(2000)),
    ]);
    expect(find(true, mixed)).toMatchObject({ result: SHOWN_NAME, name: "long.example" });
  });

  it.each([
    ["without a name", inRecords(clientHello(null)), NO_NAME_SHOWN],
    ["that breaks off", inRecords(HELLO).subarray(0, -1), NEEDS_MORE],
    ["that breaks off between records", inRecords(HELLO, 50).subarray(0, 55), NEEDS_MORE],
    ["with lengths that do not fit", inRecords(Buffer.from([1, 0, 0, 6, 3, 3, 0, 0, 0, 0])), UNREADABLE],
    ["that is a ServerHello", inRecords(Buffer.from([2, 0, 0, 6, 3, 3, 0, 0, 0, 0])), NOT_THE_PROTOCOL],
    ["that is none", Buffer.from("GET /"), NOT_THE_PROTOCOL],
    ["in a record of another type", Buffer.from([23, 3, 1, 0, 5, 1]), NOT_THE_PROTOCOL],
    ["of another major version", Buffer.from([22, 2, 1, 0, 5, 1]), NOT_THE_PROTOCOL],
    ["in an empty record", Buffer.from([22, 3, 1, 0, 0, 1]), NOT_THE_PROTOCOL],
    ["in a record too long", Buffer.from([22, 3, 1, 0x40, 1, 1]), NOT_THE_PROTOCOL],
    [
      "that goes on in a record of another type",
      Buffer.concat([inRecords(HELLO.subarray(0, 20)), Buffer.from([23, 3, 1, 0, 5])]),
      UNREADABLE,
    ],
    [
      "that goes on in an empty record",
      Buffer.concat([inRecords(HELLO.subarray(0, 20)), Buffer.from([22, 3, 1, 0, 0])]),
      UNREADABLE,
    ],
    ["that is not alone in its record", inRecords(Buffer.concat([HELLO, Buffer.of(1)])), UNREADABLE],
    [
      "that is not alone in its last record",
      inRecords(Buffer.concat([HELLO, Buffer.of(1)]), HELLO.length - 1),
      UNREADABLE,
    ],
  ])("%s", (_what, octets, result) => {
    expect(find(true, octets).result).toBe(result);
  });

  it("is told from what is none by its first octet", () => {
    expect(find(true, "G")).toMatchObject({ result: NOT_THE_PROTOCOL, at: 1 });
    const second = Buffer.concat([inRecords(HELLO.subarray(0, 20)), Buffer.of(23)]);
    expect(find(true, second)).toMatchObject({ result: UNREADABLE, at: 26 });
    expect(find(true, Buffer.of(22)).result).toBe(NEEDS_MORE);
  });

  it("has at most 16 KiB, the headers of its records among them", () => {
    const sized = (octets: number): Buffer => {
      const fill = octets - clientHello("a.example", [Buffer.from([0, 51, 0, 0])]).length;
      return clientHello("a.example", [
        Buffer.concat([Buffer.from([0, 51, fill >> 8, fill & 255]), Buffer.alloc(fill, 3)]),
      ]);
    };
    expect(setUp(true).come(inRecords(sized(HELD_NAME_OCTETS - 5)))).toBe(SHOWN_NAME);
    expect(setUp(true).come(inRecords(sized(HELD_NAME_OCTETS)).subarray(0, HELD_NAME_OCTETS - 1))).toBe(
      NEEDS_MORE,
    );
    expect(setUp(true).come(inRecords(sized(HELD_NAME_OCTETS)).subarray(0, HELD_NAME_OCTETS))).toBe(
      UNREADABLE,
    );
    expect(setUp(true).come(inRecords(sized(HELD_NAME_OCTETS + 1)).subarray(0, 9))).toBe(UNREADABLE);
    expect(setUp(true).come(inRecords(Buffer.from([1, 1, 0, 0])))).toBe(UNREADABLE);
    expect(setUp(true).come(inRecords(Buffer.from([1, 0, 0x40, 0])).subarray(0, 9))).toBe(UNREADABLE);
    expect(setUp(true).come(inRecords(Buffer.from([1, 0, 0x3f, 0xfc])).subarray(0, 9))).toBe(NEEDS_MORE);
    const header = sized(HELD_NAME_OCTETS - 4);
    const records = Buffer.concat([
      inRecords(header.subarray(0, HELD_NAME_OCTETS - 6)),
      inRecords(header.subarray(HELD_NAME_OCTETS - 6)),
    ]);
    expect(setUp(true).come(records.subarray(0, HELD_NAME_OCTETS - 1))).toBe(NEEDS_MORE);
    expect(setUp(true).come(records.subarray(0, HELD_NAME_OCTETS))).toBe(UNREADABLE);
  });

  it("is not looked at again before more has come", () => {
    for (const count of [1, 4, 30]) {
      const { backlog, look, come } = setUp(true);
      expect(come(hello("good.example").subarray(0, count))).toBe(NEEDS_MORE);
      const { looks } = backlog;
      for (let i = 0; i < 5; i++) expect(look()).toBe(NEEDS_MORE);
      expect(backlog.looks).toBe(looks);
    }
  });

  it("may have another one inside, which a request never has", () => {
    const extension = Buffer.from([0xfe, 0x0d, 0, 1, 0]);
    const { first, backlog, come } = setUp(true);
    expect(first.isEncrypted).toBe(false);
    come(inRecords(clientHello("good.example", [extension])));
    expect(first.isEncrypted).toBe(true);
    first.begin(1, false);
    backlog.connection.backlogOctets = 0;
    expect([come("GET / HTTP/1.1\r\n\r\n"), first.isEncrypted]).toEqual([NO_NAME_SHOWN, false]);
  });
});

describe("a refusal", () => {
  const AT = 100;
  const rules = [{ name: "ads", message: "no ads" }, { name: "plain" }];
  const refuse = (reason: DropReasonName, rule = NO_RULE, isTls = false, message?: string) => {
    const octets = new Uint8Array(8192).fill(0xee);
    const policy = {
      name: { text: "evil.example" },
      rule,
      config: { rules, message } as unknown as PolicyConfig,
    };
    const length = writeRefusal(octets, AT, isTls, dropReason(reason), policy as unknown as Policy);
    expect([octets[AT - 1], octets[AT + length]]).toEqual([0xee, 0xee]);
    return Buffer.from(octets.slice(AT, AT + length));
  };

  it("is a TLS alert, access denied", () => {
    expect(refuse("policy-denied", 0, true)).toEqual(ALERT_49);
  });

  it.each([
    ["policy-name-mismatch", 1, "evil.example is not allowed at this address (rule plain)"],
    ["policy-no-rule", NO_RULE, "no rule names evil.example (rule default)"],
    ["policy-denied", 1, "evil.example is denied (rule plain)"],
    ["policy-name-missing", NO_RULE, "the request names no host"],
    ["policy-name-malformed", NO_RULE, "the request's head cannot be read"],
  ] as const)("is an answer of HTTP that says %s", (reason, rule, says) => {
    const body = `sluice: denied: ${reason}: ${says}\n`;
    expect(refuse(reason, rule).toString()).toBe(
      "HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\n" +
        `Content-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
    );
  });

  it("ends with the message of the rule, or of the policy where the rule has none", () => {
    const last = (text: Buffer): string | undefined => text.toString().split("\n").at(-2);
    expect(last(refuse("policy-denied", 0, false, "ask us"))).toBe("no ads");
    expect(last(refuse("policy-denied", 1, false, "ask us"))).toBe("ask us");
    expect(last(refuse("policy-no-rule", NO_RULE, false, "ask us"))).toBe("ask us");
    expect(last(refuse("policy-denied", 0))).toBe("no ads");
  });

  it("has at most 4 KiB", () => {
    const long = refuse("policy-no-rule", NO_RULE, false, "m".repeat(5000));
    expect(long).toHaveLength(4096);
    expect(long.toString()).toMatch(/\r\n\r\nsluice: denied: .*m$/s);
    const text = (count: number): Buffer => refuse("policy-no-rule", NO_RULE, false, "m".repeat(count));
    const overhead = text(3900).length - 3900;
    expect(
      text(4096 - overhead)
        .toString()
        .at(-1),
    ).toBe("\n");
    expect([text(4096 - overhead).length, text(4097 - overhead).length]).toEqual([4096, 4096]);
    expect(
      text(4097 - overhead)
        .toString()
        .at(-1),
    ).toBe("m");
  });
});
