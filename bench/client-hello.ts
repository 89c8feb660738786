/** A ClientHello as this Node's TLS sends it. */
import { Duplex } from "node:stream";
import { connect } from "node:tls";

/** What TLS says first to a server of this name: a record. */
export function clientHello(servername: string): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = new Duplex({
      read() {},
      write(chunk: Buffer, _, done) {
        done();
        resolve(chunk);
        setImmediate(() => client.destroy());
      },
    });
    const client = connect({ socket, servername });
    client.on("error", reject);
  });
}
