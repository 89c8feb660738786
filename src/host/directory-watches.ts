/** Watches on a set of directories that changes. What cannot be watched (not there, not ours, no watches left) a poll has to see. */
import { type FSWatcher, watch } from "node:fs";

export class DirectoryWatches {
  private readonly watchers = new Map<string, FSWatcher>();

  /** `notice` hears of each entry made, replaced, written or removed; its name is null where the kernel does not say it. */
  constructor(private readonly notice: (directory: string, name: string | null) => void) {}

  get directories(): readonly string[] {
    return [...this.watchers.keys()];
  }

  /** Watches these directories from now on, and no others. Keeps no process alive. */
  follow(wanted: ReadonlySet<string>): void {
    for (const directory of this.directories) if (!wanted.has(directory)) this.forget(directory);
    for (const directory of wanted) if (!this.watchers.has(directory)) this.add(directory);
  }

  private add(directory: string): void {
    try {
      const watcher = watch(directory, { persistent: false }, (_event, name) => this.notice(directory, name));
      watcher.on("error", () => this.forget(directory));
      this.watchers.set(directory, watcher);
    } catch {
      // The poll does it alone.
    }
  }

  /** The next `follow` watches what is there by then: a watch stays with the directory that it was made for. */
  forget(directory: string): void {
    this.watchers.get(directory)?.close();
    this.watchers.delete(directory);
  }

  close(): void {
    this.follow(new Set());
  }
}
