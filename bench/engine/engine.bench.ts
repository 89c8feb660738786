/** From a received frame to what it causes, through the whole core: a small one and a full one, both protocols. */
import { runSuite } from "../suite.ts";
import { EngineRig } from "./engine-rig.ts";

const SMALL = 1;
const SMALL_DATAGRAM = 64;
const FULL = 1460;
const FULL_DATAGRAM = 1472;

const tcp = new EngineRig();
tcp.connect();
const udp = new EngineRig();
udp.udpUp(SMALL_DATAGRAM);

runSuite([
  [`TCP up: segment of ${SMALL} octet in, send() and ACK out`, () => tcp.tcpUp(SMALL)],
  [`TCP up: segment of ${FULL} octets in, send() and ACK out`, () => tcp.tcpUp(FULL)],
  [`TCP down: recv() of ${SMALL} octet, frame out, ACK in`, () => tcp.tcpDown(SMALL)],
  [`TCP down: recv() of ${FULL} octets, frame out, ACK in`, () => tcp.tcpDown(FULL)],
  [`UDP up: datagram of ${SMALL_DATAGRAM} octets in, sendmsg() out`, () => udp.udpUp(SMALL_DATAGRAM)],
  [`UDP up: datagram of ${FULL_DATAGRAM} octets in, sendmsg() out`, () => udp.udpUp(FULL_DATAGRAM)],
  [`UDP down: datagram of ${SMALL_DATAGRAM} octets in, frame out`, () => udp.udpDown(SMALL_DATAGRAM)],
  [`UDP down: datagram of ${FULL_DATAGRAM} octets in, frame out`, () => udp.udpDown(FULL_DATAGRAM)],
]);

tcp.check();
udp.check();
