/** What the demo's guest finds on the host: a page, and a place to move data to and from. */
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";

const CHUNK = Buffer.alloc(262_144, "sluice ");

export interface HostServices {
  readonly pagePort: number;
  /** Takes all it is sent. */
  readonly sinkPort: number;
  /** Sends as fast as it can. */
  readonly sourcePort: number;
  /** Octets that the guest has sent and has taken, so far. */
  moved(): { up: number; down: number };
  close(): void;
}

function listening(server: Server): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => resolve((server.address() as AddressInfo).port));
  });
}

function pour(socket: Socket): void {
  while (socket.writable && socket.write(CHUNK));
  if (socket.writable) socket.once("drain", () => pour(socket));
}

export async function startHostServices(): Promise<HostServices> {
  const sockets = new Set<Socket>();
  let up = 0;
  const track = (socket: Socket): void => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => sockets.delete(socket));
  };
  let poured: Socket | undefined;
  const page = createHttpServer((request, response) => {
    response.setHeader("connection", "close");
    response.end(`Hello from the host. You came from ${request.socket.remoteAddress}.\n`);
  });
  const sink = createServer((socket) => {
    track(socket);
    socket.on("data", (chunk) => {
      up += chunk.length;
    });
  });
  const source = createServer((socket) => {
    track(socket);
    poured = socket;
    socket.resume();
    pour(socket);
  });
  const [pagePort, sinkPort, sourcePort] = await Promise.all([
    listening(page),
    listening(sink),
    listening(source),
  ]);
  return {
    pagePort,
    sinkPort,
    sourcePort,
    moved: () => ({ up, down: poured === undefined ? 0 : poured.bytesWritten - poured.writableLength }),
    close: () => {
      for (const socket of sockets) socket.destroy();
      for (const server of [page, sink, source]) server.close();
    },
  };
}
