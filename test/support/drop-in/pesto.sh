# pesto.sh NAMES: a pasta that runs, steered: a port added, shown, taken away, and what is not there; NAMES first in PATH (empty:
# the distribution's programs).
export PATH=${1:+$1:}$PATH
cd "$(mktemp -d)"
unshare -rn sleep 60 &
guest=$!
for _ in $(seq 100); do [ "$(readlink /proc/$guest/ns/net)" != "$(readlink /proc/self/ns/net)" ] && break; sleep 0.1; done
pasta -q -c "$PWD/c" -t none -u none -T none -U none --config-net -I tap0 $guest
echo "pasta: $? $(test -S c && echo socket)"
nsenter --preserve-credentials -U -n -t $guest busybox httpd -p 18080
steer() { pesto "$@" "$PWD/c" > said 2>&1; echo "pesto $*: $?"; }
served() { curl -sS -m 2 -o /dev/null http://127.0.0.1:18085/ 2> /dev/null; echo "served: $?"; }
served
steer -A --tcp-ports=127.0.0.1/18085:18080
served
steer
grep -c 'TCP .*18085 *=> *18080' said
steer -A --tcp-ports=127.0.0.1/18085:18080
steer -D --tcp-ports=127.0.0.1/18085:18080
served
steer -D --tcp-ports=127.0.0.1/18085:18080
kill $guest
