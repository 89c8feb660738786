/** A policy of a thousand rules, of which the last let the servers be reached: by a name, or by their address. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { ECHO_PORT, ECHO_PORTS, type Laboratory, SERVER_ADDRESS } from "./laboratory.ts";

const RULES = 1000;
/** The servers' name, and the zone of the names that are pinned beside it. */
export const SERVER_NAME = "servers.example";
export const PINNED_ZONE = "pinned.example";

/** Writes it into the laboratory's directory. Returns its path. */
export function writePolicy({ directory }: Laboratory): string {
  const others = Array.from({ length: RULES - 3 }, (_, i) =>
    i % 2 === 0
      ? `  - { name: name-${i}, allow: ["host-${i}.example.com", "*.zone-${i}.example.net:8443"] }`
      : `  - { name: net-${i}, allow: "10.${i >> 8}.${i & 255}.0/24:5432" }`,
  );
  const ports = `${ECHO_PORT}-${ECHO_PORT + ECHO_PORTS - 1}`;
  const rules = [
    ...others,
    `  - { name: pinned, allow: "*.${PINNED_ZONE}" }`,
    `  - { name: named, allow: "${SERVER_NAME}:${ports}", check: tls, private: true }`,
    `  - { name: servers, allow: ${SERVER_ADDRESS} }`,
  ];
  const path = join(directory, "policy.yaml");
  writeFileSync(path, `version: 1\nrules:\n${rules.join("\n")}\n`);
  return path;
}
