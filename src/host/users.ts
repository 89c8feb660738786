/** `--user NAME` or `UID[:GID]` to numbers. */
import { readFileSync } from "node:fs";

export interface UserIds {
  readonly uid: number;
  readonly gid: number;
}

/** Looks a user up in the text of passwd(5). Undefined when there is no such user. */
export function findUser(user: string, passwd: string): UserIds | undefined {
  const numeric = /^(\d+)(?::(\d+))?$/.exec(user);
  const lines = passwd.split("\n").map((line) => line.split(":"));
  if (numeric?.[2] !== undefined) return { uid: Number(numeric[1]), gid: Number(numeric[2]) };
  const entry = lines.find((fields) => fields[numeric ? 2 : 0] === user);
  if (entry) return { uid: Number(entry[2]), gid: Number(entry[3]) };
  return numeric ? { uid: Number(numeric[1]), gid: Number(numeric[1]) } : undefined;
}

export function lookUpUser(user: string): UserIds | undefined {
  return findUser(user, readFileSync("/etc/passwd", "utf8"));
}
