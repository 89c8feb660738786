/** Every target, by name. */
import { dnsStreamTarget } from "./dns-stream-target.ts";
import { grammarTarget } from "./grammar-target.ts";
import { dhcp6Target, ipv6HeadersTarget, ndpTarget } from "./ipv6-targets.ts";
import { captureTarget, dhcpTarget, dnsTarget, tcpOptionsTarget } from "./message-targets.ts";
import { answerTarget, headTarget, helloTarget } from "./policy-targets.ts";
import { proxyTarget } from "./proxy-target.ts";
import { quicTarget } from "./quic-target.ts";
import { reassemblyTarget } from "./reassembly-target.ts";
import { recordTarget } from "./record-target.ts";
import { stackTarget } from "./stack-target.ts";
import { streamTarget } from "./stream-target.ts";
import type { FuzzTarget } from "./target.ts";
import { tcpStreamTarget } from "./tcp-stream-target.ts";

export const TARGETS: readonly FuzzTarget[] = [
  stackTarget,
  tcpStreamTarget,
  dhcpTarget,
  dnsTarget,
  dnsStreamTarget,
  reassemblyTarget,
  tcpOptionsTarget,
  streamTarget,
  captureTarget,
  grammarTarget,
  ndpTarget,
  dhcp6Target,
  ipv6HeadersTarget,
  helloTarget,
  headTarget,
  answerTarget,
  proxyTarget,
  quicTarget,
  recordTarget,
];
