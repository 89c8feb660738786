import { createServer } from "node:net";
import { describe, expect, it } from "vitest";
import type { Forward } from "../../../src/engine/config.ts";
import { ListeningTables, listeningPorts } from "../../../src/host/process/listening-ports.ts";
import { wantedRules } from "../../../src/supervisor/listening-forwards.ts";

/** As /proc/net/tcp and tcp6 have it on a little-endian machine. */
const TCP = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1 0 100 0 0 10 0
   2: 0F02000A:0050 0202000A:C350 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0 100 0 0 10 0
`;
const TCP6 = `  sl  local_address                         remote_address                        st
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0 0 0 0
   1: 00000000000000000000000001000000:0051 00000000000000000000000000000000:0000 0A 0 0 0 0
   2: 0000000000000000FFFF00000100007F:0052 00000000000000000000000000000000:0000 0A 0 0 0 0
`;

describe("the kernel's tables", () => {
  it("tell who listens where clients from outside get to", () => {
    expect(listeningPorts(TCP, "0A")).toEqual([22]);
    expect(listeningPorts(TCP6, "0A")).toEqual([80]);
    expect(listeningPorts("", "0A")).toEqual([]);
  });

  it("are read anew each time, of the namespace they are in", async () => {
    const tables = await ListeningTables.open({});
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "0.0.0.0", resolve));
    const { port } = server.address() as { port: number };
    expect(tables.read().tcp.has(port)).toBe(true);
    await new Promise((resolve) => server.close(resolve));
    expect(tables.read().tcp.has(port)).toBe(false);
    tables.close();
  });
});

describe("rules of ports that are listened on", () => {
  const forward: Forward = {
    ...{ protocol: "tcp", hostAddress: 0, hostPort: 1, ports: 65_535, optional: true, whileListening: true },
    ...{ guestAddress: 0, guestPort: 1 },
  };
  const ephemeral = { first: 32_768, last: 60_999 };

  it("are one a port and rule, without ports of connections unless they are named", () => {
    const ports = { tcp: new Set([22, 40_000]), udp: new Set([53]) };
    const named = { ...forward, hostPort: 40_000, guestPort: 40_000, ports: 2 };
    const rules = [
      ...wantedRules([forward, named, { ...forward, protocol: "udp" }], ports, ephemeral).values(),
    ];
    expect(
      rules.map((rule) => rule.map(({ protocol, hostPort, guestPort }) => [protocol, hostPort, guestPort])),
    ).toEqual([[["tcp", 22, 22]], [["tcp", 40_000, 40_000]], [["udp", 53, 53]]]);
  });
});
