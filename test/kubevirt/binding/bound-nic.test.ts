import { describe, expect, it } from "vitest";
import { boundNic } from "../../../src/kubevirt/binding/bound-nic.ts";
import { CallRefusal } from "../../../src/kubevirt/binding/grpc.ts";
import { vmiOf } from "./vmi.ts";

const read = (vmi: object, binding = "sluice") => boundNic(JSON.stringify(vmi), binding);

function refusal(vmi: object | string, binding = "sluice"): string {
  try {
    boundNic(typeof vmi === "string" ? vmi : JSON.stringify(vmi), binding);
  } catch (error) {
    if (error instanceof CallRefusal) return `${error.code}: ${error.message}`;
    throw error;
  }
  return "taken";
}

describe("the interface of a VMI", () => {
  it("K22 is the one that is bound to this plugin, whatever the others are and newer clusters write", () => {
    const { nic, uid, isDown } = read(
      vmiOf({
        name: "blue",
        model: "e1000",
        macAddress: "02:11:22:33:44:55",
        ports: [
          { name: "web", port: 80 },
          { port: 53, protocol: "UDP" },
        ],
        state: "down",
        pciAddress: "0000:81:01.0",
      }),
    );
    expect(nic).toMatchObject({
      name: "blue",
      model: "e1000",
      mac: "02:11:22:33:44:55",
      binding: "slirp",
      ports: [
        { name: "web", port: 80, protocol: "tcp" },
        { port: 53, protocol: "udp" },
      ],
    });
    expect([uid, isDown]).toEqual(["8c1f4a0e-0000-4000-8000-000000000001", true]);
  });

  it("K27 has the network's own subnet, DHCP options and subdomain; names and name servers are the pod's", () => {
    const { nic, subdomain } = read(
      vmiOf(
        { dhcpOptions: { bootFileName: "pxe.0" } },
        {
          pod: { vmNetworkCIDR: "10.9.8.0/24" },
          spec: { subdomain: "cluster", dnsPolicy: "None", hostname: "other" },
        },
      ),
    );
    expect(nic.nat).toEqual({
      network: "10.9.8.0/24",
      gateway: "10.9.8.2",
      guest: "10.9.8.15",
      dns: "10.9.8.3",
    });
    expect(nic.dhcpOptions).toEqual([{ code: 67, form: "text", value: "pxe.0" }]);
    expect(subdomain).toBe("cluster");
  });

  it.each([
    ["no JSON", "{", "is no JSON"],
    ["no object", "[]", "is no object"],
    [
      "no such binding",
      vmiOf({ binding: { name: "passt" } }),
      "no interface has binding sluice (there is passt)",
    ],
    [
      "none at all",
      vmiOf({ binding: undefined, masquerade: {} }),
      "no interface has binding: {name: sluice}",
    ],
    ["no pod network", vmiOf({ name: "lan" }), "its network is no pod network"],
  ])("K22 is refused when there is %s", (_, vmi, reason) => {
    expect(refusal(vmi)).toContain("INVALID_ARGUMENT: ");
    expect(refusal(vmi)).toContain(reason);
  });

  it.each([
    [
      { ports: [{ port: 0 }] },
      "interface default ports[0].port: found 0; allowed: a whole number from 1 to 65535",
    ],
    [{ model: "virtio2" }, "interface default model: found"],
    [{ ports: [{ port: 80 }, { port: 80 }] }, "interface default ports[1]"],
    [{ macAddress: "01:00:00:00:00:01" }, "interface default macAddress"],
  ])("K22 is refused for what sluice vm refuses: %j", (nic, reason) => {
    expect(refusal(vmiOf(nic))).toMatch(/^INVALID_ARGUMENT: /);
    expect(refusal(vmiOf(nic))).toContain(reason);
  });

  it("K28 may not have ports of Istio's sidecar where there is one", () => {
    const ports = [{ port: 8080 }, { port: 15090 }];
    const injected = { annotations: { "sidecar.istio.io/inject": "true" } };
    expect(refusal(vmiOf({ ports }))).toBe("taken");
    expect(refusal(vmiOf({ ports: [{ port: 8080 }] }, { metadata: injected }))).toBe("taken");
    expect(refusal(vmiOf({ ports }, { metadata: injected }))).toContain("port 15090 is of Istio's sidecar");
  });
});
