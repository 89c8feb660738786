/**
 * A guest that is no good neighbour: flood.cjs HOST GIVES DEAF CONNECTIONS. It never reads what GIVES sends, writes for ever to DEAF,
 * which never reads, and sends datagrams of all sizes to 20,000 ports.
 */
const { connect } = require("node:net");
const { createSocket } = require("node:dgram");

const [host, gives, deaf, connections] = process.argv.slice(2);
const octets = Buffer.alloc(65_536);

for (let n = 0; n < Number(connections); n++) {
  connect(Number(gives), host)
    .on("error", () => {})
    .pause();
  const writer = connect(Number(deaf), host).on("error", () => {});
  const write = () => {
    while (writer.write(octets));
  };
  writer.on("connect", write).on("drain", write);
}

const socket = createSocket("udp4").on("error", () => {});
let count = 0;
setInterval(() => {
  for (let n = 0; n < 50; n++, count++) {
    const length = 1000 + ((count * 37) % 60_000);
    socket.send(octets.subarray(0, length), 20_000 + (count % 20_000), host, () => {});
  }
}, 5);
