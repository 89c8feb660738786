/**
 * The VM network spec of KubeVirt's early pages, defined once: the validator's field checks, the TypeScript types and
 * the JSON Schema that editors complete against all come from here. What a check allows is the `error` text beside it.
 * KubeVirt's fields of today are in `spec-today.ts`.
 *
 * Two forms exist. The newer has interfaces under `spec.domain.devices`, the older under `spec.devices` with
 * `delegateIp`. Inside `networks`, `interfaces` and their children unknown keys are errors; every other part of a VM
 * (disks, cpu, metadata) passes untouched. Rules between fields are in `spec-rules.ts`.
 */
import * as z from "zod";

/** NIC models a spec of 2018 may ask for, as it writes them. */
export const NIC_MODELS = ["e1000", "e1000e", "ne2k_pci", "pcnet", "rtl8139", "virtio"] as const;
/** What came later. */
export const NIC_MODELS_TODAY = [...NIC_MODELS, "igb"] as const;
export type NicModel = (typeof NIC_MODELS_TODAY)[number];
export const NIC_MODEL_DEFAULT: NicModel = "virtio";

/** Names reach a QEMU command line, where `,` and `=` would start another option. */
const NAME_ALLOWED = "a name of letters, digits, - and _";
const PORT_ALLOWED = "a whole number from 1 to 65535";
const MAC_ALLOWED =
  "a unicast MAC address, not all zero, such as de:ad:00:00:be:af or DE-AD-00-00-BE-AF (quoted where YAML needs it)";
const PORT_NAME_ALLOWED =
  "an IANA service name: 1 to 15 letters, digits and single inner hyphens, with at least one letter";
const RESOURCE_ALLOWED = "<device-plugin>/<network> with exactly one slash and both parts given";
/** What an object that takes no fields may be. */
export const empty = { error: "{} (no further fields)" };

const NAME_PATTERN = /^\s*[A-Za-z0-9_-]+\s*$/;

export const name = z.string({ error: NAME_ALLOWED }).regex(NAME_PATTERN, { error: NAME_ALLOWED }).trim();

/** Two hexadecimal digits whose number is even (unicast), and not six zero octets. */
const MAC_PATTERN =
  /^(?!00(?:[:-]00){5}$)[0-9A-Fa-f][02468ACEace](?:(?::[0-9A-Fa-f]{2}){5}|(?:-[0-9A-Fa-f]{2}){5})$/;

/** RFC 6335 section 5.1. */
const PORT_NAME_PATTERN = /^(?=.*[A-Za-z])(?!.*--)[A-Za-z0-9](?:[A-Za-z0-9-]{0,13}[A-Za-z0-9])?$/;

const port = z
  .strictObject(
    {
      name: z
        .string({ error: PORT_NAME_ALLOWED })
        .regex(PORT_NAME_PATTERN, { error: PORT_NAME_ALLOWED })
        .optional()
        .meta({ description: "Service name, unique within the interface." }),
      port: z
        .int({ error: PORT_ALLOWED })
        .min(1, { error: PORT_ALLOWED })
        .max(65535, { error: PORT_ALLOWED })
        .meta({
          description: "Port the virtual machine listens on; with slirp the pod forwards this port to it.",
        }),
      protocol: z
        .enum(["TCP", "UDP"], { error: "TCP or UDP, in upper case" })
        .default("TCP")
        .meta({ description: "Connection protocol." }),
    },
    { error: "a mapping with port, and maybe name and protocol" },
  )
  .meta({ id: "Port", description: "A port the virtual machine listens on." });

/** Fields of an interface that both vocabularies have. */
export const frontend = {
  name: name.meta({ description: "Name of the interface and of the network it connects to." }),
  model: z
    .enum(NIC_MODELS, { error: `one of ${NIC_MODELS.join(", ")}` })
    .default(NIC_MODEL_DEFAULT)
    .meta({ description: "NIC type. e1000 works for guests without virtio drivers." }),
  macAddress: z
    .string({ error: MAC_ALLOWED })
    .regex(MAC_PATTERN, { error: MAC_ALLOWED })
    .optional()
    .meta({ description: "MAC address as the guest sees it." }),
  ports: z.array(port, { error: "a list of ports" }).optional().meta({
    description: "With slirp only these ports are forwarded to the guest; with bridge they change nothing.",
  }),
};

const interfaceDescription = "A virtual network interface of the virtual machine (frontend).";

const newInterface = z
  .strictObject(
    {
      ...frontend,
      bridge: z.strictObject({}, empty).optional().meta({
        description:
          "Connect through a Linux bridge; on a pod network the pod's IPv4 address is given to the guest.",
      }),
      slirp: z
        .strictObject({}, empty)
        .optional()
        .meta({ description: "Connect through user-mode NAT: TCP and UDP only, declared ports forwarded." }),
    },
    { error: "a mapping with name and one of bridge and slirp" },
  )
  .meta({
    id: "Interface",
    description: interfaceDescription,
    oneOf: [{ required: ["bridge"] }, { required: ["slirp"] }],
  });

const oldInterface = z
  .strictObject(
    {
      ...frontend,
      bridge: z
        .strictObject(
          {
            delegateIp: z.boolean({ error: "true or false" }).optional().meta({
              description: "Give the pod's IPv4 address to the guest by DHCP; otherwise plain Ethernet.",
            }),
          },
          { error: "a mapping, {} or with delegateIp" },
        )
        .optional()
        .meta({ description: "Connect through a Linux bridge." }),
    },
    { error: "a mapping with name and bridge" },
  )
  .meta({ id: "OldInterface", description: interfaceDescription, required: ["name", "bridge"] });

export const resource = z
  .strictObject(
    {
      resourceName: z
        .string({ error: RESOURCE_ALLOWED })
        .regex(/^[^/\s]+\/[^/\s]+$/, { error: RESOURCE_ALLOWED })
        .meta({ description: "<device-plugin>/<network> as the device plugin announces it." }),
    },
    { error: "a mapping with resourceName" },
  )
  .optional()
  .meta({ description: "A network exposed by a network device plugin." });

const network = z
  .strictObject(
    {
      name: name.meta({
        description: "Unique name; the interface of the same name connects to this network.",
      }),
      pod: z
        .strictObject({}, empty)
        .optional()
        .meta({ description: "The pod's default network interface, eth0." }),
      resource,
    },
    { error: "a mapping with name and one of pod and resource" },
  )
  .meta({
    id: "Network",
    description: "A backend.",
    oneOf: [{ required: ["pod"] }, { required: ["resource"] }],
  });

export const autoattachPodInterface = z
  .boolean({ error: "true or false" })
  .optional()
  .meta({ description: "false: no network interface at all when none is listed." });

export const mapping = { error: "a mapping" };

const newDevices = z.looseObject(
  {
    interfaces: z.array(newInterface, { error: "a list of interfaces" }).optional(),
    autoattachPodInterface,
  },
  mapping,
);

const oldDevices = z
  .looseObject(
    {
      interfaces: z.array(oldInterface, { error: "a list of interfaces" }).optional(),
      autoattachPodInterface,
    },
    mapping,
  )
  .meta({
    description: "The older form. Not together with interfaces under domain.devices.",
    deprecated: true,
  });

/** The part of a document of 2018 that says how the VM is connected. */
export const spec2018 = z
  .looseObject(
    {
      domain: z.looseObject({ devices: newDevices.optional() }, mapping).optional(),
      devices: oldDevices.optional(),
      networks: z
        .array(network, { error: "a list of networks" })
        .optional()
        .meta({ description: "Backends: what the interfaces are connected to." }),
    },
    mapping,
  )
  .meta({ id: "VmSpec2018", description: "How the virtual machine is connected." });

export type PortSpec = z.output<typeof port>;
export type Spec2018 = z.output<typeof spec2018>;

/** Whether a value is a legal name; blanks around it do not count. */
export function isName(value: unknown): value is string {
  return typeof value === "string" && NAME_PATTERN.test(value);
}
