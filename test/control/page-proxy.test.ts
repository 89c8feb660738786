/** The page's server: who may ask it for what. The API behind it is a stand-in here. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, request, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type PageProxy, startPageProxy } from "../../src/control/page-proxy.ts";

let directory = "";
let proxy: PageProxy;
let api: Server;
let asked: { method: string; url: string; body: string; headers: IncomingMessage["headers"] }[] = [];
const token = (): string => proxy.address.split("#")[1] ?? "";

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly headers: IncomingMessage["headers"];
}

function ask(method: string, path: string, headers: Record<string, string> = {}, body = ""): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const message = request(
      { host: "127.0.0.1", port: proxy.port, method, path, headers, agent: false },
      (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (piece: string) => {
          text += piece;
        });
        response.on("end", () =>
          resolve({ status: response.statusCode ?? 0, body: text, headers: response.headers }),
        );
      },
    );
    message.on("error", reject);
    message.end(body);
  });
}
const authorized = (): Record<string, string> => ({ authorization: `Bearer ${token()}` });

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "sluice-page-"));
  for (const name of ["index.html", "page.js", "page.css"])
    writeFileSync(join(directory, name), `the ${name}`);
  asked = [];
  api = createServer((message, response) => {
    let body = "";
    message.on("data", (piece) => {
      body += piece;
    });
    message.on("end", () => {
      asked.push({ method: message.method ?? "", url: message.url ?? "", body, headers: message.headers });
      response.writeHead(200, { "content-type": "application/json", "set-cookie": "x=1" });
      response.end('{"ok":true}');
    });
  });
  const socketPath = join(directory, "api.sock");
  await new Promise<void>((resolve) => {
    api.listen(socketPath, resolve);
  });
  proxy = await startPageProxy({ socketPath, directory });
});
afterEach(async () => {
  await proxy.close();
  api.close();
  rmSync(directory, { recursive: true });
});

describe("the page's server", () => {
  it("gives the page to whoever asks, without the token, which is in the fragment", async () => {
    expect(proxy.address).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/#[\w-]{43}$/);
    const page = await ask("GET", "/");
    expect([page.status, page.body]).toEqual([200, "the index.html"]);
    expect(page.headers["content-type"]).toBe("text/html; charset=utf-8");
    expect((await ask("GET", "/page.js")).body).toBe("the page.js");
    expect((await ask("HEAD", "/page.css")).body).toBe("");
  });

  it("lets pages load from it alone, run nothing of their own, and be framed by nobody", async () => {
    const { headers } = await ask("GET", "/");
    const policy = headers["content-security-policy"] ?? "";
    for (const part of [
      "default-src 'none'",
      "script-src 'self'",
      "frame-ancestors 'none'",
      "base-uri 'none'",
    ]) {
      expect(policy).toContain(part);
    }
    expect(policy).not.toContain("unsafe");
    expect(headers).toMatchObject({
      "referrer-policy": "no-referrer",
      "x-content-type-options": "nosniff",
      "cache-control": "no-store",
    });
  });

  it("asks the API for who has the token", async () => {
    const answer = await ask("GET", "/v1/flows?after=0", authorized());
    expect([answer.status, answer.body]).toEqual([200, '{"ok":true}']);
    expect(answer.headers["set-cookie"]).toBeUndefined();
    expect(asked).toMatchObject([{ method: "GET", url: "/v1/flows?after=0" }]);
    expect(asked[0]?.headers.authorization).toBeUndefined();
    await ask("POST", "/v1/why", { ...authorized(), "content-type": "application/json" }, '{"target":"1"}');
    expect(asked[1]).toMatchObject({ body: '{"target":"1"}' });
    expect((await ask("DELETE", "/v1/flows/17", authorized())).status).toBe(200);
  });

  it("asks it nothing for who has not", async () => {
    const wrong = ["", "Bearer ", `Bearer ${"x".repeat(43)}`, token(), `Basic ${token()}`];
    for (const authorization of wrong) {
      expect((await ask("GET", "/v1/state", { authorization })).status).toBe(401);
    }
    expect(asked).toEqual([]);
  });

  it("asks it nothing that the page has no use for", async () => {
    const paths = [
      ["POST", "/v1/stop"],
      ["DELETE", "/v1/flows?host=example.org"],
      ["PUT", "/v1/link"],
      ["POST", "/v1/captures"],
      ["POST", "/v1/forwards"],
      ["GET", "/v1/state/../stop"],
      ["GET", "//v1/state"],
      ["GET", "/../index.html"],
      ["GET", "/v1/statex"],
      ["POST", "/"],
    ] as const;
    for (const [method, path] of paths)
      expect([path, (await ask(method, path, authorized())).status]).toEqual([path, 404]);
    expect(asked).toEqual([]);
  });

  it("refuses names that lead here and are not ours (DNS rebinding)", async () => {
    const { port } = proxy;
    for (const host of [
      "evil.example",
      `evil.example:${port}`,
      "127.0.0.1",
      `127.0.0.1:${port + 1}`,
      "localhost",
    ]) {
      expect([host, (await ask("GET", "/v1/state", { ...authorized(), host })).status]).toEqual([host, 403]);
      expect((await ask("GET", "/", { host })).status).toBe(403);
    }
    for (const host of [`localhost:${port}`, `[::1]:${port}`, `127.0.0.1:${port}`]) {
      expect((await ask("GET", "/v1/state", { ...authorized(), host })).status).toBe(200);
    }
  });

  it("refuses pages of other origins, even with the token", async () => {
    const { port } = proxy;
    for (const origin of [
      "https://evil.example",
      "null",
      `http://localhost:${port}`,
      `https://127.0.0.1:${port}`,
    ]) {
      expect([origin, (await ask("GET", "/v1/state", { ...authorized(), origin })).status]).toEqual([
        origin,
        403,
      ]);
    }
    const origin = `http://127.0.0.1:${port}`;
    expect((await ask("POST", "/v1/why", { ...authorized(), origin }, "{}")).status).toBe(200);
    expect(asked.length).toBe(1);
  });

  it("says what is wrong as a problem, and what the API says as it is", async () => {
    await new Promise((resolve) => api.close(resolve));
    const { status, body, headers } = await ask("GET", "/v1/state", authorized());
    expect([status, headers["content-type"]]).toEqual([502, "application/problem+json"]);
    expect(JSON.parse(body).detail).toContain("does not answer");
  });

  it("takes no body of more than 64 KiB", async () => {
    const answer = await ask("POST", "/v1/why", authorized(), "x".repeat(70_000));
    expect(answer.status).toBe(413);
  });
});
