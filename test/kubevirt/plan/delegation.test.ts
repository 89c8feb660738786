/** What a guest is told when it takes over the pod's address, down to the octets of the DHCP options. */
import { describe, expect, it } from "vitest";
import { DhcpServer } from "../../../src/engine/service/dhcp.ts";
import {
  type DhcpOffer,
  defaultGateway,
  dhcpConfigOf,
  type InterfaceAddress,
  type InterfaceRoute,
  LEASE_SECONDS,
  offeredRoutes,
} from "../../../src/kubevirt/plan/delegation.ts";
import { dhcpOptionsOf, dhcpRequest } from "../dhcp-messages.ts";

function route(destination: string, gateway?: string, more: Partial<InterfaceRoute> = {}): InterfaceRoute {
  return {
    destination,
    metric: 0,
    fromAddress: false,
    ...(gateway === undefined ? {} : { gateway }),
    ...more,
  };
}

const MAC = "02:00:00:00:00:05";

function offerFor(
  own: InterfaceAddress,
  routes: readonly InterfaceRoute[],
  more: Partial<DhcpOffer> = {},
): DhcpOffer {
  const router = defaultGateway(routes);
  return {
    server: "169.254.75.10",
    mac: MAC,
    address: own.address,
    prefixLength: own.prefixLength,
    ...(router === undefined ? {} : { router }),
    dnsServers: ["10.96.0.10"],
    searchDomains: [],
    mtu: 1500,
    leaseSeconds: LEASE_SECONDS,
    routes: offeredRoutes(own, routes),
    ...more,
  };
}

/** The options of the OFFER the engine's DHCP server makes of an offer. */
function optionsOf(offer: DhcpOffer, mac = MAC, identifier?: number[]): Map<number, number[]> | string {
  const server = new DhcpServer(dhcpConfigOf(offer));
  return answer(server, 1, mac, identifier);
}

function answer(
  server: DhcpServer,
  type: number,
  mac: string,
  identifier?: number[],
): Map<number, number[]> | string {
  const outcome = server.handle(dhcpRequest(type, mac, identifier), 0);
  return "drop" in outcome ? outcome.drop : dhcpOptionsOf(outcome.reply);
}

const CALICO: InterfaceAddress = { address: "10.244.1.5", prefixLength: 32 };

describe("routes for the guest (option 121)", () => {
  const vectors: readonly (readonly [
    string,
    InterfaceAddress,
    readonly InterfaceRoute[],
    readonly number[],
  ])[] = [
    [
      "224.0.0.0/4 on-link; 192.168.1.0/24 via 192.168.2.1",
      { address: "192.168.2.7", prefixLength: 24 },
      [route("224.0.0.0/4"), route("192.168.1.0/24", "192.168.2.1")],
      [4, 224, 0, 0, 0, 0, 24, 192, 168, 1, 192, 168, 2, 1],
    ],
    [
      "default via 10.129.0.1; 10.128.0.0/14 on-link; 224.0.0.0/4 on-link",
      { address: "10.129.0.9", prefixLength: 23 },
      [route("0.0.0.0/0", "10.129.0.1"), route("10.128.0.0/14"), route("224.0.0.0/4")],
      [14, 10, 128, 0, 0, 0, 0, 4, 224, 0, 0, 0, 0, 0, 10, 129, 0, 1],
    ],
    [
      "default via 169.254.1.1; 169.254.1.1/32 on-link",
      CALICO,
      [route("0.0.0.0/0", "169.254.1.1"), route("169.254.1.1/32")],
      [32, 169, 254, 1, 1, 0, 0, 0, 0, 0, 169, 254, 1, 1],
    ],
  ];

  it.each(vectors)("S18 %s", (_, own, routes, octets) => {
    const options = optionsOf(offerFor(own, routes));
    expect(options).toBeInstanceOf(Map);
    if (options instanceof Map) expect(options.get(121)).toEqual(octets);
  });

  it("S18 the subnet's own route is left out, the netmask says it; no route left means no option", () => {
    const own = { address: "10.1.0.5", prefixLength: 24 };
    const kernel = route("10.1.0.0/24", undefined, { fromAddress: true });
    expect(offeredRoutes(own, [kernel])).toEqual([]);
    const options = optionsOf(offerFor(own, [kernel]));
    expect(options instanceof Map && [options.has(121), options.has(3)]).toEqual([false, false]);
  });

  it("S18 a gateway that no route leads to gets one: Calico's default route marked onlink", () => {
    expect(offeredRoutes(CALICO, [route("0.0.0.0/0", "169.254.1.1", { onLink: true })])).toEqual([
      { destination: "169.254.1.1/32" },
      { destination: "0.0.0.0/0", gateway: "169.254.1.1" },
    ]);
  });

  it("S18 the gateway is the default route's, the one with the lowest metric, in the main table", () => {
    const routes = [
      route("192.168.0.0/16", "10.1.0.7"),
      route("0.0.0.0/0", "10.1.0.3", { table: "100" }),
      route("0.0.0.0/0", "10.1.0.2", { metric: 200 }),
      route("0.0.0.0/0", "10.1.0.1", { metric: 100 }),
    ];
    expect(defaultGateway(routes)).toBe("10.1.0.1");
    expect(offeredRoutes({ address: "10.1.0.5", prefixLength: 24 }, routes)).toEqual([
      { destination: "192.168.0.0/16", gateway: "10.1.0.7" },
      { destination: "0.0.0.0/0", gateway: "10.1.0.1" },
    ]);
  });
});

describe("the lease for the guest", () => {
  it("S18 carries mask, router, DNS, names, MTU, 999 days and search list, from the server's own address", () => {
    const own = { address: "10.1.0.5", prefixLength: 24 };
    const offer = offerFor(own, [route("0.0.0.0/0", "10.1.0.1")], {
      hostname: "web",
      domain: "ns.svc.local",
      searchDomains: ["ns.svc.local", "svc.local"],
      mtu: 1450,
    });
    const options = optionsOf(offer);
    if (!(options instanceof Map)) throw new Error(options);
    const text = (code: number): string => Buffer.from(options.get(code) ?? []).toString();
    expect(options.get(1)).toEqual([255, 255, 255, 0]);
    expect(options.get(3)).toEqual([10, 1, 0, 1]);
    expect(options.get(6)).toEqual([10, 96, 0, 10]);
    expect(text(12)).toBe("web");
    expect(text(15)).toBe("ns.svc.local");
    expect(options.get(26)).toEqual([1450 >> 8, 1450 & 255]);
    expect(Buffer.from(options.get(51) ?? []).readUInt32BE()).toBe(86_313_600);
    expect(options.get(54)).toEqual([169, 254, 75, 10]);
    expect(text(119)).toContain("\u0003svc\u0005local");
    expect(options.has(28)).toBe(false);
  });

  it("S18 goes to the guest's MAC alone, whatever identifier its boot stages use", () => {
    const offer = offerFor({ address: "10.1.0.5", prefixLength: 24 }, [route("0.0.0.0/0", "10.1.0.1")]);
    const server = new DhcpServer(dhcpConfigOf(offer));
    expect(answer(server, 1, "02:00:00:00:00:06")).toBe("dhcp-not-ours");
    for (const identifier of [undefined, [1, 2, 0, 0, 0, 0, 5], [255, 1, 2, 3, 4, 5, 6, 7]]) {
      expect(answer(server, 1, MAC, identifier)).toBeInstanceOf(Map);
      const acknowledged = answer(server, 3, MAC, identifier);
      expect(acknowledged instanceof Map && acknowledged.get(53)).toEqual([5]);
    }
  });
});
