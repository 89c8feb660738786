# podman.sh NAMES: rootless Podman, NAMES first among its helpers' directories (empty: the distribution's own): pasta, and a
# published port; everything ends with its container.
. "$(dirname "$0")/podman-setup.sh"
run="$podman run --rm --cgroups=disabled"
address=$(ip -4 -o address show dev "$(ip route show default | grep -o 'dev [^ ]*' | cut -d' ' -f2)" | grep -o 'inet [^ ]*')
$run --network=pasta --rootfs $root sh -c 'ip -4 -o a show scope global' | grep -q "$address " && echo "address: the host's"
$run --network=pasta --rootfs $root sh -c 'ip route | grep -o "default via [^ ]*"' | grep -q "$(ip route | grep -o 'default via [^ ]*' | head -1)" && echo "route: the host's"
$run --network=pasta --rootfs $root cat /etc/resolv.conf | grep -m1 nameserver
$podman run -d --rm --cgroups=disabled --name web --network=pasta -p 18081:80 --rootfs $root sh -c "$site" > /dev/null
for _ in $(seq 50); do curl -fsS -m 2 http://127.0.0.1:18081/ 2> /dev/null && break; sleep 0.1; done
echo "runs: $(pgrep -fc 'pasta --config-net|as pasta')"
$podman rm -f -t0 web > /dev/null
sleep 2
echo "left: $(pgrep -fc 'pasta --config-net|as pasta')"
$run --network=pasta:--nonsense --rootfs $root true > log.$$ 2>&1
echo "wrong: $? $(grep -c "unrecognized option '--nonsense'" log.$$)"
