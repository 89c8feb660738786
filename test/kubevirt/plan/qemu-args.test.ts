import { execFileSync } from "node:child_process";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { planVm } from "../../../src/kubevirt/plan/plan.ts";
import { qemuArguments, shellQuoted } from "../../../src/kubevirt/plan/qemu-args.ts";
import { deviceName, localMac, siblingMac, socketName } from "../../../src/kubevirt/plan/stable-name.ts";
import { NIC_MODELS } from "../../../src/kubevirt/spec/spec-schema.ts";
import { validateText } from "../../../src/kubevirt/spec/validate.ts";

const TAP = { kind: "tap", device: "tpred-000000" } as const;

describe("QEMU arguments", () => {
  it("S9 every model becomes QEMU's device of that name, virtio its PCI one", () => {
    const devices = NIC_MODELS.map(
      (model) => qemuArguments([{ name: "red", model, mac: "02:00:00:00:00:01", mtu: 1500, netdev: TAP }])[3],
    );
    expect(devices.map((device) => device.split(",")[0])).toEqual([
      "e1000",
      "e1000e",
      "ne2k_pci",
      "pcnet",
      "rtl8139",
      "virtio-net-pci",
    ]);
  });

  it("S16 no NIC at all is said to QEMU, which would add one", () => {
    expect(qemuArguments([])).toEqual(["-nic", "none"]);
  });

  it("a TAP is named and left alone, a slirp socket is connected to; a comma in its path stays one", () => {
    const base = { name: "red", model: "e1000", mac: "02:00:00:00:00:01", mtu: 1500 } as const;
    expect(qemuArguments([{ ...base, netdev: TAP }])).toEqual([
      "-netdev",
      "tap,id=net-red,ifname=tpred-000000,script=no,downscript=no",
      "-device",
      "e1000,netdev=net-red,id=nic-red,mac=02:00:00:00:00:01",
    ]);
    expect(qemuArguments([{ ...base, netdev: { kind: "stream", path: "/run/a,b=c/red.sock" } }])[1]).toBe(
      "stream,id=net-red,server=off,addr.type=unix,addr.path=/run/a,,b=c/red.sock",
    );
  });

  it("a card in shared memory has a socket of its own and large rings", () => {
    const nic = { name: "red", model: "virtio", mac: "02:00:00:00:00:01", mtu: 1500 } as const;
    expect(qemuArguments([{ ...nic, netdev: { kind: "vhost-user", path: "/run/a,b/red.sock" } }])).toEqual([
      "-chardev",
      "socket,id=socket-red,path=/run/a,,b/red.sock",
      "-netdev",
      "vhost-user,id=net-red,chardev=socket-red",
      "-device",
      "virtio-net-pci,netdev=net-red,id=nic-red,mac=02:00:00:00:00:01,rx_queue_size=1024",
    ]);
  });

  it("D11 whatever a spec says, it adds no argument and no option", () => {
    const text = fc.oneof(
      fc.string(),
      fc.constantFrom("a,b", "x=y", "-hda", "red ", "a b", "n\n-hda x", 'q"', "$(id)"),
    );
    const nic = fc.record({
      name: text,
      model: fc.oneof(text, fc.constantFrom(...NIC_MODELS)),
      macAddress: fc.oneof(text, fc.constant("de:ad:00:00:be:af")),
    });
    fc.assert(
      fc.property(nic, (fields) => {
        const document = {
          kind: "VM",
          spec: {
            domain: { devices: { interfaces: [{ ...fields, slirp: {} }] } },
            networks: [{ name: fields.name, pod: {} }],
          },
        };
        for (const { model } of validateText("any.yaml", JSON.stringify(document)).vms) {
          const plan = planVm(
            { vm: "vm", model, uplink: "eth0", runDirectory: "/run" },
            {
              devices: new Map(),
              resolver: { nameServers: [], engineResolvers: [], search: [] },
              resources: { devices: new Map(), problems: [] },
            },
          );
          expect(plan.qemuArguments).toHaveLength(4);
          expect(plan.qemuArguments[1]).toMatch(
            /^stream,id=net-[\w-]+,server=off,addr\.type=unix,addr\.path=\/run\/[\w.-]+$/,
          );
          expect(plan.qemuArguments[3]).toMatch(/^[\w-]+,netdev=net-[\w-]+,id=nic-[\w-]+,mac=[0-9a-f:]{17}$/);
        }
      }),
      { numRuns: 500 },
    );
  });

  it("shell quoting gives a shell the same arguments back", () => {
    const args = fc.array(
      fc
        .string({ unit: "binary" })
        .filter((text) => !text.includes("\0") && Buffer.from(text).toString() === text),
      { minLength: 1, maxLength: 5 },
    );
    fc.assert(
      fc.property(args, (list) => {
        const out = execFileSync("/bin/sh", ["-c", `printf '%s\\0' ${shellQuoted(list)}`], {
          encoding: "utf8",
        });
        expect(out.split("\0").slice(0, -1)).toEqual(list);
      }),
      { numRuns: 50 },
    );
  });
});

describe("names made from names", () => {
  const nic = fc.stringMatching(/^[A-Za-z0-9_-]{1,30}$/);

  it("device names fit Linux, and differ for different interfaces", () => {
    fc.assert(
      fc.property(nic, nic, (a, b) => {
        expect(Buffer.byteLength(deviceName("br", "web", a))).toBeLessThanOrEqual(15);
        if (a !== b) expect(deviceName("tp", "web", a)).not.toBe(deviceName("tp", "web", b));
        expect(socketName("web", a)).toMatch(/^[\w-]+\.sock$/);
      }),
    );
  });

  it("MACs made here are local unicast ones, and a sibling keeps the vendor prefix and differs", () => {
    fc.assert(
      fc.property(
        nic,
        fc.array(fc.integer({ min: 0, max: 255 }), { minLength: 6, maxLength: 6 }),
        (name, octets) => {
          expect(Number.parseInt(localMac("web", name, "").slice(0, 2), 16) & 3).toBe(2);
          const mac = octets.map((octet) => octet.toString(16).padStart(2, "0")).join(":");
          const sibling = siblingMac(mac, name);
          expect(sibling.slice(0, 9)).toBe(mac.slice(0, 9));
          expect(sibling).not.toBe(mac);
          expect(sibling).toMatch(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/);
        },
      ),
    );
  });
});
