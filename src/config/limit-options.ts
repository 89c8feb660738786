/** The options of the table that bound what a guest may hold. */
import { FLOWS_MAX, FLOWS_MOST, HALF_OPEN_MAX, UDP_MAPPINGS_MAX } from "../engine/limits.ts";
import { parseInteger } from "./address.ts";
import { option } from "./option-definition.ts";

/** So few flows that a guest can just about fetch a page. */
const FLOWS_LEAST = 64;
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
  "max-forwards": option({
    group: "Limits",
    commands: ["run", "exec", "qemu"],
    placeholder: "N",
    help: "Ports forwarded, a descriptor each and family.",
    parse: (text) => parseInteger(text, 1, FORWARDS_MOST),
    default: "4096",
  }),
} as const;
