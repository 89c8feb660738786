/** Ends of flows as text. */

/** `192.0.2.1:443`, `[2001:db8::1]:443`, `www.example.com:443`. */
export function formatEnd({ address, port }: { readonly address: string; readonly port: number }): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

interface TargetEnd {
  /** A name, or an address. */
  readonly host: string;
  readonly port: number;
  readonly protocol: "tcp" | "udp";
}

/** With its protocol: `packages.example.com:443/tcp`. */
export function formatTargetEnd({ host, port, protocol }: TargetEnd): string {
  return `${formatEnd({ address: host, port })}/${protocol}`;
}

/** As a policy's rule says it, in which tcp goes without saying: `203.0.113.7:443`, `192.0.2.1:123/udp`. */
export function formatRuleTarget({ host, port, protocol }: TargetEnd): string {
  return `${formatEnd({ address: host, port })}${protocol === "udp" ? "/udp" : ""}`;
}
