/** Reading and writing headers: what a packet costs before anything is done with it. */
import * as ethernet from "../../../src/engine/wire/ethernet.ts";
import * as ipv4 from "../../../src/engine/wire/ipv4.ts";
import * as tcp from "../../../src/engine/wire/tcp.ts";
import * as udp from "../../../src/engine/wire/udp.ts";
import { keep, runSuite } from "../../suite.ts";

const view = new DataView(new ArrayBuffer(65_536));
const IP_AT = 4096 + 14;
const TCP_AT = IP_AT + 20;
const SOURCE = 0x0a00020f;
const DESTINATION = 0x0a000202;
const ADDRESSES = ipv4.addressSum(SOURCE, DESTINATION);
const PROTOCOL_TCP = 6;

let round = 0;

function writeAll(): void {
  round = (round + 1) | 0;
  tcp.writeTcp(view, TCP_AT, 40_000, 80, round, round, 20, 0x10, 65_535);
  ipv4.writeIpv4(view, IP_AT, 1500, round & 0xffff, 0x4000, PROTOCOL_TCP, SOURCE, DESTINATION, ADDRESSES);
}

writeAll();

runSuite([
  [
    "read and check IPv4 and TCP headers, 12 fields",
    () => {
      const dropped = ipv4.checkIpv4(view, IP_AT, 1500) + tcp.checkTcp(view, TCP_AT, 1480);
      keep(
        dropped +
          ipv4.totalLength(view, IP_AT) +
          ipv4.protocol(view, IP_AT) +
          ipv4.source(view, IP_AT) +
          ipv4.destination(view, IP_AT) +
          ipv4.fragmentBits(view, IP_AT) +
          tcp.sourcePort(view, TCP_AT) +
          tcp.destinationPort(view, TCP_AT) +
          tcp.sequence(view, TCP_AT) +
          tcp.acknowledgment(view, TCP_AT) +
          tcp.headerLength(view, TCP_AT) +
          tcp.flags(view, TCP_AT) +
          tcp.window(view, TCP_AT),
      );
    },
  ],
  ["write IPv4 and TCP headers, IPv4 checksum included", writeAll],
  ["verify an IPv4 header checksum", () => keep(ipv4.headerSum(view, IP_AT, 20))],
  ["pseudo-header sum", () => keep(ipv4.pseudoHeaderSum(SOURCE, DESTINATION, PROTOCOL_TCP, round & 0xffff))],
  [
    "read Ethernet type and source",
    () => keep(ethernet.etherType(view, 4096) + ethernet.sourceLow(view, 4096)),
  ],
  ["read UDP ports", () => keep(udp.sourcePort(view, TCP_AT) + udp.destinationPort(view, TCP_AT))],
]);
