# podman-networks.sh NAMES: rootless Podman by slirp4netns, which takes the published port itself, and on a network of its own,
# where containers know each other by name; NAMES as podman.sh has them.
. "$(dirname "$0")/podman-setup.sh"
served() { for _ in $(seq 100); do curl -fsS -m 2 "http://127.0.0.1:$1/" 2> /dev/null && break; sleep 0.1; done; }
running() { pgrep -fc "$1 --|as $1"; }
$podman run -d --rm --cgroups=disabled --name slirp --network=slirp4netns:port_handler=slirp4netns -p 18082:80 --rootfs $root sh -c "$site" > /dev/null
served 18082
$podman exec slirp ip -4 -o address show dev tap0 | grep -o 'inet [^ ]*'
echo "runs: $(running slirp4netns)"
$podman rm -f -t0 slirp > /dev/null
sleep 2
echo "left: $(running slirp4netns)"
$podman network create n > /dev/null
$podman run -d --rm --cgroups=disabled --name web --network=n -p 18083:80 --rootfs $root sh -c "$site" > /dev/null
served 18083
$podman run --rm --cgroups=disabled --network=n --rootfs $root wget -qO- -T 5 http://web/
echo "runs: $(running pasta)"
$podman rm -f -t0 web > /dev/null
$podman network rm n > /dev/null
sleep 2
echo "left: $(running pasta)"
