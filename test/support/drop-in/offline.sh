# offline.sh NAME COMMAND...: runs COMMAND as user tester on a host of its own without the world: a device with addresses and
# default routes of both families, and a name server that knows NAME. Root.
exec unshare --net bash -c '
  ip link set lo up
  ip link add uplink type veth peer name far
  sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.uplink.accept_dad=0
  ip link set far up
  ip link set uplink up
  ip address add 198.51.100.7/24 dev uplink
  ip -6 address add 2001:db8:7::7/64 dev uplink nodad
  ip route add default via 198.51.100.1
  ip -6 route add default via fe80::1 dev uplink
  ip address add 203.0.113.53/32 dev lo
  node "$(dirname "$0")/name-server.mjs" 203.0.113.53 "$1" &
  echo nameserver 203.0.113.53 > /etc/resolv.conf
  shift
  exec setpriv --reuid=tester --regid=tester --init-groups env USER=tester LOGNAME=tester "$@"' "$0" "$@"
