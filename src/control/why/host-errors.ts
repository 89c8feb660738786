/** What the host's kernel says when a connection fails (connect(2), tcp(7)), in words for people. */

interface HostErrorText {
  readonly because: string;
  /** What would change it, where something would. */
  readonly change?: string;
}

const TEXTS: Readonly<Record<string, HostErrorText>> = {
  ECONNREFUSED: {
    because: "that host is there and refused: nothing listens on this port, or a firewall there says so",
  },
  ECONNRESET: { because: "the other side broke the connection off (RST)" },
  ETIMEDOUT: {
    because: "nobody answered: the address is not in use, or a firewall on the way drops what is sent there",
  },
  "timed-out": { because: "nobody answered within four minutes, and this host gave up" },
  "host-reset": { because: "this host's side of the connection broke" },
  "no-resources": {
    because:
      "this host has no descriptor, port or memory left for another connection, or too many wait for an answer",
  },
  ENETUNREACH: {
    because: "this host itself has no route there",
    change: "a route on this host; `ip route get ADDRESS` shows what it has",
  },
  EHOSTUNREACH: {
    because: "a router on the way, or this host's own network, says that the address cannot be reached",
    change: "`ip route get ADDRESS` on this host shows the way that is taken",
  },
  EACCES: { because: "this host's firewall or security policy forbids the connection" },
  EPERM: { because: "this host's firewall or security policy forbids the connection" },
  EMFILE: {
    because: "sluice has no descriptor left",
    change: "a higher limit (ulimit -n, LimitNOFILE=), or fewer flows (--max-flows)",
  },
  ENFILE: { because: "this host has no descriptor left", change: "a higher fs.file-max on this host" },
  EADDRNOTAVAIL: {
    because: "this host has no port left to connect from to that address",
    change: "a wider net.ipv4.ip_local_port_range on this host",
  },
  ENOBUFS: { because: "this host's kernel has no memory left for sockets" },
  ENOMEM: { because: "this host's kernel has no memory left for sockets" },
  EPIPE: { because: "the other side had closed the connection" },
};

export function hostErrorText(error: string): HostErrorText {
  return TEXTS[error] ?? { because: "this host's kernel says so (errno(3) lists what it may say)" };
}
