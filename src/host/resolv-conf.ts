/**
 * The host's resolvers from its resolv.conf(5), followed while it changes. Only what the engine needs is read:
 * nameservers, and the search list for whoever hands it to the guest. Unknown lines are skipped, as the C library
 * does. Loopback stubs such as 127.0.0.53 are as good as any other: queries leave from this host.
 */
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { parseResolver } from "../config/address.ts";
import type { ResolverAddress } from "../engine/config.ts";
import { native } from "./native/native.ts";
import { PathWatch } from "./path-watch.ts";

export const RESOLV_CONF = "/etc/resolv.conf";

export interface ResolvConf {
  /** In the file's order, without duplicates. */
  readonly resolvers: readonly ResolverAddress[];
  /** The last `search` or `domain` line, as the C library has it. */
  readonly search: readonly string[];
}

/** Reads the text of a resolv.conf. `deviceIndex` turns the name after a `%` into an interface's number. */
export function parseResolvConf(
  text: string,
  deviceIndex: (name: string) => number = native.deviceIndex,
): ResolvConf {
  const resolvers = new Map<string, ResolverAddress>();
  let search: string[] = [];
  for (const line of text.split("\n")) {
    if (/^\s*[#;]/.test(line)) continue;
    const [keyword, ...values] = line.trim().split(/\s+/);
    if (keyword === "nameserver" && values.length > 0) {
      const resolver = parseNameserver(values[0], deviceIndex);
      if (resolver !== undefined) resolvers.set(values[0], resolver);
    } else if (keyword === "search" || keyword === "domain") {
      search = keyword === "domain" ? values.slice(0, 1) : values;
    }
  }
  return { resolvers: [...resolvers.values()], search };
}

function parseNameserver(text: string, deviceIndex: (name: string) => number): ResolverAddress | undefined {
  const [host, zone] = text.split("%", 2);
  if (isIP(host) === 0) return undefined;
  try {
    const resolver = parseResolver(host);
    if (zone === undefined) return resolver;
    const index = /^\d+$/.test(zone) ? Number(zone) : deviceIndex(zone);
    return index > 0 ? { ...resolver, scope: index } : undefined;
  } catch {
    return undefined; // 0.0.0.0 and its like: nothing a query can be sent to.
  }
}

/** "If no nameserver entries are present, the default is to use the name server on the local machine." */
const LOCAL_MACHINE = parseResolver("127.0.0.1");

/** What a text means: one that names no resolver means the local machine, as resolv.conf(5) has it. */
export function interpretResolvConf(text: string): ResolvConf {
  const conf = parseResolvConf(text);
  return conf.resolvers.length > 0 ? conf : { ...conf, resolvers: [LOCAL_MACHINE] };
}

/** More than any host has, and little enough for one line of the engine's control socket. */
const TEXT_LENGTH_MAX = 262_144;

/** The file's text; that of one that is missing is as good as an empty one's. */
function readResolvConfText(path = RESOLV_CONF): string {
  try {
    return readFileSync(path, "utf8").slice(0, TEXT_LENGTH_MAX);
  } catch {
    return "";
  }
}

/** Reads the file. One that is missing means the local machine too. */
export function readResolvConf(path = RESOLV_CONF): ResolvConf {
  return interpretResolvConf(readResolvConfText(path));
}

/** A resolv.conf(5) that is read and followed somewhere else than in the engine's process, which may see no files. */
export interface ResolvConfSource {
  /** The text now. */
  readonly text: string;
  /** Calls `changed` after each change, until what it returns is called. */
  follow(changed: () => void): () => void;
}

/** The file at `path`, followed through renames and links. */
export function resolvConfFile(path: string): ResolvConfSource {
  return {
    get text() {
      return readResolvConfText(path);
    },
    follow(changed) {
      const watch = new PathWatch(path, changed);
      return () => watch.close();
    },
  };
}
