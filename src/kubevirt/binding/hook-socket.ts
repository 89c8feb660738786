/**
 * A socket in a folder where KubeVirt's launcher dials every file it finds, and gives up a VM for one that takes its
 * connection and does not answer: it is made in a folder beside and gets its place when it answers.
 */
import { mkdirSync, renameSync, rmSync } from "node:fs";
import type { Http2Server, ServerHttp2Session } from "node:http2";
import { dirname, join } from "node:path";

/** Only its owner, which the launcher's user is, too. */
const OWNER_ONLY_UMASK = 0o177;

/** How long a client that stays connected may take with what it has asked, at the end. */
const LAST_CALLS_MS = 300;

export interface HookSocket {
  readonly path: string;
  /** Takes the socket away and no more calls; connections end soon after. */
  close(): void;
}

/**
 * Has `server` answer at `path`, by way of `workDirectory` on the same file system. What somebody has left there is replaced.
 * Rejects with the system's error.
 */
export async function openHookSocket(
  server: Http2Server,
  path: string,
  workDirectory: string,
): Promise<HookSocket> {
  mkdirSync(workDirectory, { recursive: true, mode: 0o700 });
  mkdirSync(dirname(path), { recursive: true });
  const sessions = new Set<ServerHttp2Session>();
  server.on("session", (session) => {
    sessions.add(session);
    session.once("close", () => sessions.delete(session));
  });
  const made = join(workDirectory, `made-${process.pid}`);
  rmSync(made, { force: true });
  const before = process.umask(OWNER_ONLY_UMASK);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      // Bound when this returns: the mask is in force.
      server.listen(made, resolve);
    });
  } finally {
    process.umask(before);
  }
  renameSync(made, path);
  return {
    path,
    close: () => {
      rmSync(path, { force: true });
      server.close();
      for (const session of sessions) session.close();
      setTimeout(() => {
        for (const session of sessions) session.destroy();
      }, LAST_CALLS_MS).unref();
    },
  };
}
