/**
 * A gRPC server of unary calls: HTTP/2 without TLS, as gRPC's PROTOCOL-HTTP2.md describes it. Compression is not offered,
 * so nobody may use it.
 */
import { createServer, type Http2Server, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";

/** Status codes of gRPC. */
const GRPC_CODES = {
  OK: 0,
  INVALID_ARGUMENT: 3,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
} as const;
type GrpcCode = keyof typeof GRPC_CODES;

/** Why a call is refused, for the person who reads a VM's events. */
export class CallRefusal extends Error {
  override readonly name = "CallRefusal";
  constructor(
    readonly code: Exclude<GrpcCode, "OK">,
    message: string,
  ) {
    super(message);
  }
}

/** One method: octets of the request's message to those of the reply's. Rejects with a CallRefusal. */
export type UnaryMethod = (request: Uint8Array) => Promise<Uint8Array>;

/** What gRPC's own clients and servers take unless told otherwise. */
export const MESSAGE_OCTETS_MAX = 4 * 1_048_576;
/** Flag and length in front of each message. */
const PREFIX_OCTETS = 5;
const CALLS_AT_ONCE_MAX = 16;

/** A server of the methods, by their paths (`/package.Service/Method`). `replied` is called when a reply is on its way. */
export function grpcServer(
  methods: ReadonlyMap<string, UnaryMethod>,
  replied: (path: string) => void = () => {},
): Http2Server {
  const server = createServer({
    settings: { maxConcurrentStreams: CALLS_AT_ONCE_MAX, enablePush: false },
  });
  server.on("stream", (stream, headers) => {
    // A client that goes away in the middle of a call is its own business.
    stream.on("error", () => stream.destroy());
    serveCall(stream, headers, methods).then(replied, (error: unknown) => refuse(stream, error));
  });
  server.on("sessionError", () => {});
  return server;
}

/** Answers a call. Resolves with its path; rejects with why not. */
async function serveCall(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  methods: ReadonlyMap<string, UnaryMethod>,
): Promise<string> {
  const path = String(headers[":path"]);
  const type = String(headers["content-type"]);
  if (headers[":method"] !== "POST" || !/^application\/grpc([+;]|$)/.test(type)) {
    stream.respond({ ":status": 415 }, { endStream: true });
    return "";
  }
  const method = methods.get(path);
  if (method === undefined) throw new CallRefusal("UNIMPLEMENTED", `no method ${path} here`);
  const reply = await method(messageOf(await readAll(stream)));
  if (stream.closed) return path;
  stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": String(GRPC_CODES.OK) }));
  const frame = Buffer.alloc(PREFIX_OCTETS + reply.length);
  frame.writeUInt32BE(reply.length, 1);
  frame.set(reply, PREFIX_OCTETS);
  await new Promise<void>((resolve) => {
    stream.once("close", resolve);
    stream.end(frame);
  });
  return path;
}

/** A whole request. Rejects with a CallRefusal once it is too long. */
function readAll(stream: ServerHttp2Stream): Promise<Buffer> {
  const parts: Buffer[] = [];
  let octets = 0;
  return new Promise((resolve, reject) => {
    // Not by iteration, whose end would take the stream along that the refusal goes over.
    stream.on("data", (part: Buffer) => {
      octets += part.length;
      if (octets <= MESSAGE_OCTETS_MAX + PREFIX_OCTETS) parts.push(part);
      else
        reject(new CallRefusal("RESOURCE_EXHAUSTED", `a message of more than ${MESSAGE_OCTETS_MAX} octets`));
    });
    stream.once("end", () => resolve(Buffer.concat(parts)));
    stream.once("close", () => reject(new CallRefusal("INTERNAL", "the call was given up")));
  });
}

/** The one message of a unary request. Throws a CallRefusal. */
function messageOf(body: Buffer): Uint8Array {
  if (body.length < PREFIX_OCTETS) throw new CallRefusal("INTERNAL", "a request without a message");
  if (body[0] !== 0) throw new CallRefusal("UNIMPLEMENTED", "compressed messages are not taken");
  if (body.readUInt32BE(1) !== body.length - PREFIX_OCTETS)
    throw new CallRefusal("INTERNAL", "a request whose message is not as long as it says");
  return body.subarray(PREFIX_OCTETS);
}

function refuse(stream: ServerHttp2Stream, error: unknown): void {
  if (stream.closed || stream.destroyed || stream.headersSent) return;
  const code = error instanceof CallRefusal ? error.code : "INTERNAL";
  const message = error instanceof Error ? error.message : String(error);
  stream.respond(
    {
      ":status": 200,
      "content-type": "application/grpc",
      "grpc-status": String(GRPC_CODES[code]),
      "grpc-message": percentEncoded(message),
    },
    { endStream: true },
  );
  // The rest of a request that is not wanted.
  stream.resume();
}

/** A status message as a header has it: printable ASCII but %, and %XX for every other octet of its UTF-8. */
function percentEncoded(message: string): string {
  return [...Buffer.from(message)]
    .map((octet) =>
      octet >= 0x20 && octet <= 0x7e && octet !== 0x25
        ? String.fromCharCode(octet)
        : `%${octet.toString(16).toUpperCase().padStart(2, "0")}`,
    )
    .join("");
}
