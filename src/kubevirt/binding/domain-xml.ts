/**
 * libvirt's description of a VM, and in it the one card that is ours. Everything else stays as it is: other devices,
 * comments, elements of other namespaces. Doing it again changes nothing.
 */
import { DOMParser, type Document, type Element, XMLSerializer } from "@xmldom/xmldom";
import { CallRefusal } from "./grpc.ts";

/** What the card is connected to. */
export type CardSource =
  /** A socket of vhost-user that QEMU connects to, again when it is gone. */
  | { readonly kind: "vhost-user"; readonly path: string }
  /** A port of 127.0.0.1 that takes QEMU's stream of frames. */
  | { readonly kind: "client"; readonly port: number };

export interface Card {
  /** The interface's name in the VM's spec; KubeVirt knows its device by the alias `ua-NAME`. */
  readonly name: string;
  readonly mac: string;
  /** As libvirt writes it: `virtio-non-transitional`, `e1000`. */
  readonly model: string;
  readonly source: CardSource;
  /** Octets; told to virtio guests. */
  readonly mtu?: number;
  readonly bootOrder?: number;
  readonly acpiIndex?: number;
  /** `0000:05:00.0`. */
  readonly pciAddress?: string;
  readonly isDown: boolean;
  /** All memory of the guest is taken at its start, for QEMU's own account; else whoever writes to a page first pays for it. */
  readonly takesMemory: boolean;
}

/** As many as a VM's driver may have ready: a super-frame takes many. */
const RECEIVE_QUEUE = 1024;
/** Seconds between QEMU's attempts to find a new engine. */
const RECONNECT_SECONDS = 1;

/** The domain with the card, in place of an older one of that name. Throws a CallRefusal. */
export function withCard(domainXml: string, card: Card): string {
  const document = parse(domainXml);
  const domain = document.documentElement;
  const devices = domain === null ? undefined : childOf(domain, "devices");
  if (domain === null || domain.localName !== "domain" || devices === undefined)
    throw new CallRefusal("INVALID_ARGUMENT", "the domain that KubeVirt gave has no devices");
  const cards = childrenOf(devices, "interface");
  const older = cards.filter((each) => aliasOf(each) === `ua-${card.name}`);
  const [first] = older;
  const made = cardElement(document, card, first && childOf(first, "address"));
  if (first === undefined) devices.insertBefore(made, cards.at(-1)?.nextSibling ?? null);
  else devices.replaceChild(made, first);
  for (const each of older.slice(1)) devices.removeChild(each);
  if (card.source.kind === "vhost-user") shareMemory(document, domain, devices, card.takesMemory);
  return new XMLSerializer().serializeToString(document);
}

function parse(text: string): Document {
  let said = "";
  const parser = new DOMParser({
    onError: (level, message) => {
      if (level === "warning" || said !== "") return;
      said = message.split("\n", 1)[0] ?? "";
    },
  });
  try {
    const document = parser.parseFromString(text, "text/xml");
    if (said === "") return document;
  } catch (error) {
    if (said === "") said = (error as Error).message.split("\n", 1)[0] ?? "";
  }
  throw new CallRefusal("INVALID_ARGUMENT", `the domain that KubeVirt gave is no XML: ${said}`);
}

function cardElement(document: Document, card: Card, olderAddress: Element | undefined): Element {
  const { source, mtu, bootOrder, acpiIndex, pciAddress, isDown } = card;
  const make = (
    name: string,
    attributes: Readonly<Record<string, string | number>>,
    ...inside: Element[]
  ) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
    for (const each of inside) element.appendChild(each);
    return element;
  };
  const isShared = source.kind === "vhost-user";
  const connection = isShared
    ? make(
        "source",
        { type: "unix", path: source.path, mode: "client" },
        make("reconnect", { enabled: "yes", timeout: RECONNECT_SECONDS }),
      )
    : make("source", { address: "127.0.0.1", port: source.port });
  // Where the card sits is libvirt's and KubeVirt's to say when the spec does not.
  const address = pciAddress === undefined ? olderAddress : make("address", addressParts(pciAddress));
  return make(
    "interface",
    { type: isShared ? "vhostuser" : "client" },
    make("mac", { address: card.mac }),
    connection,
    make("model", { type: card.model }),
    ...(isShared ? [make("driver", { rx_queue_size: RECEIVE_QUEUE })] : []),
    ...(mtu === undefined ? [] : [make("mtu", { size: mtu })]),
    ...(isDown ? [make("link", { state: "down" })] : []),
    bootOrder === undefined ? make("rom", { enabled: "no" }) : make("boot", { order: bootOrder }),
    ...(acpiIndex === undefined ? [] : [make("acpi", { index: acpiIndex })]),
    make("alias", { name: `ua-${card.name}` }),
    ...(address === undefined ? [] : [address]),
  );
}

/** `0000:05:00.0` in libvirt's parts. */
function addressParts(pciAddress: string): Record<string, string> {
  const [domain = "", bus = "", slot = "", pciFunction = ""] = pciAddress.toLowerCase().split(/[:.]/);
  return {
    type: "pci",
    domain: `0x${domain}`,
    bus: `0x${bus}`,
    slot: `0x${slot}`,
    function: `0x${pciFunction}`,
  };
}

/** The VM's memory is to be mapped by the engine: a file (memfd unless it is another already), shared. */
function shareMemory(document: Document, domain: Element, devices: Element, isTaken: boolean): void {
  let backing = childOf(domain, "memoryBacking");
  if (backing === undefined) {
    backing = document.createElement("memoryBacking");
    domain.insertBefore(backing, devices);
  }
  const source = ensureChild(document, backing, "source");
  if (source.getAttribute("type") !== "file") source.setAttribute("type", "memfd");
  ensureChild(document, backing, "access").setAttribute("mode", "shared");
  if (isTaken) ensureChild(document, backing, "allocation").setAttribute("mode", "immediate");
  const cpu = childOf(domain, "cpu");
  const numa = cpu && childOf(cpu, "numa");
  for (const cell of numa === undefined ? [] : childrenOf(numa, "cell"))
    if (cell.hasAttribute("memAccess")) cell.setAttribute("memAccess", "shared");
}

function ensureChild(document: Document, parent: Element, name: string): Element {
  const found = childOf(parent, name);
  if (found !== undefined) return found;
  const made = document.createElement(name);
  parent.appendChild(made);
  return made;
}

function aliasOf(device: Element): string | null {
  return childOf(device, "alias")?.getAttribute("name") ?? null;
}

function childOf(parent: Element, name: string): Element | undefined {
  return childrenOf(parent, name)[0];
}

/** Child elements of a name, of no namespace. */
function childrenOf(parent: Element, name: string): Element[] {
  const ELEMENT_NODE = 1;
  return [...parent.childNodes].filter(
    (node): node is Element => node.nodeType === ELEMENT_NODE && node.nodeName === name,
  );
}
