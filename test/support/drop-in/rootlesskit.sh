# rootlesskit.sh SLIRP4NETNS: RootlessKit with the words of rootless Docker; a port, a name's answer, the host's loopback closed.
slirp=$1
export XDG_RUNTIME_DIR=/tmp/run.$$
mkdir -m 700 "$XDG_RUNTIME_DIR" && mkdir /tmp/html.$$ && echo served > /tmp/html.$$/index.html
cd /tmp
rootlesskit --state-dir=/tmp/state.$$ --net=slirp4netns --slirp4netns-binary="$slirp" --detach-netns --copy-up=/etc --copy-up=/run --mtu=65520 \
  --slirp4netns-sandbox=auto --slirp4netns-seccomp=auto --disable-host-loopback --port-driver=builtin -p 127.0.0.1:18080:80/tcp \
  sh -c 'n="nsenter -n$ROOTLESSKIT_STATE_DIR/netns"; $n ip -4 -o address show tap0 | grep -o "inet [^ ]*"; $n ip -o link show tap0 | grep -o "mtu [0-9]*"
    $n ip route | grep -o "default via [^ ]*"; exec $n busybox httpd -f -p 80 -h /tmp/html.'$$ > log.$$ 2>&1 &
kit=$!
for _ in $(seq 100); do curl -fsS -m 2 http://127.0.0.1:18080/ 2> /dev/null && break; sleep 0.1; done
grep -E '^(inet|mtu|default)' log.$$
network=$(pgrep -f "^([^ ]*/)?(node .*sluice.cjs as )?slirp4netns|/$(basename "$slirp") " | head -1)
[ -n "$network" ] && echo "runs: yes"
kill $kit; wait $kit 2> /dev/null
sleep 1
kill -0 "$network" 2> /dev/null && echo "left: yes" || echo "left: no"
