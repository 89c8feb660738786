/**
 * What `up` would do for a VM, worked out from the spec and from what the machine looks like now, as plain data. Pure:
 * whoever calls it has read the machine, and nothing is changed here.
 *
 * What could not be read (no such interface on the machine where somebody plans) stands in the plan as `<...>` and in
 * `unknown`; such a plan can be read but not carried out. What was read and cannot work is in `problems`.
 */

import { MTU_DEFAULT } from "../../engine/limits.ts";
import { type NatAddresses, slirpAddresses } from "../spec/nat-addresses.ts";
import type { VmModel, VmNic, VmPort } from "../spec/vm-model.ts";
import {
  type DhcpOffer,
  defaultGateway,
  type InterfaceAddress,
  type InterfaceRoute,
  inMainTable,
  LEASE_SECONDS,
  offeredRoutes,
} from "./delegation.ts";
import type { Resources } from "./device-plugin.ts";
import { engineArguments } from "./engine-arguments.ts";
import { type QemuNic, qemuArguments } from "./qemu-args.ts";
import { type GuestResolver, guestResolver, type ResolverView, SEARCH_DOMAINS_MAX } from "./resolver.ts";
import { deviceName, localMac, siblingMac, socketName } from "./stable-name.ts";
import { formatAddress, type Step } from "./steps.ts";

export type { ResolverView } from "./resolver.ts";

/** A network interface as it is now. */
export interface DeviceView {
  readonly mac: string;
  readonly mtu: number;
  /** The bridge it is a port of. */
  readonly master?: string;
  /** It is a bridge itself. */
  readonly isBridge?: boolean;
  readonly addresses: readonly InterfaceAddress[];
  readonly routes: readonly InterfaceRoute[];
  /** Global IPv6 addresses: they stay where they are. */
  readonly ipv6Addresses: readonly string[];
}

/** The machine, or the pod, as it is now. */
export interface Machine {
  /** Devices that were looked for and found. */
  readonly devices: ReadonlyMap<string, DeviceView>;
  readonly resolver: ResolverView;
  readonly resources: Resources;
  /** It has IPv6 addresses that others reach it by (a dual-stack pod). */
  readonly isDualStack?: boolean;
}

export interface PlanRequest {
  /** Name of the VM in this run directory; device names and MACs follow from it. */
  readonly vm: string;
  readonly model: VmModel;
  /** The pod's network interface. */
  readonly uplink: string;
  /** Folder of the VM's sockets. */
  readonly runDirectory: string;
  /** Engines and QEMU share the machine's memory, where the card is virtio. */
  readonly sharesMemory?: boolean;
  /** False: engines are not confined. */
  readonly sandbox?: boolean;
  /** Who QEMU runs as. */
  readonly owner?: { readonly uid: number; readonly gid: number };
  /** Told to the guest by DHCP. */
  readonly hostname?: string;
  /** A network interface or a bridge for each multus network, by the network's name. */
  readonly devices?: Readonly<Record<string, string>>;
}

export interface NicPlan extends QemuNic {
  /** How frames get from the guest to the network. */
  readonly way: "slirp" | "delegated" | "ethernet";
  /** `pod`, or the name of the resource or of the NetworkAttachmentDefinition. */
  readonly network: string;
  /** The pod-side interface, for the bridge binding. */
  readonly device?: string;
  readonly bridge?: string;
  readonly ports: readonly VmPort[];
  /** Of slirp. */
  readonly nat?: NatAddresses;
  readonly offer?: DhcpOffer;
  /** Address the pod-side interface keeps on the bridge (plain Ethernet on pod). */
  readonly keeps?: readonly InterfaceAddress[];
}

export interface PlanProblem {
  readonly place: string;
  readonly found: string;
  readonly allowed: string;
}

export interface Plan {
  readonly vm: string;
  readonly nics: readonly NicPlan[];
  readonly steps: readonly Step[];
  readonly qemuArguments: readonly string[];
  readonly owner?: { readonly uid: number; readonly gid: number };
  readonly warnings: readonly string[];
  /** What keeps `up` from working. */
  readonly problems: readonly PlanProblem[];
  /** What could not be read here and stands in the plan as `<...>`. */
  readonly unknown: readonly string[];
}

/** How long a device plugin's interface is waited for. */
export const DEVICE_WAIT_SECONDS = 60;

/** DHCP is served from the first of these that nothing else in the pod uses. */
const SERVER_ADDRESSES = ["169.254.75.10", "169.254.75.11", "169.254.75.12", "169.254.75.13"] as const;

interface Part {
  readonly nic: NicPlan;
  readonly steps: readonly Step[];
}

/** Plans a VM. Never throws. */
export function planVm(request: PlanRequest, machine: Machine): Plan {
  const planner = new Planner(request, machine);
  const parts = request.model.nics.map((nic) => planner.part(nic));
  const nics = parts.map((part) => part.nic);
  planner.checkDevices(nics);
  return {
    vm: request.vm,
    nics,
    // Waiting changes nothing, so it comes before everything that does.
    steps: [...parts.flatMap((part) => part.steps)].sort((a, b) => Number(isWait(b)) - Number(isWait(a))),
    qemuArguments: qemuArguments(nics),
    ...(request.owner === undefined ? {} : { owner: request.owner }),
    warnings: planner.warnings,
    problems: planner.problems,
    unknown: planner.unknown,
  };
}

function isWait(step: Step): boolean {
  return step.do === "wait-for-device";
}

class Planner {
  readonly warnings: string[] = [];
  readonly problems: PlanProblem[] = [];
  readonly unknown: string[] = [];
  private readonly resolver: GuestResolver;

  constructor(
    private readonly request: PlanRequest,
    private readonly machine: Machine,
  ) {
    this.problems.push(...machine.resources.problems);
    this.resolver = guestResolver(request.model, machine.resolver);
  }

  /** One interface of the machine cannot be a port of two bridges. */
  checkDevices(nics: readonly NicPlan[]): void {
    const seen = new Set<string>();
    for (const { name, device, bridge } of nics) {
      if (device === undefined || device.startsWith("<") || bridge === device) continue;
      if (seen.has(device)) {
        const allowed = "a network interface of its own for each, or a bridge that is there already";
        this.problems.push({ place: name, found: `${device}, which another interface has`, allowed });
      }
      seen.add(device);
    }
  }

  part(nic: VmNic): Part {
    if (nic.binding === "slirp") return this.slirp(nic);
    const device = this.deviceOf(nic);
    const view = this.machine.devices.get(device);
    if (view === undefined && !device.startsWith("<")) {
      this.unknown.push(
        `${device} is not here now: its MAC, MTU and addresses are read when the VM comes up`,
      );
    }
    if (view?.master !== undefined) {
      const found = `a port of ${view.master}`;
      const bridge =
        nic.backend.kind === "multus" ? ` (--network ${nic.name}=${view.master} uses that one)` : "";
      const allowed = `an interface that is no port of a bridge yet${bridge}`;
      this.problems.push({ place: device, found, allowed });
    }
    if (view !== undefined && view.ipv6Addresses.length > 0) {
      const list = view.ipv6Addresses.join(", ");
      this.warnings.push(
        `the pod's IPv6 addresses on ${device} (${list}) do not work while it is a port of a bridge`,
      );
    }
    if (nic.backend.kind === "multus" && view?.isBridge === true) return this.onBridge(nic, device, view);
    if (nic.backend.kind === "multus" && view !== undefined && view.addresses.length > 0) {
      const list = view.addresses.map(formatAddress).join(", ");
      this.warnings.push(`the addresses on ${device} (${list}) do not work while it is a port of a bridge`);
    }
    const delegates = nic.delegate && (view === undefined || view.addresses.length > 0);
    if (nic.delegate && !delegates) {
      this.warnings.push(
        `${device} has no IPv4 address: ${nic.name} is plain Ethernet, and no DHCP is served`,
      );
    }
    return delegates ? this.delegated(nic, device, view) : this.ethernet(nic, device, view);
  }

  private slirp(nic: VmNic): Part {
    const { vm, runDirectory, hostname, sandbox = true, sharesMemory = false } = this.request;
    const isShared = sharesMemory && nic.model === "virtio";
    if (sharesMemory && !isShared) {
      this.warnings.push(`${nic.name}: ${nic.model} has no vhost-user; its frames go over a stream socket`);
    }
    const socket = `${runDirectory}/${socketName(vm, nic.name)}`;
    const mac = nic.mac ?? localMac(vm, nic.name, "");
    const { argv, warnings } = engineArguments({
      nic,
      mac,
      link: [isShared ? "--vhost-user" : "--qemu-listen", `unix:${socket}`],
      hostname,
      sandbox,
      resolver: this.resolver,
      isDualStack: this.machine.isDualStack === true,
    });
    this.warnings.push(...warnings);
    return {
      nic: {
        name: nic.name,
        model: nic.model,
        mac,
        mtu: MTU_DEFAULT,
        netdev: { kind: isShared ? "vhost-user" : "stream", path: socket },
        way: "slirp",
        network: "pod",
        ports: nic.ports,
        nat: nic.nat ?? slirpAddresses(),
        ...(nic.place === undefined ? {} : { place: nic.place }),
      },
      steps: [{ do: "start-engine", nic: nic.name, socket, ports: nic.ports, argv }],
    };
  }

  private delegated(nic: VmNic, device: string, view: DeviceView | undefined): Part {
    const { vm } = this.request;
    const bridge = deviceName("br", vm, nic.name);
    const tap = deviceName("tp", vm, nic.name);
    const oldMac = view?.mac ?? `<MAC of ${device}>`;
    const newMac =
      view === undefined ? `<MAC with the vendor prefix of ${device}'s>` : siblingMac(view.mac, vm);
    const mtu = view?.mtu ?? MTU_DEFAULT;
    const addresses = view?.addresses ?? [{ address: `<IPv4 address of ${device}>`, prefixLength: 32 }];
    const mac = nic.mac ?? oldMac;
    const offer = { ...this.offer(device, view, mac, mtu), ...optionsOf(nic) };
    this.warnings.push(
      `the pod is left without an IPv4 address on ${device}: what needs one in the pod (service meshes, probes) does not work while the VM runs`,
    );
    const [given, ...others] = addresses.map(formatAddress);
    if (others.length > 0) {
      this.warnings.push(`only ${given} is given to the guest; ${others.join(", ")} come back with down`);
    }
    return {
      nic: { ...this.tapNic(nic, mac, mtu, tap), way: "delegated", network: "pod", device, bridge, offer },
      steps: [
        { do: "create-bridge", device: bridge, mtu, mac: localMac(vm, nic.name, `bridge ${oldMac}`) },
        { do: "disable-ipv6", device: bridge },
        { do: "add-server-address", device: bridge, address: `${offer.server}/32` },
        { do: "bring-up", device: bridge },
        { do: "enslave", device, bridge },
        { do: "learning-off", device },
        { do: "remove-addresses", device, addresses },
        { do: "set-mac", device, from: oldMac, to: newMac },
        ...this.tapSteps(tap, bridge, mtu),
        { do: "serve-dhcp", nic: nic.name, device: bridge, offer },
      ],
    };
  }

  private offer(device: string, view: DeviceView | undefined, mac: string, mtu: number): DhcpOffer {
    const { nameServers, search, domain = search[0] } = this.resolver;
    const { hostname } = this.request;
    const [own] = view?.addresses ?? [];
    const gateway = view === undefined ? `<gateway of ${device}>` : defaultGateway(view.routes);
    const mainRoutes = inMainTable(view?.routes ?? []);
    if (view !== undefined && mainRoutes.length === 0) {
      this.problems.push({
        place: device,
        found: "an address but no route",
        allowed: "at least one route to give to the guest",
      });
    }
    if (nameServers.length === 0) {
      const isSpec = this.request.model.dns?.alone === true;
      const allowed = `at least one IPv4 ${isSpec ? "address" : "nameserver line"}, to be given to the guest`;
      this.problems.push({
        place: isSpec ? "dnsConfig.nameservers" : "resolv.conf",
        found: "no IPv4 name server",
        allowed,
      });
    }
    const taken = new Set([own?.address, gateway, ...mainRoutes.map((route) => route.gateway)]);
    return {
      server: SERVER_ADDRESSES.find((address) => !taken.has(address)) ?? SERVER_ADDRESSES[0],
      mac,
      address: own?.address ?? `<IPv4 address of ${device}>`,
      prefixLength: own?.prefixLength ?? 32,
      ...(gateway === undefined ? {} : { router: gateway }),
      dnsServers: nameServers,
      ...(hostname === undefined ? {} : { hostname }),
      ...(domain === undefined ? {} : { domain }),
      searchDomains: search.slice(0, SEARCH_DOMAINS_MAX),
      mtu,
      leaseSeconds: LEASE_SECONDS,
      routes: own === undefined ? [] : offeredRoutes(own, mainRoutes),
    };
  }

  private ethernet(nic: VmNic, device: string, view: DeviceView | undefined): Part {
    const { vm } = this.request;
    const bridge = deviceName("br", vm, nic.name);
    const tap = deviceName("tp", vm, nic.name);
    const isPod = nic.backend.kind === "pod";
    const deviceMac = view?.mac ?? `<MAC of ${device}>`;
    const mtu = view?.mtu ?? MTU_DEFAULT;
    const guestMac = nic.mac ?? (isPod ? localMac(vm, nic.name, deviceMac) : deviceMac);
    const keeps = isPod && view !== undefined && view.addresses.length > 0 ? view.addresses : [];
    const bridgeMac = isPod ? deviceMac : localMac(vm, nic.name, `bridge ${deviceMac}`);
    return {
      nic: {
        ...this.tapNic(nic, guestMac, mtu, tap),
        way: "ethernet",
        network: networkName(nic),
        device,
        bridge,
        ...(keeps.length > 0 ? { keeps } : {}),
      },
      steps: [
        ...(nic.backend.kind === "resource"
          ? [{ do: "wait-for-device", device, seconds: DEVICE_WAIT_SECONDS } as const]
          : []),
        { do: "create-bridge", device: bridge, mtu, mac: bridgeMac },
        ...(keeps.length > 0 ? [] : [{ do: "disable-ipv6", device: bridge } as const]),
        { do: "bring-up", device: bridge },
        { do: "enslave", device, bridge },
        { do: "bring-up", device },
        ...(guestMac === deviceMac ? [{ do: "yield-mac", device, mac: deviceMac } as const] : []),
        ...this.tapSteps(tap, bridge, mtu),
        ...(view === undefined || keeps.length === 0 ? [] : moveSteps(view, device, bridge)),
      ],
    };
  }

  /** One more TAP on a bridge that was there before. */
  private onBridge(nic: VmNic, bridge: string, view: DeviceView): Part {
    const { vm } = this.request;
    const tap = deviceName("tp", vm, nic.name);
    const mac = nic.mac ?? localMac(vm, nic.name, view.mac);
    return {
      nic: {
        ...this.tapNic(nic, mac, view.mtu, tap),
        way: "ethernet",
        network: networkName(nic),
        device: bridge,
        bridge,
      },
      // A bridge takes the lowest MAC of its ports for its own: it is not to become this one's.
      steps: this.tapSteps(tap, bridge, view.mtu, `fe${mac.slice(2)}`),
    };
  }

  /** The machine's interface of a bridged NIC; `<...>` where nobody has said which. */
  private deviceOf(nic: VmNic): string {
    const { backend, name } = nic;
    if (backend.kind === "pod") return this.request.uplink;
    if (backend.kind === "resource") {
      return this.machine.resources.devices.get(name) ?? `<interface of ${backend.resourceName}>`;
    }
    const device = this.request.devices?.[name];
    if (device === undefined) {
      const allowed = `--network ${name}=DEVICE, a network interface or a bridge of this machine`;
      this.problems.push({ place: `network ${name}`, found: "no device for it", allowed });
    }
    return device ?? `<device of ${name}>`;
  }

  private tapNic(
    nic: VmNic,
    mac: string,
    mtu: number,
    tap: string,
  ): Pick<NicPlan, "name" | "model" | "mac" | "mtu" | "netdev" | "ports" | "place"> {
    return {
      name: nic.name,
      model: nic.model,
      mac,
      mtu,
      netdev: { kind: "tap", device: tap },
      ports: nic.ports,
      ...(nic.place === undefined ? {} : { place: nic.place }),
    };
  }

  private tapSteps(tap: string, bridge: string, mtu: number, mac?: string): Step[] {
    const { owner } = this.request;
    return [
      {
        do: "create-tap",
        device: tap,
        ...(owner === undefined ? {} : { owner }),
        ...(mac === undefined ? {} : { mac }),
      },
      { do: "set-mtu", device: tap, mtu },
      { do: "disable-ipv6", device: tap },
      { do: "enslave", device: tap, bridge },
      { do: "bring-up", device: tap },
    ];
  }
}

function networkName({ backend }: VmNic): string {
  if (backend.kind === "pod") return "pod";
  return backend.kind === "resource" ? backend.resourceName : backend.networkName;
}

function optionsOf({ dhcpOptions }: VmNic): Pick<DhcpOffer, "options"> {
  return dhcpOptions === undefined ? {} : { options: dhcpOptions };
}

/** The pod keeps its address, on the bridge. Routes that lead to gateways come after those they stand on. */
function moveSteps(view: DeviceView, device: string, bridge: string): Step[] {
  const routes = view.routes.filter((route) => !route.fromAddress);
  const ordered = [...routes].sort(
    (a, b) => Number(a.gateway !== undefined) - Number(b.gateway !== undefined),
  );
  return [
    { do: "remove-addresses", device, addresses: view.addresses },
    ...view.addresses.map((address): Step => ({ do: "move-address", device: bridge, address })),
    ...ordered.map((route): Step => ({ do: "move-route", device: bridge, route })),
  ];
}
