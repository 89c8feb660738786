/**
 * Notices that what lies behind a path has changed: written, replaced by rename, reached through another symbolic
 * link, created or removed. The directory is watched, because a watch on the file follows the old file through a
 * rename; a slow poll finds what inotify cannot see (a link whose target changes elsewhere, a network file system).
 */
import { type FSWatcher, statSync, watch } from "node:fs";
import { dirname } from "node:path";

const POLL_MS = 2000;
/** Programs write in several steps; wait for the last. */
const SETTLE_MS = 50;

export class PathWatch {
  private watcher: FSWatcher | null = null;
  private readonly poll: NodeJS.Timeout;
  private settling: NodeJS.Timeout | null = null;
  private seen: string;

  /** Calls `changed` some time after each change. Keeps no process alive. */
  constructor(
    private readonly path: string,
    private readonly changed: () => void,
  ) {
    this.seen = fingerprint(path);
    this.poll = setInterval(this.compare, POLL_MS);
    this.poll.unref();
    try {
      this.watcher = watch(dirname(path), { persistent: false }, this.notice);
      this.watcher.on("error", () => this.closeWatcher());
    } catch {
      this.watcher = null; // No such directory yet, or no inotify watches left: the poll does it alone.
    }
  }

  private readonly notice = (): void => {
    if (this.settling !== null) return;
    this.settling = setTimeout(this.compare, SETTLE_MS);
    this.settling.unref();
  };

  private readonly compare = (): void => {
    if (this.settling !== null) clearTimeout(this.settling);
    this.settling = null;
    const now = fingerprint(this.path);
    if (now === this.seen) return;
    this.seen = now;
    this.changed();
  };

  private closeWatcher(): void {
    this.watcher?.close();
    this.watcher = null;
  }

  close(): void {
    clearInterval(this.poll);
    if (this.settling !== null) clearTimeout(this.settling);
    this.closeWatcher();
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
