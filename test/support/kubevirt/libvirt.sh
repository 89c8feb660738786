# libvirt.sh FOLDER: a guest that libvirt starts from the domain that our sidecar makes, in network namespaces of their own as in
# a pod. FOLDER has kernel and initrd; made.xml is put there by who asks the sidecar, and it is told to shut down when `ended` is
# there. Says what was seen, a line for each thing.
folder=$1 root=$(dirname "$0")/../../..
cd "$folder" || exit
[ -z "$INSIDE" ] && exec env INSIDE=1 unshare --net bash "$0" "$folder"
hooks=/var/run/kubevirt-hooks
ip link set lo up
ip address add 198.51.100.7/32 dev lo
ip route add default dev lo
mkdir -p $hooks /run/libvirt /var/log/libvirt/qemu
printf 'security_driver = "none"\nuser = "root"\ngroup = "root"\nstdio_handler = "file"\nnamespaces = []\ncgroup_controllers = []\n' > /etc/libvirt/qemu.conf
virtlogd -d; sleep 0.5; libvirtd -d
node -e 'require("net").createServer((s) => { s.on("error", () => {}); s.end("from-outside\n"); }).listen(7777, "198.51.100.7")' &
mkdir hooks; ln -s "$folder/hooks" $hooks/hook-sidecar-0
CONTAINER_NAME=hook-sidecar-0 node "$root/src/cli/sluice.cjs" kubevirt-binding --hooks-dir "$folder/hooks" 2> sidecar.log &
sidecar=$!
until_true() { for _ in $(seq "$1"); do "${@:2}" && return; sleep 0.2; done; return 1; }
fetch() { curl --silent --show-error --max-time 5 "http://127.0.0.1:$1/" 2>&1 | sed 's/.*(7).*/refused/'; }
is_there() { [ "$(fetch 8080)" = from-the-guest ]; }
says() { grep -q "$1" console; }
engine() { pgrep -P $sidecar | head -1; }
until_true 100 test -f made.xml || { cat sidecar.log; exit 1; }
virt-xml-validate made.xml domain > /dev/null && echo "valid: yes"
virsh="virsh -q -c qemu:///system"
until_true 50 $virsh list > /dev/null
$virsh create made.xml > /dev/null && echo "state: $($virsh domstate web | head -1)"
until_true 600 says '^guest-ready' || { cat console sidecar.log; exit 1; }
tr -d '\r' < console | grep -E '^(lease|mtu|hostname|egress|mac):'
until_true 30 is_there
echo "declared: $(fetch 8080)"
echo "undeclared: $(fetch 8081)"
failed=0
for _ in $(seq 4); do
  old=$(engine)
  kill -9 "$old"
  sleep 0.3
  until_true 30 is_there || failed=$((failed + 1))
  [ "$(engine)" != "$old" ] || failed=$((failed + 1))
done
echo "after kill -9, four times: $([ $failed = 0 ] && echo served || echo "lost $failed times")"
$virsh reset web
: > console
until_true 600 says '^guest-ready' && until_true 30 is_there && echo "after a reset: served"
kill -0 $sidecar && echo "sidecar: runs"
$virsh destroy web > /dev/null
touch ended
until_true 10 eval '! kill -0 $sidecar 2> /dev/null' && wait $sidecar; echo "status: $?"
echo "left: $(ls hooks) $(ls hooks/engine)"
