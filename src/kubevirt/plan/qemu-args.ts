/** QEMU arguments for a VM's network interfaces. */
import { SHARED_RINGS } from "../../config/qemu-memory.ts";
import type { NicModel } from "../spec/spec-schema.ts";
import type { CardPlace } from "../spec/vm-model.ts";

/** A NIC as QEMU needs to know it. */
export interface QemuNic {
  readonly name: string;
  readonly model: NicModel;
  readonly mac: string;
  /** Octets; told to virtio guests when it is not Ethernet's usual 1500. */
  readonly mtu: number;
  readonly place?: CardPlace;
  readonly netdev:
    | { readonly kind: "tap"; readonly device: string }
    | { readonly kind: "stream" | "vhost-user"; readonly path: string };
}

const MTU_OF_ETHERNET = 1500;

/** `-netdev` and `-device` for each NIC; `-nic none` when there is none, or QEMU would add a NAT NIC of its own. */
export function qemuArguments(nics: readonly QemuNic[]): string[] {
  if (nics.length === 0) return ["-nic", "none"];
  return nics.flatMap((nic) => [...netdevOf(nic), "-device", deviceOf(nic)]);
}

function netdevOf({ name, netdev }: QemuNic): string[] {
  const id = `id=net-${name}`;
  switch (netdev.kind) {
    case "tap":
      return ["-netdev", `tap,${id},ifname=${escaped(netdev.device)},script=no,downscript=no`];
    case "stream":
      return ["-netdev", `stream,${id},server=off,addr.type=unix,addr.path=${escaped(netdev.path)}`];
    case "vhost-user":
      return [
        ...["-chardev", `socket,id=socket-${name},path=${escaped(netdev.path)}`],
        ...["-netdev", `vhost-user,${id},chardev=socket-${name}`],
      ];
  }
}

function deviceOf({ name, model, mac, mtu, netdev, place = {} }: QemuNic): string {
  const virtio = place.transitional === true ? "virtio-net-pci-transitional" : "virtio-net-pci";
  const { bootOrder, acpiIndex, pciSlot } = place;
  return [
    model === "virtio" ? virtio : model,
    `netdev=net-${name}`,
    `id=nic-${name}`,
    `mac=${mac}`,
    ...(model === "virtio" && mtu !== MTU_OF_ETHERNET ? [`host_mtu=${mtu}`] : []),
    ...(netdev.kind === "vhost-user" ? [SHARED_RINGS] : []),
    ...(bootOrder === undefined ? [] : [`bootindex=${bootOrder}`]),
    ...(acpiIndex === undefined ? [] : [`acpi-index=${acpiIndex}`]),
    ...(pciSlot === undefined ? [] : [`addr=${pciSlot}`]),
  ].join(",");
}

/** QEMU's option parser ends a value at a comma; a doubled one is part of it. */
function escaped(value: string): string {
  return value.replaceAll(",", ",,");
}

/** Arguments as a POSIX shell would read them back. */
export function shellQuoted(args: readonly string[]): string {
  return args
    .map((arg) => (/^[\w%+,./:=@-]+$/.test(arg) ? arg : `'${arg.replaceAll("'", "'\\''")}'`))
    .join(" ");
}
