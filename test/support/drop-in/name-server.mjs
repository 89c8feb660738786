/** name-server.mjs ADDRESS NAME: a resolver at ADDRESS that knows one name, over UDP. */
import { createSocket } from "node:dgram";
import packet from "dns-packet";

const ADDRESSES = { A: "199.7.83.42", AAAA: "2001:500:9f::42" };
const [address, known] = process.argv.slice(2);

const socket = createSocket("udp4", (octets, { port, address: from }) => {
  const { id, questions } = packet.decode(octets);
  const isKnown = questions[0].name === known;
  const answers = questions.flatMap(({ name, type }) =>
    isKnown && type in ADDRESSES ? [{ name, type, ttl: 60, data: ADDRESSES[type] }] : [],
  );
  const flags = packet.RECURSION_DESIRED | packet.RECURSION_AVAILABLE | (isKnown ? 0 : 3);
  socket.send(packet.encode({ type: "response", id, flags, questions, answers }), port, from);
});
socket.bind(53, address);
