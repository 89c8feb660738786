/** The options of the table that bound what a guest may hold. */
import {
  FLOWS_MAX,
  FLOWS_MOST,
  HALF_OPEN_MAX,
  PAYLOAD_OCTETS_MAX,
  PAYLOAD_OCTETS_MIN,
  UDP_MAPPINGS_MAX,
} from "../engine/limits.ts";
import { parseInteger } from "./address.ts";
import { option } from "./option-definition.ts";

/** So few flows that a guest can just about fetch a page. */
const FLOWS_LEAST = 64;
/** Octets of a MiB. */
export const MIB = 1_048_576;
/** Of `--memory`, in MiB. */
export const MEMORY_LEAST = PAYLOAD_OCTETS_MIN / MIB;
export const MEMORY_MOST = PAYLOAD_OCTETS_MAX / MIB;
/** Every port of the host, TCP and UDP, of both families. */
export const FORWARDS_MOST = 262_140;

export const LIMIT_OPTIONS = {
  "max-flows": option({
    group: "Limits",
    commands: ["run", "exec", "qemu", "replay"],
    placeholder: "N",
    help: `Connections and UDP mappings at once, a descriptor each, ${FLOWS_LEAST} to ${FLOWS_MOST}.`,
    parse: (text) => parseInteger(text, FLOWS_LEAST, FLOWS_MOST),
    default: String(FLOWS_MAX),
  }),
  "max-udp-mappings": option({
    group: "Limits",
    commands: ["run", "exec", "qemu", "replay"],
    placeholder: "N",
    help: "Of these, UDP mappings.",
    parse: (text) => parseInteger(text, 1, FLOWS_MOST),
    default: String(UDP_MAPPINGS_MAX),
  }),
  "max-half-open": option({
    group: "Limits",
    commands: ["run", "exec", "qemu", "replay"],
    placeholder: "N",
    help: "Of these, TCP connections whose handshake is not finished.",
    parse: (text) => parseInteger(text, 1, FLOWS_MOST),
    default: String(HALF_OPEN_MAX),
  }),
  memory: option({
    group: "Limits",
    commands: ["run", "exec", "qemu", "replay"],
    placeholder: "MIB",
    help: `Memory for payloads of TCP on their way, MiB, ${MEMORY_LEAST} to ${MEMORY_MOST}; it is taken as it is needed.`,
    parse: (text) => parseInteger(text, MEMORY_LEAST, MEMORY_MOST),
    default: String(MEMORY_MOST),
  }),
  "max-forwards": option({
    group: "Limits",
    commands: ["run", "exec", "qemu"],
    placeholder: "N",
    help: "Ports forwarded, a descriptor each and family.",
    parse: (text) => parseInteger(text, 1, FORWARDS_MOST),
    default: "4096",
  }),
} as const;
