/** Name servers, search list and domain of a guest: the machine's, as far as the spec does not say otherwise. */
import { isIpv4 } from "../../config/address.ts";
import type { VmModel } from "../spec/vm-model.ts";

/** As many as resolvers take. */
export const SEARCH_DOMAINS_MAX = 32;

/** What the pod's resolv.conf says. */
export interface ResolverView {
  /** IPv4 ones: what DHCPv4 can carry. */
  readonly nameServers: readonly string[];
  /** All of them, when they must be told to an engine because its own resolv.conf is another file. */
  readonly engineResolvers: readonly string[];
  /** All of them, where an engine reads them by itself and need not be told. */
  readonly resolvers?: readonly string[];
  readonly search: readonly string[];
}

/** What one guest is told. */
export interface GuestResolver extends ResolverView {
  /** The guest's own domain, where the spec has a subdomain. */
  readonly domain?: string;
}

/** What a VM's guest is told, from its spec and the machine's resolv.conf. */
export function guestResolver({ dns, subdomain }: VmModel, machine: ResolverView): GuestResolver {
  const view = dns === undefined ? machine : dns.alone ? only(dns) : merged(dns, machine);
  if (subdomain === undefined) return view;
  // A cluster's own search list begins with <namespace>.svc.<cluster domain>, and the VM's domain lies below it.
  const above = view.search.find((domain) => /^[^.]+\.svc(\.|$)/.test(domain)) ?? view.search[0];
  if (above === undefined) return { ...view, domain: subdomain };
  const domain = above.startsWith(`${subdomain}.`) ? above : `${subdomain}.${above}`;
  return { ...view, domain, search: unique([domain, ...view.search]) };
}

type Said = NonNullable<VmModel["dns"]>;

function only({ nameServers, search }: Said): ResolverView {
  return {
    nameServers: nameServers.filter(isIpv4),
    engineResolvers: nameServers,
    resolvers: nameServers,
    search,
  };
}

/** As Kubernetes merges dnsConfig with every policy but None: what the policy gives comes first. */
function merged({ nameServers, search }: Said, machine: ResolverView): ResolverView {
  const resolvers = unique([...(machine.resolvers ?? machine.engineResolvers), ...nameServers]);
  return {
    nameServers: unique([...machine.nameServers, ...nameServers.filter(isIpv4)]),
    engineResolvers: nameServers.length === 0 ? machine.engineResolvers : resolvers,
    resolvers,
    search: unique([...machine.search, ...search]),
  };
}

function unique(list: readonly string[]): string[] {
  return [...new Set(list)];
}
