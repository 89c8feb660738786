/** What a pod says about its network: name servers, its own name, and whether it has IPv6. */
import { existsSync, readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { parseDomainName } from "../../config/domain-name.ts";
import { Unacceptable } from "../../config/problem.ts";
import type { ResolverAddress } from "../../engine/config.ts";
import { formatIpv4 } from "../../engine/wire/address-text.ts";
import { parseResolvConf, RESOLV_CONF } from "../../host/resolv-conf.ts";
import type { ResolverView } from "../plan/resolver.ts";

/** The first label of a name, if it can be a host name (RFC 1123). */
export function hostLabel(name: string | undefined): string | undefined {
  const label = name?.split(".", 1)[0]?.toLowerCase();
  return label !== undefined && /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(label) ? label : undefined;
}

/** Whether this pod has an IPv6 address that is good beyond one of its interfaces. */
export function isDualStack(): boolean {
  return Object.values(networkInterfaces()).some((addresses) =>
    addresses?.some(({ family, internal, scopeid }) => family === "IPv6" && !internal && scopeid === 0),
  );
}

/** Name servers and search list of a resolv.conf; what DHCP cannot carry is left out. */
export function readResolver(path: string): ResolverView {
  const text = existsSync(path) ? readFileSync(path, "utf8") : "";
  const { resolvers, search } = parseResolvConf(text, () => 0);
  return {
    ...(path === RESOLV_CONF
      ? { engineResolvers: [], resolvers: resolvers.map(formatResolver) }
      : { engineResolvers: resolvers.map(formatResolver) }),
    nameServers: resolvers.flatMap(({ words }) =>
      words[0] === 0 && words[1] === 0 && words[2] === 0xffff ? [formatIpv4(words[3])] : [],
    ),
    search: search.flatMap((domain) => {
      try {
        return [parseDomainName(domain)];
      } catch (error) {
        if (error instanceof Unacceptable) return [];
        throw error;
      }
    }),
  };
}

/** An address as `--resolver` takes it. */
function formatResolver({ words, scope }: ResolverAddress): string {
  if (words[0] === 0 && words[1] === 0 && words[2] === 0xffff) return formatIpv4(words[3]);
  const groups = words.flatMap((word) => [word >>> 16, word & 0xffff]);
  const address = groups.map((group) => group.toString(16)).join(":");
  return scope === 0 ? address : `${address}%${scope}`;
}
