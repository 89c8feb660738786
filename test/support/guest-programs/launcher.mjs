#!/usr/bin/node
/**
 * What a launcher without a cluster does with a sidecar: waits for its hook socket, has the domain of STANDALONE_VMI made, says it, and
 * says that the VM has ended.
 */
import { existsSync } from "node:fs";
import { connect } from "node:http2";
import { createConnection } from "node:net";

const SOCKET = "/var/run/kubevirt-hooks/hook-sidecar-0/sluice-sluice.sock";
const CALLBACKS = "/kubevirt.hooks.v1alpha3.Callbacks";

while (!existsSync(SOCKET)) await new Promise((resolve) => setTimeout(resolve, 300));
const session = connect("http://localhost", { createConnection: () => createConnection(SOCKET) });

/** A number as protobuf writes it. */
const varint = (value) => (value < 128 ? [value] : [(value & 127) | 128, ...varint(value >>> 7)]);

/** A field of octets. */
function field(number, text) {
  const octets = Buffer.from(text);
  return Buffer.concat([Buffer.from([(number << 3) | 2, ...varint(octets.length)]), octets]);
}

/** Calls a method of gRPC. Gives the reply's octets; rejects with the server's words. */
function call(method, ...fields) {
  const message = Buffer.concat(fields);
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  return new Promise((resolve, reject) => {
    const headers = { "content-type": "application/grpc", te: "trailers" };
    const stream = session.request({ ":method": "POST", ":path": `${CALLBACKS}/${method}`, ...headers });
    const parts = [];
    let status = {};
    const note = (fields) => {
      if (fields["grpc-status"] !== undefined) status = fields;
    };
    stream.on("response", note).on("trailers", note).on("error", reject);
    stream.on("data", (octets) => parts.push(octets));
    stream.on("close", () => {
      if (status["grpc-status"] === "0") resolve(Buffer.concat(parts));
      else reject(new Error(String(status["grpc-message"])));
    });
    stream.end(Buffer.concat([prefix, message]));
  });
}

const domain = await call(
  "OnDefineDomain",
  field(1, "<domain><devices/></domain>"),
  field(2, process.env.STANDALONE_VMI),
);
console.log(domain.toString("latin1"));
await call("Shutdown");
session.close();
