import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { CAP_NET_BIND_SERVICE } from "../../../src/host/native/linux.ts";
import { hasCapability } from "../../../src/host/process/helper.ts";
import { CallRefusal } from "../../../src/kubevirt/binding/grpc.ts";
import { networkBinding } from "../../../src/kubevirt/binding/network-binding.ts";
import { type NicFields, type VmiFields, vmiOf } from "./vmi.ts";

const DOMAIN = `<domain type="kvm"><name>x</name><devices/></domain>`;
const PLACE = {
  binding: "sluice",
  hooksDirectory: "/hooks",
  container: "hook-sidecar-2",
  sandbox: true,
  memory: 0,
};

const outcome = (nic: NicFields = {}, fields: VmiFields = {}, place: object = {}) =>
  networkBinding({ ...PLACE, ...place }, DOMAIN, JSON.stringify(vmiOf(nic, fields)));

/** The values of an option. */
function option(argv: readonly string[], name: string): string[] {
  return argv.flatMap((word, at) => (word === name ? [argv[at + 1] ?? ""] : []));
}

describe("what a domain and its VM come to", () => {
  it("K24 is vhost-user with the largest MTU for virtio, by one path on every node", () => {
    const { argv, domainXml, reconnects } = outcome();
    expect(option(argv, "--vhost-user")).toEqual(["unix:/hooks/engine/card.sock"]);
    expect(option(argv, "--mtu")).toEqual(["65520"]);
    expect(domainXml).toContain(`path="/var/run/kubevirt-hooks/hook-sidecar-2/engine/card.sock"`);
    expect(domainXml).toContain(`<mtu size="65520"/>`);
    expect(reconnects).toBe(true);
    expect(outcome({}, {}, { container: undefined }).domainXml).toContain("/hook-sidecar-0/");
  });

  it("K24 is virtio-transitional where the VM asks for it", () => {
    expect(outcome().domainXml).toContain(`<model type="virtio-non-transitional"/>`);
    expect(outcome({}, { devices: { useVirtioTransitional: true } }).domainXml).toContain(
      `<model type="virtio-transitional"/>`,
    );
  });

  it("K25 has the spec's MAC, else one of the VM's uid and the interface's name", () => {
    const mac = (nic: NicFields, fields?: VmiFields) => option(outcome(nic, fields).argv, "--guest-mac")[0];
    expect(mac({ macAddress: "02-AA-BB-CC-DD-EE" })).toBe("02:aa:bb:cc:dd:ee");
    const own = mac({});
    expect(own).toMatch(/^02(:[0-9a-f]{2}){5}$/);
    expect(mac({})).toBe(own);
    expect(mac({ name: "other" })).not.toBe(own);
    expect(mac({}, { metadata: { uid: "another" } })).not.toBe(own);
    expect(outcome().domainXml).toContain(`<mac address="${own}"/>`);
  });

  it("K26 has a port of its own for a stream, the same every time, and none that the spec declares", () => {
    const port = (nic: NicFields): number => {
      const { argv, domainXml } = outcome({ model: "e1000", ...nic });
      const [address = ""] = option(argv, "--qemu-listen");
      const found = Number(/^tcp:127\.0\.0\.1:(\d+)$/.exec(address)?.[1]);
      expect(domainXml).toContain(`<source address="127.0.0.1" port="${found}"/>`);
      expect(option(argv, "--mtu")).toEqual([]);
      return found;
    };
    const first = port({});
    expect(first).toBeGreaterThanOrEqual(61000);
    expect(first).toBeLessThanOrEqual(61999);
    expect(port({})).toBe(first);
    expect(port({ ports: [{ port: first }] })).toBe(first + 1 > 61999 ? 61000 : first + 1);
    expect(port({ ports: [{ port: first, protocol: "UDP" }] })).toBe(first);
  });

  it("K27 has slirp's addresses or the network's own, and a lease of 999 days", () => {
    const { argv } = outcome();
    expect(argv[0]).toBe("run");
    expect(option(argv, "--net")).toEqual([]);
    expect(option(argv, "--dhcp-option")).toEqual([`51=${999 * 86_400}`]);
    const own = outcome(
      { dhcpOptions: { ntpServers: ["10.9.8.1"] } },
      { pod: { vmNetworkCIDR: "10.9.8.0/24" } },
    );
    expect(option(own.argv, "--net")).toEqual(["10.9.8.0/24"]);
    expect(option(own.argv, "--gateway")).toEqual(["10.9.8.2"]);
    expect(option(own.argv, "--guest-addr")).toEqual(["10.9.8.15"]);
    expect(option(own.argv, "--dhcp-option")).toEqual(["42=ip:10.9.8.1", `51=${999 * 86_400}`]);
  });

  it("K34 is bounded by what the container may use", () => {
    const [small, example, free] = [64, 256, 0].map((mib) => outcome({}, {}, { memory: mib * 1_048_576 }));
    expect([small, example, free].map(({ argv }) => option(argv, "--memory"))).toEqual([["8"], ["72"], []]);
    const isWhole = [small, example, free].map(({ domainXml }) => domainXml.includes("immediate"));
    expect(isWhole).toEqual([true, false, false]);
  });

  it("K28 has the declared ports and no others, at every address of the pod", () => {
    const { argv } = outcome({ portRanges: [{ protocol: "UDP", start: 5000, end: 5009 }] });
    const [rule = "", ...more] = option(argv, "--publish");
    expect(rule).toMatch(/^udp:(0\.0\.0\.0|\*):5000-5009:5000$/);
    expect(more).toEqual([]);
    expect(option(outcome().argv, "--publish")).toEqual([]);
    expect(argv).toContain("--publish-when-open");
  });

  it("K28 says what to do about ports that the pod may not listen on", () => {
    const first = Number(readFileSync("/proc/sys/net/ipv4/ip_unprivileged_port_start", "utf8"));
    const low = (): string => {
      try {
        outcome({ ports: [{ port: 80 }, { port: 8080 }] });
      } catch (error) {
        if (error instanceof CallRefusal) return `${error.code}: ${error.message}`;
        throw error;
      }
      return "taken";
    };
    if (first <= 80 || hasCapability(CAP_NET_BIND_SERVICE)) {
      expect(low()).toBe("taken");
      return;
    }
    expect(low()).toMatch(
      /^FAILED_PRECONDITION: .*\(tcp 80\): set net\.ipv4\.ip_unprivileged_port_start=0 .*networkAttachmentDefinition.*MutatingAdmissionPolicy.* from \d+ on$/,
    );
  });
});
