# rootlesskit-ports.sh SLIRP4NETNS: RootlessKit's port driver by slirp4netns' API: a port from the start, one more, listed, removed.
export XDG_RUNTIME_DIR=/tmp/run.$$
mkdir -m 700 "$XDG_RUNTIME_DIR" && mkdir /tmp/html.$$ && echo served > /tmp/html.$$/index.html
cd /tmp
rootlesskit --state-dir=/tmp/state.$$ --net=slirp4netns --slirp4netns-binary="$1" --copy-up=/etc --mtu=65520 --disable-host-loopback \
  --port-driver=slirp4netns -p 127.0.0.1:18080:80/tcp busybox httpd -f -p 80 -h /tmp/html.$$ > log.$$ 2>&1 &
kit=$!
for _ in $(seq 100); do curl -fsS -m 2 http://127.0.0.1:18080/ 2> /dev/null && break; sleep 0.1; done
ctl="rootlessctl --socket /tmp/state.$$/api.sock"
echo "added: $($ctl add-ports 127.0.0.1:18081:80/tcp)"
curl -fsS -m 2 http://127.0.0.1:18081/
echo "listed: $($ctl list-ports | grep -c 127.0.0.1)"
$ctl remove-ports 2 > /dev/null
curl -fsS -m 2 http://127.0.0.1:18081/ 2> /dev/null || echo "removed: yes"
kill $kit; wait $kit 2> /dev/null
