/**
 * Keeps the host's name service out of a command's sight for as long as the command runs: /etc/resolv.conf and
 * /etc/nsswitch.conf are its own, and the directories where the host's name services have their sockets are empty,
 * also those that appear later.
 *
 * A mount over a file or directory is gone as soon as the host replaces or removes that, so a helper stays in the
 * command's mount namespace (native-shims/helper-mounts.c) and puts things right each time it is told to. What there
 * is to be told is watched for here.
 */
import { accessSync, constants, lstatSync, readFileSync, readlinkSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { DirectoryWatches } from "../directory-watches.ts";
import { RESOLV_CONF } from "../resolv-conf.ts";
import { runHelper } from "./helper.ts";

const NSSWITCH_CONF = "/etc/nsswitch.conf";

/** Where nscd, systemd-resolved and avahi answer names, past resolv.conf (nscd before anything else is looked at). */
const SERVICE_DIRECTORIES = ["/run", "/var/run"].flatMap((base) =>
  ["nscd", "systemd/resolve", "avahi-daemon"].map((name) => `${base}/${name}`),
);

// --- nsswitch.conf -----------------------------------------------------------------------------------------------

/** Sources of host names that ask nobody, and the one that asks whom resolv.conf names. */
const OWN_SOURCES = ["files", "db", "myhostname", "dns"];

/** A `hosts` line's sources (nsswitch.conf(5)) without those that ask a service of the host. */
function ownSources(text: string): string {
  const words = text.match(/\[[^\]]*\]|[^\s[]+/g) ?? [];
  let keeping = true;
  const kept = words.filter((word) => {
    // What a source's answer means stands after it.
    if (!word.startsWith("[")) keeping = OWN_SOURCES.includes(word);
    return keeping;
  });
  if (kept.length < words.length && !kept.includes("dns")) kept.push("dns");
  return kept.join(" ");
}

/** The host's nsswitch.conf as a command behind the engine sees it: names come from files and the engine's DNS only. */
export function guestNsswitch(text: string): string {
  return text.replace(
    /^([ \t]*hosts[ \t]*:)([^#\n]*)/gm,
    (_line, database: string, sources: string) => `${database} ${ownSources(sources)}`,
  );
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

// --- watching ----------------------------------------------------------------------------------------------------

const LINKS_MAX = 40;
/** For what inotify does not tell: a network file system, no watches left. */
const POLL_MS = 2000;

/** The directories whose entries decide where `path` leads, links on the way followed. */
function directoriesOn(path: string): string[] {
  const found: string[] = [];
  const names = path.split("/");
  let at = "/";
  for (let links = 0; names.length > 0 && links < LINKS_MAX; ) {
    const name = names.shift() as string;
    if (name === "" || name === ".") continue;
    if (name === "..") {
      at = dirname(at);
      continue;
    }
    found.push(at);
    const entry = join(at, name);
    try {
      const status = lstatSync(entry);
      if (status.isSymbolicLink()) {
        const target = readlinkSync(entry);
        names.unshift(...target.split("/"));
        if (target.startsWith("/")) at = "/";
        links++;
      } else if (status.isDirectory()) at = entry;
      else return found;
    } catch {
      return found;
    }
  }
  return found;
}

/** Tells at once when what some paths lead to may have changed: entries on the way made, replaced or removed. */
class EntriesWatch {
  private readonly watches = new DirectoryWatches((directory, name) => this.notice(directory, name));
  private readonly poll: NodeJS.Timeout;

  constructor(
    private readonly paths: readonly string[],
    private readonly changed: () => void,
  ) {
    this.follow();
    this.poll = setInterval(() => this.notice("/", null), POLL_MS);
    this.poll.unref();
  }

  private follow(): void {
    this.watches.follow(new Set(this.paths.flatMap(directoriesOn)));
  }

  private notice(directory: string, name: string | null): void {
    if (name !== null) {
      // Another directory may have come in its place, which its watch would not see.
      const entry = join(directory, name);
      for (const watched of this.watches.directories)
        if (watched === entry || watched.startsWith(`${entry}/`)) this.watches.forget(watched);
    }
    this.follow();
    this.changed();
  }

  close(): void {
    clearInterval(this.poll);
    this.watches.close();
  }
}

// --- keeping -----------------------------------------------------------------------------------------------------

/** Whether whoever runs the command may make and replace files in /etc, and so the command as well. */
function mayWriteEtc(): boolean {
  try {
    accessSync(dirname(RESOLV_CONF), constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function keeperArgs(pid: number, resolvConf: string): string[] {
  const nsswitch = readIfThere(NSSWITCH_CONF);
  const files = [
    `${basename(RESOLV_CONF)}=${resolvConf}`,
    ...(nsswitch === undefined ? [] : [`${basename(NSSWITCH_CONF)}=${guestNsswitch(nsswitch)}`]),
  ];
  return [
    ...["--enter-user", String(pid), "--enter-mount", String(pid), "--keep-names"],
    ...(mayWriteEtc() ? ["--etc-in-place"] : []),
    ...files.flatMap((file) => ["--etc-file", file]),
    ...SERVICE_DIRECTORIES.flatMap((directory) => ["--mask", directory]),
  ];
}

export interface KeptNames {
  /** Settles once the command may run; rejects with a HelperError. */
  readonly ready: Promise<void>;
  close(): void;
}

/**
 * Keeps name service apart in the mount namespace of process `pid`, which has one of its own. `resolvConf` is the text
 * that is seen there. `warn` hears what did not succeed later on.
 */
export function keepNames(pid: number, resolvConf: string, warn: (message: string) => void): KeptNames {
  // In a session of its own, where the terminal's signals do not reach it.
  const run = runHelper(keeperArgs(pid, resolvConf), { detached: true });
  let watched: EntriesWatch | undefined;
  let closed = false;
  const close = (): void => {
    closed = true;
    watched?.close();
    run.child.kill("SIGKILL");
  };
  const start = async (): Promise<void> => {
    await run.wait((status) => status.ready);
    if (closed) return;
    let told = 0;
    watched = new EntriesWatch([RESOLV_CONF, NSSWITCH_CONF, ...SERVICE_DIRECTORIES], () => {
      for (const { message } of run.status.notes.slice(told)) warn(message);
      told = run.status.notes.length;
      run.go();
    });
    // What changed before the watch began.
    run.go();
    run.child.once("exit", (status, signal) => {
      if (closed) return;
      watched?.close();
      warn(
        `the command may see the host's name service from now on: its keeper ended (${signal ?? `status ${status}`})`,
      );
    });
  };
  const ready = start();
  // Whoever never starts the command waits for nothing.
  ready.catch(() => {});
  return { ready, close };
}
