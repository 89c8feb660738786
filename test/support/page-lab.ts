/** What tests of policies with real commands share: a page on the host's loopback, and a name server that has it behind the gateway. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll } from "vitest";
import { DnsServer } from "./dns-server.ts";

export const GATEWAY = "10.0.2.2";

export interface PageLab {
  readonly directory: string;
  /** Of the name server and of the page, once the tests run. */
  readonly dns: DnsServer;
  readonly port: number;
  /** For `sluice`, whose instances are to be found in the directory. */
  readonly env: () => NodeJS.ProcessEnv;
}

/** For the top of a file: hooks of vitest open and close what it gives. `name` is part of the directory's. */
export function pageLab(name: string): PageLab {
  const directory = mkdtempSync(join(tmpdir(), `sluice-${name}-`));
  mkdirSync(join(directory, "run"), { mode: 0o700 });
  const dns = new DnsServer(GATEWAY);
  const server = createServer((_request, response) => response.end("page\n"));
  let port = 0;
  beforeAll(async () => {
    await dns.listen();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    port = (server.address() as AddressInfo).port;
  });
  afterAll(() => {
    server.close();
    dns.close();
    rmSync(directory, { recursive: true, force: true });
  });
  const env = (): NodeJS.ProcessEnv => ({ ...process.env, XDG_RUNTIME_DIR: join(directory, "run") });
  return {
    directory,
    dns,
    env,
    get port() {
      return port;
    },
  };
}
