/** Network interfaces as they are now, read through `ip -json`. Needs no privileges. */
import * as z from "zod";
import type { InterfaceRoute } from "../plan/delegation.ts";
import type { DeviceView } from "../plan/plan.ts";
import { type Kernel, KernelError } from "./iproute.ts";

const ADDRESS = z.looseObject({
  family: z.string(),
  local: z.string(),
  prefixlen: z.number(),
  scope: z.string().optional(),
  broadcast: z.string().optional(),
});

const LINK = z.looseObject({
  ifname: z.string(),
  ifindex: z.number(),
  address: z.string(),
  mtu: z.number(),
  flags: z.array(z.string()),
  master: z.string().optional(),
  linkinfo: z.looseObject({ info_kind: z.string().optional() }).optional(),
  addr_info: z.array(ADDRESS),
});

const ROUTE = z.looseObject({
  type: z.string().optional(),
  dst: z.string(),
  gateway: z.string().optional(),
  table: z.string().optional(),
  protocol: z.string().optional(),
  scope: z.string().optional(),
  prefsrc: z.string().optional(),
  metric: z.number().optional(),
  flags: z.array(z.string()).optional(),
});

const NEIGHBOUR = z.looseObject({
  dst: z.string(),
  lladdr: z.string().optional(),
  state: z.array(z.string()),
});

/** A neighbour entry that can be put back. */
export interface NeighbourEntry {
  readonly address: string;
  readonly mac: string;
  readonly state: "permanent" | "reachable" | "stale";
}

/** More than a plan needs: what `up` remembers. */
export interface DeviceState extends DeviceView {
  readonly device: string;
  readonly index: number;
  readonly up: boolean;
}

/** Runs `ip -json` and checks the shape of the answer. */
async function query<T>(kernel: Kernel, shape: z.ZodType<T>, args: readonly string[]): Promise<T> {
  const text = (await kernel.run("ip", ["-json", ...args])).toString("utf8").trim();
  const parsed = shape.safeParse(JSON.parse(text === "" ? "[]" : text));
  if (parsed.success) return parsed.data;
  throw new KernelError(`ip ${args.join(" ")}: an answer of a form this program does not know`);
}

/** Whether a device exists in this network namespace. */
export async function deviceExists(kernel: Kernel, device: string): Promise<boolean> {
  const links = await query(kernel, z.array(z.looseObject({ ifname: z.string().optional() })), [
    "link",
    "show",
  ]);
  return links.some((link) => link.ifname === device);
}

/** Reads a device, or undefined when there is none of that name. */
export async function readDevice(kernel: Kernel, device: string): Promise<DeviceState | undefined> {
  if (!(await deviceExists(kernel, device))) return undefined;
  // `ip -4 -json` answers with empty objects for devices that have no such address; the plain form does not.
  const [link] = await query(kernel, z.array(LINK), ["-details", "address", "show", "dev", device]);
  if (link === undefined) return undefined;
  const routes = await query(kernel, z.array(ROUTE), ["-4", "route", "show", "table", "all", "dev", device]);
  const v4 = link.addr_info.filter((address) => address.family === "inet");
  return {
    device,
    index: link.ifindex,
    up: link.flags.includes("UP"),
    mac: link.address,
    mtu: link.mtu,
    ...(link.master === undefined ? {} : { master: link.master }),
    ...(link.linkinfo?.info_kind === "bridge" ? { isBridge: true } : {}),
    addresses: v4.map(({ local, prefixlen, broadcast }) => ({
      address: local,
      prefixLength: prefixlen,
      ...(broadcast === undefined ? {} : { broadcast }),
    })),
    routes: routes.flatMap(unicastRoute),
    ipv6Addresses: link.addr_info
      .filter(({ family, scope }) => family === "inet6" && scope === "global")
      .map(({ local, prefixlen }) => `${local}/${prefixlen}`),
  };
}

function unicastRoute(route: z.output<typeof ROUTE>): InterfaceRoute[] {
  if ((route.type ?? "unicast") !== "unicast" || route.table === "local") return [];
  const destination =
    route.dst === "default" ? "0.0.0.0/0" : route.dst.includes("/") ? route.dst : `${route.dst}/32`;
  return [
    {
      destination,
      metric: route.metric ?? 0,
      fromAddress: route.protocol === "kernel",
      ...(route.gateway === undefined ? {} : { gateway: route.gateway }),
      ...(route.table === undefined || route.table === "main" ? {} : { table: route.table }),
      ...(route.scope === undefined ? {} : { scope: route.scope }),
      ...(route.prefsrc === undefined ? {} : { source: route.prefsrc }),
      ...(route.protocol === undefined ? {} : { protocol: route.protocol }),
      ...(route.flags?.includes("onlink") ? { onLink: true } : {}),
    },
  ];
}

/** The neighbour entries of a device that hold a MAC. */
export async function readNeighbours(kernel: Kernel, device: string): Promise<NeighbourEntry[]> {
  const entries = await query(kernel, z.array(NEIGHBOUR), ["neighbour", "show", "dev", device]);
  return entries.flatMap(({ dst, lladdr, state }) => {
    if (lladdr === undefined || state.includes("FAILED") || state.includes("INCOMPLETE")) return [];
    const kept = state.includes("PERMANENT")
      ? "permanent"
      : state.includes("REACHABLE")
        ? "reachable"
        : "stale";
    return [{ address: dst, mac: lladdr, state: kept }];
  });
}
