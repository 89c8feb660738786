/** Inputs that have the shape a target expects, with anything in the fields: what mutation alone takes long to find. */
import dns from "dns-packet";
import fc from "fast-check";
import { packet, tcp, udpPayload } from "../hostile/guest-packets.ts";
import { clientMessage } from "../support/dhcp-client.ts";
import { client6Message, SERVER_DUID } from "../support/dhcp6-client.ts";
import { octets6 } from "../support/frames6.ts";
import { clientHello, inRecords } from "../support/policy-rig.ts";
import { crypto } from "../support/quic-client.ts";
import { encodeScript, type ScriptedFrame } from "./frame-script.ts";
import { join } from "./target.ts";

const octets = (max: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ maxLength: max });
const int32 = fc.oneof(fc.integer(), fc.constantFrom(0, 1, -1, 0x7fffffff, -0x80000000));
/** Near where a conversation that starts at 1000 stands. */
const nearby = fc.integer({ min: 995, max: 1600 });
const port = fc.constantFrom(0, 1, 7, 53, 67, 68, 80, 40_000, 65_535);
const address = fc.constantFrom(
  0,
  -1,
  0x0a000202,
  0x0a000203,
  0x0a00020f,
  0x7f000001,
  0xc6336407 | 0,
  0xe0000001 | 0,
);

const options = fc.record(
  {
    mss: fc.integer({ min: 0, max: 65_535 }),
    windowScale: fc.integer({ min: 0, max: 255 }),
    sackPermitted: fc.constant(true as const),
    timestamp: fc.tuple(fc.nat(), fc.nat()),
    sack: fc.array(fc.tuple(fc.nat(), fc.nat()), { maxLength: 3 }),
  },
  { requiredKeys: [] },
);

const segment = fc.record({
  flags: fc.oneof(fc.constantFrom(2, 16, 17, 24, 4, 20, 18), fc.integer({ min: 0, max: 255 })),
  sequence: fc.oneof({ weight: 4, arbitrary: nearby }, { weight: 1, arbitrary: int32 }),
  acknowledgment: fc.oneof(
    { weight: 4, arbitrary: fc.integer({ min: -600, max: 2 }) },
    { weight: 1, arbitrary: int32 },
  ),
  window: fc.integer({ min: 0, max: 65_535 }),
  urgentPointer: fc.integer({ min: 0, max: 65_535 }),
  sourcePort: fc.constantFrom(40_000, 40_001),
  payload: octets(600),
  options,
});

const bits = fc.integer({ min: 0, max: 63 });

const frame: fc.Arbitrary<ScriptedFrame> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      bits: bits.map((b) => b | 7),
      octets: segment.map((s) => new Uint8Array(tcp(s))),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      bits: bits.map((b) => b | 3),
      octets: fc
        .record({ to: address, sourcePort: port, destinationPort: port, payload: octets(300) })
        .map(
          (fields) => new Uint8Array(packet({ to: fields.to, protocol: 17, payload: udpPayload(fields) })),
        ),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      bits: bits.map((b) => b | 3),
      octets: fc
        .record({
          protocol: fc.constantFrom(1, 2, 6, 17, 47),
          id: fc.integer({ min: 0, max: 3 }),
          moreFragments: fc.boolean(),
          fragmentOffset: fc.integer({ min: 0, max: 40 }).map((n) => n * 8),
          payload: octets(64),
        })
        .map((fields) => new Uint8Array(packet(fields))),
    }),
  },
  { weight: 1, arbitrary: fc.record({ bits, octets: octets(100) }) },
);

const dhcp = fc
  .record({
    minutes: fc.integer({ min: 0, max: 255 }),
    type: fc.integer({ min: 0, max: 10 }),
    mac: fc.array(fc.integer({ min: 0, max: 255 }), { minLength: 6, maxLength: 6 }),
    ciaddr: address,
    giaddr: address,
    broadcast: fc.boolean(),
    requested: address,
    serverId: address,
    options: fc.dictionary(
      fc.integer({ min: 1, max: 254 }).map(String),
      fc.array(fc.integer({ min: 0, max: 255 }), { maxLength: 40 }),
      { maxKeys: 5 },
    ),
  })
  .map(({ minutes, ...message }) => join([minutes], clientMessage(message)));

const label = octets(63).map((name) => [name.length, ...name]);
const framedMessage = (message: Uint8Array) => join([message.length >>> 8, message.length], message);
const dnsMessage = fc
  .record({
    head: fc.tuple(fc.constant(0x1234), fc.integer({ min: 0, max: 0xffff })),
    counts: fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 4, maxLength: 4 }),
    name: fc.array(label, { maxLength: 4 }),
    rest: octets(80),
  })
  .map(({ head, counts, name, rest }) =>
    join(
      new Uint8Array(Uint16Array.from([...head, ...counts], (n) => (n << 8) | (n >>> 8)).buffer),
      ...name,
      [0],
      rest,
    ),
  );

const option = fc.tuple(
  fc.constantFrom(0, 1, 2, 3, 4, 5, 8, 30),
  fc.constantFrom(0, 1, 2, 3, 4, 10, 18, 34),
  octets(32),
);
const streamFrame = fc
  .tuple(
    fc.oneof(fc.integer({ min: 0, max: 1600 }), fc.constantFrom(13, 14, 1518, 1519, 65_553, 65_554)),
    octets(40),
  )
  .map(([length, body]) =>
    join(
      [0, length >>> 16, length >>> 8, length],
      body,
      new Uint8Array(Math.max(0, Math.min(length, 1600) - body.length)),
    ),
  );

const streamStep = fc
  .tuple(
    fc.nat(63),
    fc.oneof(fc.nat(65_535), fc.nat(1500)),
    fc.nat(65_535),
    fc.constantFrom(0, 7, 9, 40),
    fc.nat(255),
  )
  .map(([kind, word, other, e, f]) => [kind, word >> 8, word, other >> 8, other, e, f, 0]);

const NDP_TARGETS = ["fe80::2", "fd71:1ae0:d44d:2::2", "fd71:1ae0:d44d:2::15", "ff02::1"].map(octets6);
const DHCP6_ADDRESSES = ["fd71:1ae0:d44d:2::15", "fd71:1ae0:d44d:2::16", "2001:db8::1"];
const NEXT_HEADERS = [0, 43, 44, 60, 6, 17, 58, 59];

/** By the name of the target. */
export const GENERATORS: Readonly<Record<string, fc.Arbitrary<Uint8Array>>> = {
  stack: fc.array(frame, { minLength: 1, maxLength: 12 }).map(encodeScript),
  "tcp-stream": fc
    .tuple(fc.nat(1), fc.array(streamStep, { minLength: 3, maxLength: 40 }))
    .map(([modern, steps]) => join([modern], ...steps)),
  dhcp,
  dns: fc
    .tuple(dnsMessage, dnsMessage)
    .map(([query, answer]) => join([query.length >>> 8, query.length], query, answer)),
  "dns-stream": fc
    .tuple(
      fc.array(dnsMessage, { maxLength: 3 }),
      fc.nat(255),
      fc.array(dnsMessage, { maxLength: 3 }),
      octets(8),
    )
    .map(([sent, size, said, rest]) => {
      const stream = join(...sent.map((message) => framedMessage(message)), rest);
      const answers = said.map((message) => framedMessage(join([0xfe, 0xed, 0x81], message.slice(3))));
      return join([stream.length >>> 8, stream.length, size], stream, ...answers);
    }),
  reassembly: fc
    .array(
      fc.tuple(
        fc.constantFrom(0, 1, 2, 3, 0x40, 0x41),
        fc.nat(20),
        fc.boolean(),
        fc.constantFrom(0, 1, 8, 16, 40),
      ),
      { maxLength: 30 },
    )
    .map((steps) =>
      join(...steps.map(([id, offset, more, length]) => [id, 0, offset, more ? 1 : 0, 0, length])),
    ),
  "tcp-options": fc
    .array(option, { maxLength: 8 })
    .map((list) => join(...list.map(([k, l, v]) => [k, l, ...v]))),
  "qemu-stream": fc
    .tuple(fc.nat(255), fc.array(streamFrame, { maxLength: 8 }))
    .map(([cut, list]) => join([cut], ...list)),
  capture: octets(200),
  ndp: fc
    .tuple(
      fc.nat(255),
      fc.constantFrom(133, 135, 136, 134, 137, 143),
      fc.constantFrom(0, 0x20, 0x60, 0xe0),
      fc.constantFrom(...NDP_TARGETS),
      fc.array(fc.tuple(fc.nat(3), fc.nat(2), fc.uint8Array({ minLength: 6, maxLength: 14 })), {
        maxLength: 3,
      }),
    )
    .map(([how, type, flags, target, list]) =>
      join(
        [how, type, 0, 0, 0, flags, 0, 0, 0],
        target,
        ...list.map(([kind, length, value]) => join([kind, length], value)),
      ),
    ),
  dhcp6: fc
    .tuple(
      fc.nat(255),
      fc.integer({ min: 1, max: 12 }),
      fc.boolean(),
      fc.array(
        fc.record({
          iaid: fc.nat(2),
          addresses: fc.array(fc.constantFrom(...DHCP6_ADDRESSES), { maxLength: 2 }),
        }),
        {
          maxLength: 3,
        },
      ),
      fc.array(fc.constantFrom(23, 24, 31, 32, 39, 59), { maxLength: 4 }),
    )
    .map(([how, type, named, ias, request]) =>
      join([how], client6Message({ type, ias, request, ...(named ? { server: SERVER_DUID } : {}) })),
    ),
  "ipv6-headers": fc
    .tuple(
      fc.constantFrom(...NEXT_HEADERS),
      fc.array(fc.tuple(fc.constantFrom(...NEXT_HEADERS), fc.nat(2), octets(22)), { maxLength: 10 }),
    )
    .map(([first, list]) => join([first], ...list.map(([next, length, body]) => join([next, length], body)))),
  "client-hello": fc
    .tuple(
      fc.nat(3),
      fc.constantFrom("good.example", "GOOD.example.", "evil.example", null),
      fc.integer({ min: 1, max: 400 }),
      octets(40),
    )
    .map(([cut, name, size, more]) => join([cut], inRecords(clientHello(name), size), more)),
  "http-head": fc
    .tuple(
      fc.nat(3),
      fc.constantFrom("GET", "POST", "CONNECT", "g et"),
      fc.constantFrom(
        "/",
        "*",
        "http://good.example/",
        "http://evil.example",
        "good.example:80",
        "http://a@good.example/",
      ),
      fc.array(
        fc.constantFrom(
          "Host: good.example",
          "host:good.example:80",
          "Host: evil.example",
          "X: y",
          " folded",
          "Host : x",
          "Host:",
        ),
        { maxLength: 3 },
      ),
      fc.constantFrom("\r\n", "\r\n", "\r\n", "\n"),
    )
    .map(([cut, method, target, fields, line]) =>
      join([cut], Buffer.from([`${method} ${target} HTTP/1.1`, ...fields, "", ""].join(line))),
    ),
  proxy: fc
    .tuple(
      fc.nat(2),
      fc.nat(63),
      fc.array(
        fc.oneof(
          fc.constantFrom(
            [5, 0],
            [5, 2],
            [1, 0],
            [5, 0, 0, 1, 1, 2, 3, 4, 0, 9],
            [5, 0, 0, 3, 1, 65, 0, 9],
            [5, 5, 0, 1, 0],
          ),
          fc
            .constantFrom(
              "HTTP/1.1 200 OK\r\n",
              "HTTP/1.0 503 no\r\n",
              "A: b\r\n",
              "\r\n",
              "\n",
              "HTTP/2 200",
            )
            .map((text) => [...Buffer.from(text)]),
          octets(30).map((some) => [...some]),
        ),
        { maxLength: 6 },
      ),
    )
    .map(([kind, cut, says]) => join([kind, cut], ...says)),
  "dns-answer": fc
    .array(
      fc.tuple(
        fc.constantFrom(1, 5, 28, 16),
        fc.constantFrom("good.example", "b.example", "c.example"),
        fc.constantFrom("good.example", "b.example", "c.example"),
      ),
      { maxLength: 6 },
    )
    .map((list) =>
      dns.encode({
        type: "response",
        id: 1,
        questions: [{ type: "A", name: "good.example" }],
        answers: list.map(([type, name, data], i): dns.Answer => {
          if (type === 5) return { type: "CNAME", name, ttl: i, data };
          if (type === 28) return { type: "AAAA", name, ttl: i, data: `2001:db8::${i + 1}` };
          return type === 16
            ? { type: "TXT", name, ttl: i, data }
            : { type: "A", name, ttl: i, data: `192.0.2.${i}` };
        }),
      }),
    ),
  records: fc
    .tuple(
      fc.nat(255),
      fc.array(fc.tuple(fc.nat(9), fc.constantFrom(12, 16, 20, 24, 48, 52, 64, 84, 120, 132), octets(160)), {
        maxLength: 6,
      }),
    )
    .map(([cut, list]) => {
      const records = list.map(([type, length, rest]) => {
        const record = new Uint8Array(length);
        record.set(rest.subarray(0, Math.max(0, length - 12)), 12);
        record.set([length >> 8, length & 255, type]);
        return record;
      });
      return join([cut], ...records);
    }),
  grammar: fc
    .tuple(
      fc.nat(20),
      fc.oneof(fc.string(), fc.string({ unit: "binary" }), fc.ipV4(), fc.ipV6(), fc.domain(), fc.webUrl()),
    )
    .map(([which, text]) => join([which], Buffer.from(text))),
  "quic-initial": fc
    .array(
      fc.tuple(
        fc.constantFrom(0, 0, 0, 1, 2, 3, 4, 8, 16, 64, 65),
        fc.nat(3),
        fc.nat(9),
        fc.constantFrom("good.example", "good.example", "evil.example"),
        fc.constantFrom(0, 0, 60, 100),
        fc.constantFrom(60, 100, 200),
      ),
      { minLength: 1, maxLength: 6 },
    )
    .map((list) =>
      join(
        ...list.map(([how, ids, number, name, from, to]) => {
          const frame = crypto(from, clientHello(name).subarray(from, to));
          return join([how, ids, number, frame.length], frame);
        }),
      ),
    ),
};
