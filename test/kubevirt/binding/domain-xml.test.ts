import { describe, expect, it } from "vitest";
import { type Card, withCard } from "../../../src/kubevirt/binding/domain-xml.ts";
import { CallRefusal } from "../../../src/kubevirt/binding/grpc.ts";

const CARD: Card = {
  name: "default",
  mac: "02:00:00:00:00:07",
  model: "virtio-non-transitional",
  source: { kind: "vhost-user", path: "/var/run/kubevirt-hooks/hook-sidecar-0/engine/card.sock" },
  mtu: 65520,
  isDown: false,
  takesMemory: false,
};

/** What a launcher sends: its own namespaces, a place kept for hot-plug, somebody's comment, elements nobody here knows. */
const DOMAIN = `<domain type="kvm" xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0">
  <name>lab_web</name>
  <memory unit="b">134217728</memory>
  <!-- of another hook -->
  <metadata><kubevirt xmlns="http://kubevirt.io"><uid>8c1f</uid></kubevirt></metadata>
  <cpu mode="host-model"><numa><cell id="0" cpus="0" memory="131072" unit="KiB" memAccess="private"/></numa></cpu>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <interface type="ethernet"><alias name="ua-lan"/><target dev="tap0" managed="no"/></interface>
    <interface type="ethernet"><alias name="ua-placeholder-1"/><model type="virtio-non-transitional"/></interface>
    <video><model type="vga"/></video>
    <madeup attribute="&lt;&amp;">text &amp; more</madeup>
  </devices>
  <qemu:commandline><qemu:arg value="-msg"/><qemu:arg value="timestamp=on"/></qemu:commandline>
</domain>`;

const MADE = `<interface type="vhostuser"><mac address="02:00:00:00:00:07"/><source type="unix" path="/var/run/kubevirt-hooks/hook-sidecar-0/engine/card.sock" mode="client"><reconnect enabled="yes" timeout="1"/></source><model type="virtio-non-transitional"/><driver rx_queue_size="1024"/><mtu size="65520"/><rom enabled="no"/><alias name="ua-default"/></interface>`;

/** What libvirt would say: the domain is not the one that was meant. */
function refusal(xml: string): string {
  try {
    withCard(xml, CARD);
  } catch (error) {
    if (error instanceof CallRefusal) return `${error.code}: ${error.message}`;
    throw error;
  }
  return "taken";
}

describe("the domain's XML", () => {
  it("K24 has a card of vhost-user behind the last interface, and memory that is shared", () => {
    const made = withCard(DOMAIN, CARD);
    const other = `<interface type="ethernet"><alias name="ua-placeholder-1"/><model type="virtio-non-transitional"/></interface>`;
    expect(made).toContain(`${other}${MADE}`);
    expect(made).toContain(`<memoryBacking><source type="memfd"/><access mode="shared"/></memoryBacking>`);
    expect(made).toContain(`memAccess="shared"`);
  });

  it("K23 keeps everything else as it is, comments and unknown elements too", () => {
    const made = withCard(DOMAIN, CARD);
    const without = made
      .replace(MADE, "")
      .replace(`<memoryBacking><source type="memfd"/><access mode="shared"/></memoryBacking>`, "")
      .replace(`memAccess="shared"`, `memAccess="private"`);
    expect(without).toBe(DOMAIN);
  });

  it("K23 comes out the same when it is fed back, three times", () => {
    const once = withCard(DOMAIN, CARD);
    let again = once;
    for (let i = 0; i < 3; i++) {
      again = withCard(again, CARD);
      expect(again).toBe(once);
    }
  });

  it("K23 has the card whole again when a launcher has dropped what it does not know", () => {
    const once = withCard(DOMAIN, CARD);
    const dropped = once
      .replace(/<source type="unix"[^>]*>.*?<\/source>/, `<source mode="client"/>`)
      .replace(`<driver rx_queue_size="1024"/>`, `<driver name=""/>`)
      .replace(`<rom enabled="no"/>`, "");
    expect(dropped).not.toBe(once);
    expect(withCard(dropped, CARD)).toBe(once);
  });

  it("K23 has one card where there were two of its name, and keeps the place libvirt gave it", () => {
    const address = `<address type="pci" domain="0x0000" bus="0x01" slot="0x00" function="0x0"/>`;
    const twice = withCard(DOMAIN, CARD).replace(
      MADE,
      `${MADE.replace("</interface>", `${address}</interface>`)}${MADE}`,
    );
    const made = withCard(twice, CARD);
    expect(made.match(/ua-default/g)).toHaveLength(1);
    expect(made).toContain(`<alias name="ua-default"/>${address}</interface>`);
  });

  it("K24 has boot order, ACPI index, PCI address and link state where the spec says so", () => {
    const made = withCard(DOMAIN, {
      ...CARD,
      model: "virtio-transitional",
      bootOrder: 2,
      acpiIndex: 101,
      pciAddress: "0000:81:1F.7",
      isDown: true,
    });
    for (const part of [
      `<model type="virtio-transitional"/>`,
      `<boot order="2"/>`,
      `<acpi index="101"/>`,
      `<link state="down"/>`,
      `<address type="pci" domain="0x0000" bus="0x81" slot="0x1f" function="0x7"/>`,
    ])
      expect(made).toContain(part);
    expect(made).not.toContain("<rom");
  });

  it("K24 has a stream for cards that are no virtio ones, and leaves the memory alone", () => {
    const made = withCard(DOMAIN, {
      name: "default",
      mac: CARD.mac,
      model: "e1000",
      source: { kind: "client", port: 61234 },
      isDown: false,
      takesMemory: false,
    });
    expect(made).toContain(
      `<interface type="client"><mac address="02:00:00:00:00:07"/><source address="127.0.0.1" port="61234"/><model type="e1000"/><rom enabled="no"/><alias name="ua-default"/></interface>`,
    );
    expect(made).not.toContain("memoryBacking");
  });

  it("K24 keeps huge pages and a memory file that is there", () => {
    const huge = DOMAIN.replace(
      "<cpu",
      `<memoryBacking><hugepages/><source type="file"/><access mode="private"/></memoryBacking><cpu`,
    );
    expect(withCard(huge, CARD)).toContain(
      `<memoryBacking><hugepages/><source type="file"/><access mode="shared"/></memoryBacking>`,
    );
  });

  it("K34 has all of its memory from its start where the sidecar could not pay for any", () => {
    const made = withCard(DOMAIN, { ...CARD, takesMemory: true });
    expect(made).toContain(
      `<memoryBacking><source type="memfd"/><access mode="shared"/><allocation mode="immediate"/></memoryBacking>`,
    );
    expect(withCard(made, { ...CARD, takesMemory: true })).toBe(made);
  });

  it("K22 is refused when it is no XML, or no domain with devices", () => {
    expect(refusal("<domain><devices></domain>")).toMatch(/^INVALID_ARGUMENT: .* is no XML: /);
    expect(refusal("")).toMatch(/^INVALID_ARGUMENT: .* is no XML: /);
    expect(refusal("<domain><name>x</name></domain>")).toMatch(/^INVALID_ARGUMENT: .* has no devices$/);
    expect(refusal("<network><devices/></network>")).toMatch(/^INVALID_ARGUMENT: .* has no devices$/);
  });
});
