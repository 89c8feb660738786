/** From a received frame to what it causes, through the whole core: a small one and a full one, both protocols. */
import { runSuite } from "../suite.ts";
import { EngineRig } from "./engine-rig.ts";

const SMALL = 1;
const SMALL_DATAGRAM = 64;

/** Times the whole core over a family; `full` and `fullDatagram` are what an MTU of 1500 leaves a segment and a datagram. */
export function timeCore(family: 4 | 6, full: number, fullDatagram: number): void {
  const tcp = new EngineRig(family);
  tcp.connect();
  const udp = new EngineRig(family);
  udp.udpUp(SMALL_DATAGRAM);

  runSuite([
    [`TCP up: segment of ${SMALL} octet in, send() and ACK out`, () => tcp.tcpUp(SMALL)],
    [`TCP up: segment of ${full} octets in, send() and ACK out`, () => tcp.tcpUp(full)],
    [`TCP down: recv() of ${SMALL} octet, frame out, ACK in`, () => tcp.tcpDown(SMALL)],
    [`TCP down: recv() of ${full} octets, frame out, ACK in`, () => tcp.tcpDown(full)],
    [`UDP up: datagram of ${SMALL_DATAGRAM} octets in, sendmsg() out`, () => udp.udpUp(SMALL_DATAGRAM)],
    [`UDP up: datagram of ${fullDatagram} octets in, sendmsg() out`, () => udp.udpUp(fullDatagram)],
    [`UDP down: datagram of ${SMALL_DATAGRAM} octets in, frame out`, () => udp.udpDown(SMALL_DATAGRAM)],
    [`UDP down: datagram of ${fullDatagram} octets in, frame out`, () => udp.udpDown(fullDatagram)],
  ]);

  tcp.check();
  udp.check();
}
