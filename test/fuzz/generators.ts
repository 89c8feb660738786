/** Inputs that have the shape a target expects, with anything in the fields: what mutation alone takes long to find. */
import fc from "fast-check";
import { packet, tcp, udpPayload } from "../hostile/guest-packets.ts";
import { clientMessage } from "../support/dhcp-client.ts";
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
    .array(fc.tuple(fc.nat(3), fc.nat(20), fc.boolean(), fc.constantFrom(0, 1, 8, 16, 40)), { maxLength: 30 })
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
  grammar: fc
    .tuple(
      fc.nat(20),
      fc.oneof(fc.string(), fc.string({ unit: "binary" }), fc.ipV4(), fc.ipV6(), fc.domain(), fc.webUrl()),
    )
    .map(([which, text]) => join([which], Buffer.from(text))),
};
