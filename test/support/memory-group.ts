/** A control group that bounds the memory of what runs in it, as a container's does. Needs root. */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { until } from "./program.ts";
import type { Needs } from "./requirements.ts";

interface Files {
  readonly root: string;
  /** Of a group: its bound, what it takes at most, and how often something was killed for it. */
  readonly bound: string;
  readonly peak: string;
  readonly events: string;
}

/** Version 1 of control groups, or 2. */
const FILES: Files = existsSync("/sys/fs/cgroup/memory/memory.limit_in_bytes")
  ? {
      root: "/sys/fs/cgroup/memory",
      bound: "memory.limit_in_bytes",
      peak: "memory.max_usage_in_bytes",
      events: "memory.oom_control",
    }
  : { root: "/sys/fs/cgroup", bound: "memory.max", peak: "memory.peak", events: "memory.events" };

export const MEMORY_GROUP_NEEDS: Needs = { root: true, files: [join(FILES.root, "cgroup.procs")] };

let count = 0;

export class MemoryGroup {
  readonly #path = join(FILES.root, `sluice-test-${process.pid}-${count++}`);

  constructor(octets: number) {
    if (FILES.bound === "memory.max") writeFileSync(join(FILES.root, "cgroup.subtree_control"), "+memory");
    mkdirSync(this.#path);
    writeFileSync(join(this.#path, FILES.bound), String(octets));
  }

  /** A command that runs the rest of its arguments in the group. */
  get enter(): readonly string[] {
    return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', join(this.#path, "cgroup.procs")];
  }

  /** How many processes were killed because there was no memory for them. */
  get kills(): number {
    return Number(/^oom_kill (\d+)$/m.exec(this.#read(FILES.events))?.[1]);
  }

  /** The most that was in use, octets; what the kernel keeps of files for them is part of it. */
  get peak(): number {
    return Number(this.#read(FILES.peak));
  }

  /** Memory in files and shared that is its: what it wrote to first. */
  get sharedOctets(): number {
    return Number(/^shmem (\d+)$/m.exec(this.#read("memory.stat"))?.[1]);
  }

  #read(name: string): string {
    return readFileSync(join(this.#path, name), "utf8");
  }

  /** Once nothing runs in it any more. */
  async remove(): Promise<void> {
    await until(() => this.#read("cgroup.procs") === "", "the group is empty");
    rmdirSync(this.#path);
  }
}
