/** Drops of a flow in words for people: why, and what would change it. */
import { parseIpv4 } from "../../config/address.ts";
import { readIpv6 } from "../../config/address6.ts";
import type { EngineConfig } from "../../engine/config.ts";
import { isLegitimate4, isLegitimate6 } from "../../engine/network/addresses.ts";
import { formatIpv4 } from "../../engine/wire/address-text.ts";
import { isMulticast } from "../../engine/wire/ipv4.ts";
import { formatEnd } from "../end-text.ts";

interface End {
  readonly address: string;
  readonly port: number;
}

/** A flow that was dropped, or would be. */
export interface DroppedFlow {
  readonly reason: string;
  readonly protocol: "tcp" | "udp";
  readonly guest: End;
  readonly remote: End;
}

export interface DropText {
  readonly because: string;
  /** An option or another change that would let it through, where there is one. */
  readonly change?: string;
}

/** Why the policy denies a flow. */
const POLICY_TEXTS: Readonly<Record<string, string>> = {
  "policy-no-rule": "no rule of the policy names it, and what none names is denied",
  "policy-denied": "a rule of the policy denies it",
  "policy-address-unnamed":
    "the policy allows names on this port, and none of them has been answered with this address",
  "policy-name-mismatch": "the name that the client showed is not allowed at this address",
  "policy-name-missing": "the client showed no name where the policy wants to see one",
  "policy-name-malformed": "the name that the client showed cannot be read",
  "policy-name-private": "the name leads to a private address, which its rule does not allow",
  "policy-ech": "the client hides the name it wants (ECH), which the policy refuses",
  "policy-question-open": "the policy asks about it, and nobody has answered yet",
  "policy-question-refused": "the policy asks about it, and somebody said no",
  "policy-question-expired": "the policy asks about it, and nobody answered in time",
  "policy-question-full": "the policy asks about it, and too many questions are open",
  "policy-question-unattended": "the policy asks about it, and nobody was there to answer",
  "policy-hook-failed":
    "the policy asks about it, and the program that decides failed, or did not answer at once",
  "policy-peek-full": "too many connections had yet to show their name",
  "policy-quic-version": "it is of a version of QUIC whose names are not known",
};

/** Why a limit of the policy was met, or a way out that it says led nowhere. */
const WAY_TEXTS: Readonly<Record<string, DropText>> = {
  "policy-budget": {
    because: "the octets that its rule may carry in all are used up (bytes: of its limit)",
    change: "a larger bytes: in the rule's limit, by sluice policy set",
  },
  "policy-rate": {
    because: "more came than its rule, or the guest, may send in a second",
    change: "a higher limit",
  },
  "policy-connections": {
    because: "its rule has as many connections open as it may (connections: of its limit)",
    change: "a higher connections: in the rule's limit",
  },
  "policy-new-rate": {
    because: "more flows began in this second than its rule, or the guest, may begin (new: of its limit)",
    change: "a higher new: in the limit",
  },
  "proxy-unreachable": {
    because:
      "the proxy or target that its rule says is not there, or did not answer in time; nothing goes straight instead",
    change: "start what listens there, or correct to: or via: in the policy",
  },
  "proxy-refused": {
    because: "the proxy that its rule says did not let it through, or did not speak its protocol",
    change: "the proxy's own rules, user and password",
  },
  "proxy-udp": {
    because: "its rule says a proxy or another target, which carry TCP alone",
    change: "a rule of its own, before that one, for what may go by UDP",
  },
};

/** Why flows are dropped for its reason, and what would change it. */
export function dropText(flow: DroppedFlow, config: EngineConfig): DropText {
  const { guest, remote } = flow;
  const byPolicy = POLICY_TEXTS[flow.reason];
  if (byPolicy !== undefined) {
    return { because: byPolicy, change: `--allow ${formatEnd(remote)}, or a rule of the policy's file` };
  }
  const byWay = WAY_TEXTS[flow.reason];
  if (byWay !== undefined) return byWay;
  switch (flow.reason) {
    case "destination-restricted":
      return {
        because: "--restrict keeps the guest from everything outside, DNS included",
        change: "start without --restrict, or declare it: --guestfwd",
      };
    case "destination-no-service":
      return noService(flow, config);
    case "destination-refused":
      return refused(flow, config);
    case "control-refused":
      return {
        because: `${formatEnd(remote)} is where sluice itself is looked at (sluice ui, sluice metrics --listen)`,
      };
    case "ipv4-spoofed-source":
      return {
        because: `the packet came from ${guest.address}, and the guest's address is ${formatIpv4(config.guestAddress)}`,
        change: `--guest-addr ${guest.address} if that is the guest's address, or --guest-addr any`,
      };
    case "ipv6-spoofed-source":
      return { because: `the packet came from ${guest.address}, which is not in the guest's prefix` };
    case "ipv6-off":
      return { because: "the guest has no IPv6", change: "--ipv6 auto or --ipv6 on" };
    case "flow-table-full":
      return {
        because: `the flow table is full: ${config.maxFlows} flows are in use`,
        change: "--max-flows N for more of them",
      };
    case "udp-mappings-full":
      return {
        because: `all UDP mappings are in use (${config.maxUdpMappings} at most, or as many as this host has ports for)`,
        change: "--max-udp-mappings N, or a wider net.ipv4.ip_local_port_range on this host",
      };
    case "host-socket-failed":
      return {
        because: "this host gave no socket: no descriptor, port or memory is left",
        change: "a higher limit (ulimit -n, LimitNOFILE=), or fewer flows (--max-flows)",
      };
    case "inbound-filtered":
      return {
        because: `the guest has not sent anything to ${remote.address} from that port, so nobody there is heard`,
        change: "--udp-filtering endpoint-independent lets anybody answer",
      };
    case "inbound-no-guest":
      return { because: "no guest has shown itself at that address yet" };
    case "tcp-no-connection":
      return { because: "the guest sent a segment of a connection that sluice does not know; it was reset" };
    default:
      return {
        because: `packets were dropped for the reason ${flow.reason} (docs/nat.md and sluice counters)`,
      };
  }
}

function noService({ protocol, remote }: DroppedFlow, config: EngineConfig): DropText {
  const { gateway, dns } = config;
  if (remote.address === formatIpv4(gateway)) {
    return {
      because: `${remote.address} is the gateway, which stands for this host only where that was allowed`,
      change: `--allow-host-loopback, and ${remote.address} is this host's own 127.0.0.1`,
    };
  }
  const declared =
    protocol === "tcp" ? `--guestfwd tcp:${formatEnd(remote)}-TARGET puts something there` : undefined;
  const because =
    dns !== 0 && remote.address === formatIpv4(dns)
      ? `${remote.address} is the DNS address, where port 53 answers and nothing else`
      : `${remote.address} is in the guest's own network, where nothing was declared at this port`;
  return { because, ...(declared === undefined ? {} : { change: declared }) };
}

function refused({ protocol, remote }: DroppedFlow, config: EngineConfig): DropText {
  const { address } = remote;
  if (isForbidden(address, false) && !isForbidden(address, true)) {
    return {
      because: `${address} is link-local, or a cloud's metadata service: what is there may hand out this host's secrets`,
      change: "--allow-link-local opens all of these addresses",
    };
  }
  if (!isForbidden(address, config.allowLinkLocal)) {
    return { because: "the program that runs this guest's network said no (its allow function)" };
  }
  const words = readIpv6(address);
  const isGroup = words === null ? isMulticast(parseIpv4(address)) : words[0] >>> 24 === 0xff;
  if (isGroup && words === null && protocol === "udp") {
    return {
      because: `${address} is a multicast group, and groups are not sent to`,
      change: "--allow-multicast, for queries such as those of mDNS and SSDP",
    };
  }
  if (isGroup) return { because: `${address} is a multicast group, where nothing can connect to` };
  return { because: `${address} is no address that anything outside could have (loopback or reserved)` };
}

/** Whether the guest may not send there, `allowLinkLocal` given or not. */
function isForbidden(address: string, allowLinkLocal: boolean): boolean {
  const words = readIpv6(address);
  return words === null
    ? !isLegitimate4(parseIpv4(address), allowLinkLocal)
    : !isLegitimate6(Int32Array.from(words), 0, allowLinkLocal);
}
