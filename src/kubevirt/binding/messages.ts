/**
 * The messages of KubeVirt's hooks in protocol buffers (proto3): the few fields there are, by number. Fields that are not
 * known are passed over, as the encoding asks.
 */

/** Wire types. */
const VARINT = 0;
const FIXED64 = 1;
const LENGTH = 2;
const FIXED32 = 5;

const VARINT_OCTETS_MAX = 10;

/** A message that cannot be read. */
export class MessageError extends Error {
  override readonly name = "MessageError";
}

/** Where a client's hook is called. `priority`: the higher, the earlier. */
export interface HookPoint {
  readonly name: string;
  readonly priority: number;
}

/** `kubevirt.hooks.info.InfoResult`. */
export interface InfoResult {
  readonly name: string;
  readonly hookPoints: readonly HookPoint[];
  readonly versions: readonly string[];
}

/** A domain and the VM it is of: `OnDefineDomainParams`, and `MutateDomainRequest` of the successor. */
export interface DomainRequest {
  readonly domainXml: Uint8Array;
  /** A VirtualMachineInstance in JSON. */
  readonly vmi: Uint8Array;
}

const text = new TextEncoder();

export function encodeInfoResult({ name, hookPoints, versions }: InfoResult): Uint8Array {
  return concat([
    lengthField(1, text.encode(name)),
    ...hookPoints.map((point) =>
      lengthField(3, concat([lengthField(1, text.encode(point.name)), ...numberField(2, point.priority)])),
    ),
    ...versions.map((version) => lengthField(4, text.encode(version))),
  ]);
}

/** `OnDefineDomainResult` and `MutateDomainResponse`: 1 domain. */
export function encodeDomainResult(domainXml: Uint8Array): Uint8Array {
  return lengthField(1, domainXml);
}

/** Reads 1 domainXML, 2 vmi. Throws MessageError. */
export function decodeOnDefineDomain(message: Uint8Array): DomainRequest {
  const fields = lengthFields(message);
  return { domainXml: fields.get(1) ?? new Uint8Array(), vmi: fields.get(2) ?? new Uint8Array() };
}

/** Reads 1 domain_type, 2 domain, 3 vmi of `MutateDomainRequest`. Throws MessageError. */
export function decodeMutateDomain(message: Uint8Array): DomainRequest & { readonly domainType: string } {
  const fields = lengthFields(message);
  return {
    domainType: new TextDecoder().decode(fields.get(1)),
    domainXml: fields.get(2) ?? new Uint8Array(),
    vmi: fields.get(3) ?? new Uint8Array(),
  };
}

/** The fields of a message that have a length, the last of each number. Throws MessageError. */
function lengthFields(message: Uint8Array): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>();
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let n = 0; n < VARINT_OCTETS_MAX; n++) {
      const octet = message[at++];
      if (octet === undefined) throw new MessageError("a message that is cut off");
      // Beyond 2^53 it is no length, and no number that is looked at.
      value += (octet & 0x7f) * 2 ** (7 * n);
      if (octet < 0x80) return value;
    }
    throw new MessageError("a number of more than ten octets");
  };
  while (at < message.length) {
    const tag = varint();
    const type = tag % 8;
    let octets = 0;
    if (type === VARINT) varint();
    else if (type === FIXED64) octets = 8;
    else if (type === FIXED32) octets = 4;
    else if (type === LENGTH) octets = varint();
    else throw new MessageError(`a field of wire type ${type}`);
    if (octets > message.length - at) throw new MessageError("a field that is longer than its message");
    if (type === LENGTH) found.set(Math.floor(tag / 8), message.subarray(at, at + octets));
    at += octets;
  }
  return found;
}

function lengthField(number: number, octets: Uint8Array): Uint8Array {
  return concat([encodeVarint(number * 8 + LENGTH), encodeVarint(octets.length), octets]);
}

/** Nothing for 0, which is the default. */
function numberField(number: number, value: number): Uint8Array[] {
  return value === 0 ? [] : [encodeVarint(number * 8 + VARINT), encodeVarint(value)];
}

function encodeVarint(value: number): Uint8Array {
  const octets: number[] = [];
  let left = value;
  for (; left >= 0x80; left = Math.floor(left / 0x80)) octets.push((left % 0x80) | 0x80);
  octets.push(left);
  return Uint8Array.from(octets);
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}
