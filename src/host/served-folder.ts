/**
 * The folder that TFTP serves. A file is found without being opened (O_PATH), looked at, and only then opened for reading,
 * by the descriptor that found it: what a name leads to may change meanwhile, what was found does not. Where it lies the
 * kernel says (proc(5), /proc/PID/fd), links followed: below the folder, or it is none of the folder's. So links within
 * the folder work, and none leads out. A device or a pipe is never opened.
 */
import {
  accessSync,
  closeSync,
  constants,
  fstatSync,
  openSync,
  readlinkSync,
  readSync,
  realpathSync,
  statSync,
} from "node:fs";
import type { ServedFiles } from "../engine/boundary.ts";
import { EACCES, EIO, ENOENT, O_PATH } from "./native/linux.ts";
import { StartError } from "./start-error.ts";

/** What `--tftp` may be, for complaints. */
export const FOLDER_ALLOWED = "a folder that is there, other than /";

/** The folder's own path, links followed; undefined for what is no folder, or the root, which leaves nothing out. */
export function folderOf(path: string): string | undefined {
  try {
    const real = realpathSync(path);
    return statSync(real).isDirectory() && real !== "/" ? real : undefined;
  } catch {
    return undefined;
  }
}

const place = (fd: number): string => `/proc/self/fd/${fd}`;

/** The -errno of what a call of Node's threw. */
function errnoOf(error: unknown): number {
  const { errno = EIO } = error as NodeJS.ErrnoException;
  return errno;
}

export class ServedFolder implements ServedFiles {
  private readonly folder: number;

  /** `octets`: the arena. Throws StartError. */
  constructor(
    path: string,
    private readonly octets: Uint8Array,
  ) {
    try {
      this.folder = openSync(path, O_PATH | constants.O_DIRECTORY);
    } catch (error) {
      throw new StartError([{ place: `--tftp ${path}`, reason: (error as Error).message }]);
    }
    try {
      accessSync(place(this.folder), constants.X_OK);
      readlinkSync(place(this.folder));
    } catch (error) {
      closeSync(this.folder);
      const uid = process.geteuid?.();
      const reason = `${(error as Error).message}; the engine, which reads it, runs as uid ${uid}`;
      throw new StartError([{ place: `--tftp ${path}`, reason }]);
    }
  }

  open(names: readonly string[]): number {
    let found = -1;
    try {
      found = openSync(`${place(this.folder)}/${names.join("/")}`, O_PATH);
      const below = `${readlinkSync(place(this.folder))}/`;
      if (!readlinkSync(place(found)).startsWith(below) || !fstatSync(found).isFile()) return EACCES;
      return openSync(place(found), constants.O_RDONLY);
    } catch (error) {
      const errno = errnoOf(error);
      return NOT_THERE.has((error as NodeJS.ErrnoException).code ?? "") ? ENOENT : errno;
    } finally {
      if (found >= 0) closeSync(found);
    }
  }

  size(handle: number): number {
    return fstatSync(handle).size;
  }

  read(handle: number, at: number, length: number, position: number): number {
    try {
      return readSync(handle, this.octets, at, length, position);
    } catch (error) {
      return errnoOf(error);
    }
  }

  close(handle: number): void {
    closeSync(handle);
  }

  /** Closes the folder; files are closed by whoever opened them. */
  release(): void {
    closeSync(this.folder);
  }
}

/** What a path can end in that leads to no file: a name that is a file's on the way, one too long, a link in circles. */
const NOT_THERE = new Set(["ENOENT", "ENOTDIR", "ENAMETOOLONG", "ELOOP"]);
