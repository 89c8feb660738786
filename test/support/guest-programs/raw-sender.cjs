/**
 * Sends IP packets as they are: raw-sender.cjs < PACKETS, one per line, hexadecimal, from the IP header on. The kernel adds
 * the link's header, and the checksum of the IP header where that is 0 (raw(7)). Prints how many went out.
 */
const { readFileSync } = require("node:fs");
const raw = require("raw-socket");

/** IPPROTO_RAW, which implies IP_HDRINCL. */
const socket = raw.createSocket({ protocol: 255 });
socket.on("error", () => {});
const packets = readFileSync(0, "latin1").split("\n").filter(Boolean);
let sent = 0;

function next() {
  const line = packets.shift();
  if (line === undefined) {
    console.log(sent);
    socket.close();
    return;
  }
  const packet = Buffer.from(line, "hex");
  const to = [...packet.subarray(16, 20)].join(".");
  socket.send(packet, 0, packet.length, to, (error) => {
    if (error) console.error(`${to}: ${error.message}`);
    else sent++;
    next();
  });
}
next();
