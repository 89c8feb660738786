/** Servers of the host that a policy lets a guest reach by a name, or not: TLS, HTTP, and one that speaks first. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, createServer, type Server } from "node:net";
import { join } from "node:path";
import { createServer as createTlsServer } from "node:tls";

/** Makes `key.pem` and `cert.pem`, of `name` for a day, in `directory`; gives their paths. */
export function makeCertificate(directory: string, name: string): { key: string; cert: string } {
  const [key, cert] = [join(directory, "key.pem"), join(directory, "cert.pem")];
  spawnSync("openssl", [
    ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"],
    ...["-keyout", key, "-out", cert, "-subj", `/CN=${name}`],
    ...["-addext", `subjectAltName=DNS:${name}`],
  ]);
  return { key, cert };
}

export class NamedServers {
  readonly ports = { tls: 0, http: 0, raw: 0 };
  /** Names that connections over TLS have shown. */
  readonly shown: string[] = [];
  private readonly servers: Server[] = [];

  /** `name` is the certificate's, `greeting` what the server that speaks first says. */
  async open(directory: string, name: string, greeting: string): Promise<void> {
    const { key, cert } = makeCertificate(directory, name);
    const tls = createTlsServer({ key: readFileSync(key), cert: readFileSync(cert) }, (socket) => {
      this.shown.push(String(socket.servername));
      socket.on("error", () => {});
      socket.once("data", () =>
        socket.end("HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nby name\n"),
      );
    });
    tls.on("tlsClientError", () => {});
    this.ports.tls = await this.listen(tls);
    this.ports.http = await this.listen(
      createHttpServer((request, response) => response.end(`host ${request.headers.host}\n`)),
    );
    this.ports.raw = await this.listen(createServer((socket) => socket.end(greeting).on("error", () => {})));
  }

  /** Has `server` listen until `close`; gives its port. */
  async listen(server: Server): Promise<number> {
    this.servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return (server.address() as AddressInfo).port;
  }

  close(): void {
    for (const server of this.servers) server.close();
  }
}
