/**
 * Lines of flows that begin and end, which a busy guest has thousands of a second: written as text from the start. What an
 * object and JSON.stringify would cost is several times more; what the lines say is in schema.ts.
 */
import { Instants } from "../instants.ts";
import type { Endpoint, FlowEnded, FlowEnds, FlowOpened } from "../records.ts";
import { communityId, PROTOCOL_NUMBERS } from "./community-id.ts";
import type { EntryContext } from "./entry.ts";
import { ECS_VERSION } from "./schema.ts";

const NS_PER_MS = 1_000_000;

const HEAD = `"ecs":{"version":"${ECS_VERSION}"},"event":{"kind":"event","category":["network"],"type":["connection"`;
const STARTED = '"start","allowed"],"action":"flow-start","outcome":"unknown"';
const ENDED = '"end","allowed"],"action":"flow-end","outcome"';

const FAILURES: readonly string[] = ["refused", "no-resources"];

/** A connection that never came about is a failure; how one that did was ended is another matter. */
function outcomeOf({ reason, protocol, connectMs }: FlowEnded): "failure" | "success" {
  if (FAILURES.includes(reason)) return "failure";
  return protocol === "tcp" && connectMs === null ? "failure" : "success";
}

/** What one side has sent, as members. */
const carried = (bytes: number, packets: number): string => `,"bytes":${bytes},"packets":${packets}`;

const sentByGuest = (flow: FlowEnded): string => carried(flow.octetsFromGuest, flow.packetsFromGuest);
const sentToGuest = (flow: FlowEnded): string => carried(flow.octetsToGuest, flow.packetsToGuest);

/** Members; an address has nothing that JSON escapes. */
const end = ({ address, port }: Endpoint): string => `"ip":"${address}","port":${port}`;

const natOf = (seen: Endpoint, real: Endpoint): string =>
  seen.address === real.address && seen.port === real.port ? "" : `,"nat":{${end(real)}}`;

/** Members of `network` that any flow has. */
function networkOf({ protocol, guest, remote, direction }: FlowEnds): string {
  const type = guest.address.includes(":") ? "ipv6" : "ipv4";
  const way = direction === "out" ? "egress" : "ingress";
  return `"transport":"${protocol}","type":"${type}","iana_number":"${PROTOCOL_NUMBERS[protocol]}","direction":"${way}","community_id":"${communityId(protocol, guest, remote)}"`;
}

export class FlowLines {
  private readonly at = new Instants();
  private readonly started = new Instants();
  /** How each line ends, up to the flow's number. */
  private readonly tail: string;

  constructor(private readonly context: EntryContext) {
    this.tail = `"sluice":{"instance":${JSON.stringify(context.instance)},"flow":`;
  }

  opened(flow: FlowOpened): string {
    const at = this.at.of(flow.atMs);
    const event = `${HEAD},${STARTED},"start":"${at}"}`;
    const last = `${this.tail}${flow.flow}${forwardOf(flow)}}`;
    return `{"@timestamp":"${at}",${event},"network":{${networkOf(flow)}},${this.ends(flow, "", "")},${last}}\n`;
  }

  ended(flow: FlowEnded): string {
    const { atMs, startMs, hostError } = flow;
    const at = this.at.of(atMs);
    const duration = Math.max(0, Math.round((atMs - startMs) * NS_PER_MS));
    const event = `${HEAD},${ENDED}:"${outcomeOf(flow)}","start":"${this.started.of(startMs)}","end":"${at}","duration":${duration}}`;
    const bytes = flow.octetsFromGuest + flow.octetsToGuest;
    const packets = flow.packetsFromGuest + flow.packetsToGuest;
    const network = `"network":{${networkOf(flow)}${carried(bytes, packets)}}`;
    const ends = this.ends(flow, sentByGuest(flow), sentToGuest(flow));
    const error = hostError === null ? "" : `,"error":{"code":${JSON.stringify(hostError)}}`;
    const tcp =
      flow.protocol === "tcp" ? `,"connect_ms":${flow.connectMs},"retransmits":${flow.retransmits}` : "";
    const last = `${this.tail}${flow.flow},"end":"${flow.reason}","ended_by":"${flow.endedBy}"${tcp}${forwardOf(flow)}}`;
    return `{"@timestamp":"${at}",${event},${network},${ends}${error},${last}}\n`;
  }

  /** Who began is the source; `byGuest` and `toGuest` are members of who has sent what. */
  private ends({ direction, guest, remote, target }: FlowEnds, byGuest: string, toGuest: string): string {
    if (direction === "in") {
      const nat = natOf(target, remote);
      return `"source":{${end(target)}${toGuest}${nat}},"destination":{${end(guest)}${byGuest}}`;
    }
    const [name] = this.context.namesOf(target.address);
    const domain = name === undefined ? "" : `,"domain":${JSON.stringify(name.name)}`;
    const nat = natOf(remote, target);
    return `"source":{${end(guest)}${byGuest}},"destination":{${end(remote)}${toGuest}${domain}${nat}}`;
  }
}

const forwardOf = ({ forward }: FlowEnds): string => (forward === null ? "" : `,"forward":${forward}`);
