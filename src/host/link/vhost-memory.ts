/** The memory that a front-end shares, and the log of pages that were written: the shim's mappings, with sentences. */
import type { Logger } from "../../engine/boundary.ts";
import { EBADF, EEXIST, EFBIG } from "../native/linux.ts";
import { native } from "../native/native.ts";
import { describeErrno } from "../start-error.ts";

/** What the shim says of a file it would not map. */
function mapProblem(what: string, errno: number): string {
  if (errno === EBADF) return `${what} is no regular file`;
  if (errno === EFBIG) return `${what} is longer than its file`;
  if (errno === EEXIST) return `${what} lies over another region`;
  return `${what}: ${describeErrno(errno)}`;
}

export class GuestMemory {
  private regions = 0;
  private hasLog = false;
  private logging = false;
  private toldUnsealed = false;

  constructor(
    private readonly name: string,
    private readonly log: Logger,
  ) {}

  get isEmpty(): boolean {
    return this.regions === 0;
  }

  /** Maps a region, as the message has it: guest address, size, front-end address, offset. Returns why not, or "". */
  add(fd: number, region: Int32Array): string {
    const result = native.vhostMap(fd, region);
    if (result < 0) return mapProblem("a region of memory", result);
    this.regions++;
    if (result === 0 && !this.toldUnsealed) {
      this.toldUnsealed = true;
      this.log.info(
        `${this.name}: the memory's file may shrink (memory-backend-memfd seals its own); that would end the link`,
      );
    }
    return "";
  }

  /** False when there is no such region. */
  remove(region: Int32Array): boolean {
    if (native.vhostUnmap(region) < 0) return false;
    this.regions--;
    return true;
  }

  clear(): void {
    native.vhostUnmapAll();
    this.regions = 0;
  }

  /** Maps the log: size and offset. Returns why not, or "". */
  openLog(fd: number, record: Int32Array): string {
    const result = native.vhostLog(fd, record);
    this.hasLog = result >= 0;
    if (result < 0) return mapProblem("the log", result);
    this.setLogging(this.logging);
    return "";
  }

  /** Writes to the guest's memory go to the log from now on, as soon as there is one. */
  setLogging(on: boolean): void {
    this.logging = on;
    if (this.hasLog) native.vhostSetLogging(on ? 1 : 0);
  }

  close(): void {
    native.vhostReset();
    this.regions = 0;
    this.hasLog = false;
  }
}
