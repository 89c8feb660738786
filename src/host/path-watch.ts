/**
 * Notices that what lies behind a path has changed: written, replaced by rename, reached through another symbolic
 * link, created or removed. Directories are watched, because a watch on the file follows the old file through a rename: the
 * path's own, and the one where its links end. A slow poll finds what inotify cannot see (a link on the way that changes, a
 * network file system).
 */
import { realpathSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { DirectoryWatches } from "./directory-watches.ts";

/** A hundred engines at rest look so often. */
const POLL_MS = 5000;
/** Programs write in several steps; wait for the last. */
const SETTLE_MS = 50;

export class PathWatch {
  private readonly watches = new DirectoryWatches(() => this.notice());
  private readonly poll: NodeJS.Timeout;
  private settling: NodeJS.Timeout | null = null;
  private seen: string;

  /** Calls `changed` some time after each change. Keeps no process alive. */
  constructor(
    private readonly path: string,
    private readonly changed: () => void,
  ) {
    this.seen = fingerprint(path);
    this.follow();
    this.poll = setInterval(this.compare, POLL_MS);
    this.poll.unref();
  }

  private follow(): void {
    this.watches.follow(new Set([dirname(this.path), targetDirectory(this.path)]));
  }

  private notice(): void {
    if (this.settling !== null) return;
    this.settling = setTimeout(this.compare, SETTLE_MS);
    this.settling.unref();
  }

  private readonly compare = (): void => {
    if (this.settling !== null) clearTimeout(this.settling);
    this.settling = null;
    const now = fingerprint(this.path);
    if (now === this.seen) return;
    this.seen = now;
    // Its directory may be another one of the same name, which the watch would not see.
    this.watches.close();
    this.follow();
    this.changed();
  };

  close(): void {
    clearInterval(this.poll);
    if (this.settling !== null) clearTimeout(this.settling);
    this.watches.close();
  }
}

/** Where the path's links end; its own directory when they lead nowhere. */
function targetDirectory(path: string): string {
  try {
    return dirname(realpathSync(path));
  } catch {
    return dirname(path);
  }
}

/** Tells one state of a file from another: which file it is, and when it was written. Empty when it cannot be reached. */
function fingerprint(path: string): string {
  try {
    const stat = statSync(path, { bigint: true });
    return `${stat.dev}:${stat.ino}:${stat.size}:${stat.mtimeNs}:${stat.ctimeNs}`;
  } catch {
    return "";
  }
}
