/** N57: TCP over IPv6 is TCP over IPv4. Every script of the suites runs again, with a guest of the other family. */
import { runOver } from "./tcp-script.ts";

runOver(6);
for (const suite of ["close", "data", "handshake", "liveness", "reordering", "reset", "retransmission"]) {
  await import(`./tcp-${suite}.test.ts`);
}
