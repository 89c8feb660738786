/**
 * The files that Unix sockets leave in the file system: made for this user alone, taken over when the program that
 * made them is gone, removed at the end only if they are still ours.
 */
import { lstatSync, unlinkSync } from "node:fs";
import { EADDRINUSE, ECONNREFUSED } from "../../engine/boundary.ts";
import { ENOENT, SO_PEERCRED, SOL_SOCKET } from "../native/linux.ts";
import { native } from "../native/native.ts";
import { describeErrno, StartError } from "../start-error.ts";

/** Nobody but the owner may connect. */
const OWNER_ONLY_UMASK = 0o177;

export class SocketFile {
  private constructor(
    readonly fd: number,
    private readonly path: string,
    private readonly inode: bigint,
  ) {}

  /** Binds (and for streams listens on) `path`. Throws StartError, with `place` for the message. */
  static open(path: string, type: "stream" | "dgram", place: string): SocketFile {
    let fd = bindOwnerOnly(path, type);
    if (fd === EADDRINUSE) {
      removeStale(path, type, place);
      fd = bindOwnerOnly(path, type);
    }
    if (fd < 0) throw new StartError([{ place, reason: describeErrno(fd) }]);
    return new SocketFile(fd, path, inodeOf(path));
  }

  /** Removes the file if it is the one we made. The descriptor belongs to the caller. */
  remove(): void {
    if (this.inode === 0n || inodeOf(this.path) !== this.inode) return;
    try {
      unlinkSync(this.path);
    } catch {
      // The directory may have become read-only; the next start takes a stale file over.
    }
  }
}

function bindOwnerOnly(path: string, type: "stream" | "dgram"): number {
  const before = process.umask(OWNER_ONLY_UMASK);
  try {
    return native.unixListen(path, type);
  } finally {
    process.umask(before);
  }
}

/** Unlinks a socket that nobody serves any more. Throws StartError for one that is served, or is no socket. */
function removeStale(path: string, type: "stream" | "dgram", place: string): void {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return;
  if (!stat.isSocket()) {
    throw new StartError([{ place, reason: `${path} exists and is not a socket` }]);
  }
  const probe = native.unixConnect(path, type);
  const owner = probe < 0 ? 0 : native.getOption(probe, SOL_SOCKET, SO_PEERCRED);
  if (probe >= 0) native.close(probe);
  if (probe === ECONNREFUSED) unlinkSync(path);
  else if (probe !== ENOENT) {
    throw new StartError([
      { place, reason: `another program is using ${path}${owner > 0 ? ` (process ${owner})` : ""}` },
    ]);
  }
}

function inodeOf(path: string): bigint {
  try {
    return lstatSync(path, { bigint: true }).ino;
  } catch {
    return 0n; // Removed, or an abstract name, which has no file.
  }
}
