/**
 * KubeVirt's interfaces and networks as they are today, for documents of its API group: field checks, types and JSON
 * Schema in one, as in `spec-schema.ts`. What KubeVirt has and one machine cannot have is in `today-bindings.ts`.
 */
import * as z from "zod";
import { parseDomainName } from "../../config/domain-name.ts";
import { Unacceptable } from "../../config/problem.ts";
import { isIpv6, isIpv6Network, NAT_PREFIX_MAX, parseGuestNetwork, plainIpv4 } from "./nat-addresses.ts";
import {
  autoattachPodInterface,
  empty,
  frontend,
  mapping,
  NIC_MODEL_DEFAULT,
  NIC_MODELS_TODAY,
  name,
  resource,
} from "./spec-schema.ts";

const PORT_ALLOWED = "a whole number from 1 to 65535";
const PORT_RANGES_MAX = 10;
const RANGES_ALLOWED = `a list of at most ${PORT_RANGES_MAX} port ranges`;
const BOOT_ORDER_ALLOWED = "a whole number, 1 or more";
const ACPI_INDEX_MAX = 16383;
const ACPI_INDEX_ALLOWED = `a whole number from 1 to ${ACPI_INDEX_MAX}`;
const PCI_ALLOWED =
  "DDDD:BB:SS.F in hexadecimal, such as 0000:00:05.0, with a slot SS up to 1f and a function F from 0 to 7";
const CIDR_ALLOWED = `an IPv4 network such as 10.10.10.0/24, /${NAT_PREFIX_MAX} or wider, of unicast addresses`;
const CIDR6_ALLOWED = "an IPv6 network such as fd10:0:2::/120, /126 or wider";
const OPTION_OCTETS_MAX = 255;
const TEXT_ALLOWED = `text of 1 to ${OPTION_OCTETS_MAX} octets`;
const PRIVATE_OPTION_MIN = 224;
const PRIVATE_OPTION_MAX = 254;
const PRIVATE_ALLOWED = `an option number from ${PRIVATE_OPTION_MIN} to ${PRIVATE_OPTION_MAX}, for private use`;
const NTP_SERVERS_MAX = Math.floor(OPTION_OCTETS_MAX / 4);
const IPV4_ALLOWED = "an IPv4 address such as 10.0.2.7";
const NETWORK_NAME_ALLOWED = "the name of a NetworkAttachmentDefinition: NAME or NAMESPACE/NAME";
const HOSTNAME_ALLOWED = "a host name of 1 to 63 lower-case letters, digits and inner hyphens, without dots";
const DOMAIN_ALLOWED = "a domain name such as example.org";
const SUBDOMAIN_ALLOWED = "a domain name of lower-case letters, digits, hyphens and dots, such as web";
const DNS_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?";

const portNumber = z
  .int({ error: PORT_ALLOWED })
  .min(1, { error: PORT_ALLOWED })
  .max(65535, { error: PORT_ALLOWED });

const portRange = z
  .strictObject(
    {
      protocol: z
        .enum(["TCP", "UDP"], { error: "TCP or UDP, in upper case" })
        .meta({ description: "Connection protocol." }),
      start: portNumber.meta({ description: "First port." }),
      end: portNumber.meta({ description: "Last port, not below start." }),
    },
    { error: "a mapping with protocol, start and end" },
  )
  .meta({ id: "PortRange", description: "Ports that are forwarded to the virtual machine." });

/** Text that fits a DHCP option and an argument of a program. */
const optionText = z
  .string({ error: TEXT_ALLOWED })
  .min(1, { error: TEXT_ALLOWED })
  .refine((text) => !text.includes("\0") && new TextEncoder().encode(text).length <= OPTION_OCTETS_MAX, {
    error: TEXT_ALLOWED,
  });

const privateOption = z
  .strictObject(
    {
      option: z
        .int({ error: PRIVATE_ALLOWED })
        .min(PRIVATE_OPTION_MIN, { error: PRIVATE_ALLOWED })
        .max(PRIVATE_OPTION_MAX, { error: PRIVATE_ALLOWED })
        .meta({ description: "Option number." }),
      value: optionText.meta({ description: "Value, as text." }),
    },
    { error: "a mapping with option and value" },
  )
  .meta({ id: "PrivateOption", description: "A DHCP option for private use." });

const ipv4 = z
  .string({ error: IPV4_ALLOWED })
  .refine((text) => plainIpv4(text) !== undefined, { error: IPV4_ALLOWED });

const dhcpOptions = z
  .strictObject(
    {
      bootFileName: optionText.optional().meta({ description: "DHCP option 67." }),
      tftpServerName: optionText.optional().meta({ description: "DHCP option 66." }),
      ntpServers: z
        .array(ipv4, { error: "a list of IPv4 addresses" })
        .max(NTP_SERVERS_MAX, { error: `at most ${NTP_SERVERS_MAX} addresses` })
        .optional()
        .meta({ description: "DHCP option 42." }),
      privateOptions: z
        .array(privateOption, { error: "a list of options" })
        .optional()
        .meta({ description: "DHCP options 224 to 254, each once." }),
    },
    { error: "a mapping with bootFileName, tftpServerName, ntpServers or privateOptions" },
  )
  .meta({ id: "DhcpOptions", description: "What the guest is told by DHCP besides its address." });

const BINDING_KEYS = ["bridge", "slirp", "masquerade", "passtBinding", "binding"];

const nic = z
  .strictObject(
    {
      ...frontend,
      model: z
        .enum(NIC_MODELS_TODAY, { error: `one of ${NIC_MODELS_TODAY.join(", ")}` })
        .default(NIC_MODEL_DEFAULT)
        .meta({ description: "NIC type. e1000 works for guests without virtio drivers; igb needs QEMU 8." }),
      bridge: z.strictObject({}, empty).optional().meta({ description: "Connect through a Linux bridge." }),
      slirp: z
        .strictObject({}, empty)
        .optional()
        .meta({ description: "User-mode NAT. Gone from KubeVirt since 1.3; kept here." }),
      masquerade: z
        .strictObject({}, empty)
        .optional()
        .meta({ description: "NAT: here user-mode NAT with masquerade's addresses." }),
      passtBinding: z
        .strictObject({}, empty)
        .optional()
        .meta({ description: "passt: here user-mode NAT with slirp's addresses." }),
      binding: z
        .strictObject(
          { name: z.string({ error: "the name of a binding plugin" }).min(1, { error: "a name" }) },
          { error: "a mapping with name" },
        )
        .optional()
        .meta({
          description: "A network binding plugin: slirp, sluice, passt, or one that --binding names.",
        }),
      portRanges: z
        .array(portRange, { error: RANGES_ALLOWED })
        .max(PORT_RANGES_MAX, { error: RANGES_ALLOWED })
        .optional()
        .meta({ description: "Ranges of forwarded ports. Not together with ports." }),
      bootOrder: z
        .int({ error: BOOT_ORDER_ALLOWED })
        .min(1, { error: BOOT_ORDER_ALLOWED })
        .optional()
        .meta({ description: "Place in the order of boot devices, each once." }),
      acpiIndex: z
        .int({ error: ACPI_INDEX_ALLOWED })
        .min(1, { error: ACPI_INDEX_ALLOWED })
        .max(ACPI_INDEX_MAX, { error: ACPI_INDEX_ALLOWED })
        .optional()
        .meta({ description: "Number a Linux guest names the interface by (eno5), each once." }),
      pciAddress: z
        .string({ error: PCI_ALLOWED })
        .regex(/^[0-9A-Fa-f]{4}:[0-9A-Fa-f]{2}:[01][0-9A-Fa-f]\.[0-7]$/, { error: PCI_ALLOWED })
        .optional()
        .meta({ description: "Where the guest sees the card." }),
      state: z
        .enum(["up", "down", "absent"], { error: "up, down or absent" })
        .optional()
        .meta({ description: "absent: no card, on a secondary network with bridge; down is refused." }),
      tag: z.string({ error: "text" }).optional().meta({ description: "For a config drive; not used here." }),
      dhcpOptions: dhcpOptions.optional(),
    },
    { error: "a mapping with name and a binding" },
  )
  .meta({
    id: "InterfaceToday",
    description: "A virtual network interface of the virtual machine (frontend).",
    oneOf: BINDING_KEYS.map((key) => ({ required: [key] })),
  });

const NETWORK_KEYS = ["pod", "multus", "resource"];

const network = z
  .strictObject(
    {
      name: name.meta({
        description: "Unique name; the interface of the same name connects to this network.",
      }),
      pod: z
        .strictObject(
          {
            vmNetworkCIDR: z
              .string({ error: CIDR_ALLOWED })
              .refine((text) => parseGuestNetwork(text) !== undefined, { error: CIDR_ALLOWED })
              .optional()
              .meta({
                description: "The guest's subnet behind NAT (default 10.0.2.0/24).",
                pattern: "^\\d+(\\.\\d+){3}/\\d{1,2}$",
              }),
            vmIPv6NetworkCIDR: z
              .string({ error: CIDR6_ALLOWED })
              .refine(isIpv6Network, { error: CIDR6_ALLOWED })
              .optional()
              .meta({
                description: "The guest's IPv6 subnet behind NAT.",
                pattern: "^[0-9A-Fa-f:.]+/\\d{1,3}$",
              }),
          },
          { error: "a mapping, {} or with vmNetworkCIDR and vmIPv6NetworkCIDR" },
        )
        .optional()
        .meta({ description: "The pod's default network interface, eth0." }),
      multus: z
        .strictObject(
          {
            networkName: z
              .string({ error: NETWORK_NAME_ALLOWED })
              .regex(/^[^/\s]+(\/[^/\s]+)?$/, { error: NETWORK_NAME_ALLOWED })
              .meta({ description: NETWORK_NAME_ALLOWED }),
            default: z
              .boolean({ error: "true or false" })
              .optional()
              .meta({ description: "The pod's first network, in place of pod." }),
          },
          { error: "a mapping with networkName" },
        )
        .optional()
        .meta({ description: "A secondary network; --network says which device it is here." }),
      resource,
    },
    { error: "a mapping with name and one of pod, multus and resource" },
  )
  .meta({
    id: "NetworkToday",
    description: "A backend.",
    oneOf: NETWORK_KEYS.map((key) => ({ required: [key] })),
  });

const flag = (description: string) => z.boolean({ error: "true or false" }).optional().meta({ description });

const devices = z.looseObject(
  {
    interfaces: z.array(nic, { error: "a list of interfaces" }).optional(),
    autoattachPodInterface,
    networkInterfaceMultiqueue: flag("Several queues per card; QEMU's own command decides here."),
    useVirtioTransitional: flag("virtio cards that old drivers understand too."),
  },
  mapping,
);

const dnsConfig = z
  .looseObject(
    {
      nameservers: z
        .array(
          z
            .string({ error: "an IP address" })
            .refine(isNameServer, { error: "an IP address such as 10.96.0.10" }),
          { error: "a list of IP addresses" },
        )
        .optional()
        .meta({ description: "Name servers." }),
      searches: z
        .array(z.string({ error: DOMAIN_ALLOWED }).refine(isDomainName, { error: DOMAIN_ALLOWED }), {
          error: "a list of domain names",
        })
        .optional()
        .meta({ description: "Search list." }),
    },
    { error: "a mapping with nameservers and searches" },
  )
  .meta({ description: "With dnsPolicy None these replace the machine's, else they are added to them." });

/** The part of a document of today that says how the VM is connected. */
export const specToday = z
  .looseObject(
    {
      domain: z.looseObject({ devices: devices.optional() }, mapping).optional(),
      networks: z
        .array(network, { error: "a list of networks" })
        .optional()
        .meta({ description: "Backends: what the interfaces are connected to." }),
      hostname: z
        .string({ error: HOSTNAME_ALLOWED })
        .regex(new RegExp(`^${DNS_LABEL}$`), { error: HOSTNAME_ALLOWED })
        .optional()
        .meta({ description: "The guest's host name (default metadata.name)." }),
      subdomain: z
        .string({ error: SUBDOMAIN_ALLOWED })
        .regex(new RegExp(`^(?=.{1,253}$)${DNS_LABEL}(\\.${DNS_LABEL})*$`), { error: SUBDOMAIN_ALLOWED })
        .optional()
        .meta({ description: "The guest's domain below the first domain of the search list." }),
      dnsPolicy: z
        .enum(["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"], {
          error: "one of ClusterFirst, ClusterFirstWithHostNet, Default, None",
        })
        .optional()
        .meta({ description: "None: only what dnsConfig says." }),
      dnsConfig: dnsConfig.optional(),
    },
    mapping,
  )
  .meta({ id: "VmSpec", description: "How the virtual machine is connected." });

function isNameServer(text: string): boolean {
  return plainIpv4(text) !== undefined || isIpv6(text);
}

function isDomainName(text: string): boolean {
  try {
    parseDomainName(text);
    return true;
  } catch (error) {
    if (error instanceof Unacceptable) return false;
    throw error;
  }
}

export type SpecToday = z.output<typeof specToday>;
export type InterfaceToday = z.output<typeof nic>;
export type NetworkToday = z.output<typeof network>;
export type DhcpOptionsToday = z.output<typeof dhcpOptions>;
