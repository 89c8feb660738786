/** What a command opens, starts and makes, by strace(1): paths as the kernel resolved them. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** `r` read, `w` written, made or removed, `x` executed. Directories end in a slash. */
export interface FileAccess {
  readonly path: string;
  readonly how: "r" | "w" | "x";
}

export interface Traced {
  readonly files: readonly FileAccess[];
  /** Families and types of sockets, such as `AF_INET SOCK_STREAM`. */
  readonly sockets: readonly string[];
}

const CALLS = [
  "execve,open,openat,openat2,creat,mkdir,mkdirat,unlink,unlinkat,rmdir,rename,renameat,renameat2",
  "symlink,symlinkat,link,linkat,bind,connect,socket",
].join(",");

/** Comes before a command; what it writes below `directory` is what `tracedIn` reads. */
export function tracing(directory: string): string[] {
  const options = ["-ff", "-y", "-qq", "-s", "4096", "-e", `trace=${CALLS}`, "-e", "signal=none"];
  return ["strace", ...options, "-o", join(directory, "trace")];
}

/** An opened file's accesses: by the path that its descriptor has. O_PATH opens nothing. */
function opened(flags: string, path: string): FileAccess[] {
  if (flags.includes("O_PATH") || !path.startsWith("/")) return [];
  const name = flags.includes("O_DIRECTORY") && !path.endsWith("/") ? `${path}/` : path;
  const accesses: FileAccess[] = [];
  if (/O_RDONLY|O_RDWR/.test(flags)) accesses.push({ path: name, how: "r" });
  if (/O_WRONLY|O_RDWR|O_CREAT/.test(flags)) accesses.push({ path: name, how: "w" });
  return accesses;
}

/** The path of a call that takes a name, relative to a directory descriptor or absolute. */
function named(args: string): string | undefined {
  const [, at, name] = /^(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"([^"]*)"/.exec(args) ?? [];
  if (name === undefined) return undefined;
  return name.startsWith("/") || at === undefined ? name : join(at, name);
}

function accessesOf(call: string, args: string, result: string): FileAccess[] {
  if (call.startsWith("open") || call === "creat") {
    const path = /<(.*)>$/
      .exec(result)?.[1]
      .replace(/ \(deleted\)$/, "")
      .replace(/<char .*$/, "");
    return path === undefined ? [] : opened(args, path);
  }
  if (call === "bind" || call === "connect") {
    const path = /sun_path="([^"]+)"/.exec(args)?.[1];
    return path === undefined ? [] : [{ path, how: "w" }];
  }
  const path = named(args);
  if (path === undefined || !path.startsWith("/")) return [];
  if (call === "execve") return [{ path, how: "x" }];
  return [{ path: call.startsWith("mkdir") || call === "rmdir" ? `${path}/` : path, how: "w" }];
}

/** Reads what was traced; calls that failed did nothing. */
export function tracedIn(directory: string): Traced {
  const files: FileAccess[] = [];
  const sockets: string[] = [];
  for (const name of readdirSync(directory).filter((each) => each.startsWith("trace."))) {
    for (const line of readFileSync(join(directory, name), "utf8").split("\n")) {
      const [, call, args, result] = /^(\w+)\((.*)\) += (\d+.*)$/.exec(line) ?? [];
      if (call === undefined) continue;
      if (call === "socket")
        sockets.push(
          args
            .replace(/\|SOCK_\w+/g, "")
            .split(", ")
            .slice(0, 2)
            .join(" "),
        );
      else files.push(...accessesOf(call, args, result));
    }
  }
  return { files, sockets: [...new Set(sockets)] };
}
