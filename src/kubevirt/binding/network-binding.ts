/**
 * The network binding: what a domain and its VM come to. The engine serves, with every port of the spec bound, before the
 * domain with its card is given back.
 */
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { CAP_NET_BIND_SERVICE } from "../../host/native/linux.ts";
import { hasCapability } from "../../host/process/helper.ts";
import { RESOLV_CONF } from "../../host/resolv-conf.ts";
import { hostLabel, isDualStack, readResolver } from "../machine/pod-network.ts";
import { LEASE_SECONDS } from "../plan/delegation.ts";
import { engineArguments } from "../plan/engine-arguments.ts";
import { guestResolver } from "../plan/resolver.ts";
import { hash, localMac } from "../plan/stable-name.ts";
import type { VmNic } from "../spec/vm-model.ts";
import { type BoundNic, boundNic } from "./bound-nic.ts";
import { memoryArguments, memoryNotes, takesGuestMemory } from "./container-memory.ts";
import { type Card, type CardSource, withCard } from "./domain-xml.ts";
import type { Wanted } from "./engine-keeper.ts";
import { CallRefusal } from "./grpc.ts";

/** Where KubeVirt puts the folders of hook sockets, in the sidecar its own and in the VM's container one for each sidecar. */
export const HOOKS_DIRECTORY = "/var/run/kubevirt-hooks";
/** Of a launcher that does not say which sidecar this is (before KubeVirt 1.6): the first. */
const CONTAINER_DEFAULT = "hook-sidecar-0";
/** Beside the hook socket, which is to be alone: a launcher dials whatever is no folder. */
export const WORK_DIRECTORY = "engine";
/** The same on every node, since a VM that moves takes its domain along. */
const CARD_SOCKET = "card.sock";

/** The largest that QEMU's virtio card takes from libvirt and a TAP has, too. */
const MTU = 65520;
/** Above Linux's ports for outgoing connections (ip_local_port_range). */
const LINK_PORTS = { first: 61000, count: 1000 };
/** DHCP's lease time. */
const LEASE_OPTION = 51;

export interface BindingPlace {
  /** The name that interfaces call the plugin by. */
  readonly binding: string;
  /** The hooks' folder as this process sees it. */
  readonly hooksDirectory: string;
  /** CONTAINER_NAME of the environment. */
  readonly container: string | undefined;
  /** Confine the engine. */
  readonly sandbox: boolean;
  /** Octets that this container may use; 0 where nothing bounds them. */
  readonly memory: number;
}

/** What is to be served, and the domain that it is served to. */
export interface Outcome extends Wanted {
  readonly domainXml: string;
  readonly notes: readonly string[];
}

/** Works out a VM's engine and its domain. Throws a CallRefusal. */
export function networkBinding(place: BindingPlace, domainXml: string, vmiJson: string): Outcome {
  const bound = boundNic(vmiJson, place.binding);
  const { nic, uid } = bound;
  refuseLowPorts(nic);
  const mac = nic.mac ?? localMac(uid, nic.name, "");
  const source = sourceOf(nic, place.container ?? CONTAINER_DEFAULT);
  const isVirtio = source.kind === "vhost-user";
  const view = readResolver(RESOLV_CONF);
  const model = { nics: [nic], ...(bound.subdomain === undefined ? {} : { subdomain: bound.subdomain }) };
  const label = hostLabel(hostname());
  const { argv, warnings } = engineArguments({
    nic,
    mac,
    link: isVirtio
      ? ["--vhost-user", `unix:${engineSocket(place.hooksDirectory)}`, "--mtu", String(MTU)]
      : ["--qemu-listen", `tcp:127.0.0.1:${source.port}`],
    hostname: label,
    resolver: guestResolver(model, view),
    sandbox: place.sandbox,
    isDualStack: isDualStack(),
  });
  return {
    // A cluster probes ports: one that nobody serves in the guest is not to look like one that somebody does.
    argv: [
      ...argv,
      ...["--publish-when-open", "--dhcp-option", `${LEASE_OPTION}=${LEASE_SECONDS}`],
      ...memoryArguments(place.memory),
    ],
    reconnects: isVirtio,
    domainXml: withCard(domainXml, cardOf(bound, mac, source, takesGuestMemory(place.memory))),
    notes: [...bound.notes, ...warnings, ...memoryNotes(place.memory)],
  };
}

/** The socket of vhost-user as the engine makes it. */
function engineSocket(hooksDirectory: string): string {
  return join(hooksDirectory, WORK_DIRECTORY, CARD_SOCKET);
}

/** QEMU has vhost-user for virtio cards alone; the others get a stream of frames. */
function sourceOf(nic: VmNic, container: string): CardSource {
  if (nic.model === "virtio")
    return { kind: "vhost-user", path: join(HOOKS_DIRECTORY, container, WORK_DIRECTORY, CARD_SOCKET) };
  const { first, count } = LINK_PORTS;
  const begin = hash(nic.name) % count;
  const isFree = (port: number): boolean =>
    !nic.ports.some(({ port: low, end = low, protocol }) => protocol === "tcp" && port >= low && port <= end);
  for (let n = 0; n < count; n++) {
    const port = first + ((begin + n) % count);
    if (isFree(port)) return { kind: "client", port };
  }
  throw new CallRefusal(
    "INVALID_ARGUMENT",
    `interface ${nic.name}: its ports leave none from ${first} to ${first + count - 1} for the link to QEMU, which a card of model ${nic.model} needs`,
  );
}

function cardOf(bound: BoundNic, mac: string, source: CardSource, takesMemory: boolean): Card {
  const { nic, pciAddress, isDown } = bound;
  const { bootOrder, acpiIndex, transitional } = nic.place ?? {};
  const virtio = transitional === true ? "virtio-transitional" : "virtio-non-transitional";
  return {
    name: nic.name,
    mac,
    model: nic.model === "virtio" ? virtio : nic.model,
    source,
    ...(source.kind === "vhost-user" ? { mtu: MTU } : {}),
    ...(bootOrder === undefined ? {} : { bootOrder }),
    ...(acpiIndex === undefined ? {} : { acpiIndex }),
    ...(pciAddress === undefined ? {} : { pciAddress }),
    isDown,
    takesMemory,
  };
}

/** First port that anybody may bind, as this network namespace has it. */
function unprivilegedPort(): number {
  try {
    return Number(readFileSync("/proc/sys/net/ipv4/ip_unprivileged_port_start", "utf8"));
  } catch {
    return 1024;
  }
}

/** Said before the kernel says less of it. */
function refuseLowPorts({ name, ports }: VmNic): void {
  const first = unprivilegedPort();
  const low = ports.filter(({ port }) => port < first);
  if (low.length === 0 || hasCapability(CAP_NET_BIND_SERVICE)) return;
  const list = low.map(({ protocol, port }) => `${protocol} ${port}`).join(", ");
  throw new CallRefusal(
    "FAILED_PRECONDITION",
    `interface ${name}: this pod may not listen on ports below ${first} (${list}): set net.ipv4.ip_unprivileged_port_start=0 in it, by the plugin's networkAttachmentDefinition or by the MutatingAdmissionPolicy of docs/kubevirt, or have the guest listen on ports from ${first} on`,
  );
}
