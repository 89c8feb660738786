# vhost-libvirt.sh FOLDER: a guest that libvirt starts from FOLDER/domain.xml, whose card is at /run/vm.sock, where `sluice run` is. Says
# what was seen, a line for each thing.
folder=$1 root=$(dirname "$0")/../..
cd "$folder" || exit
[ -z "$INSIDE" ] && exec env INSIDE=1 unshare --net bash "$0" "$folder"
ip link set lo up
ip address add 198.51.100.7/32 dev lo
ip route add default dev lo
mkdir -p /run/libvirt /var/log/libvirt/qemu
printf 'security_driver = "none"\nuser = "root"\ngroup = "root"\nstdio_handler = "file"\nnamespaces = []\ncgroup_controllers = []\n' > /etc/libvirt/qemu.conf
virtlogd -d; sleep 0.5; libvirtd -d
node -e 'require("net").createServer((s) => { s.on("error", () => {}); s.end("from-outside\n"); }).listen(7777, "198.51.100.7")' &
node "$root/src/cli/sluice.cjs" run --vhost-user unix:/run/vm.sock -p 8080:8080 2> sluice.log &
sluice=$!
until_true() { for _ in $(seq "$1"); do "${@:2}" && return; sleep 0.2; done; return 1; }
fetch() { curl --silent --show-error --max-time 5 "http://127.0.0.1:$1/" 2>&1 | sed 's/.*(7).*/refused/'; }
is_there() { [ "$(fetch 8080)" = from-the-guest ]; }
says() { grep -q "$1" console; }
virt-xml-validate domain.xml domain > /dev/null && echo "valid: yes"
virsh="virsh -q -c qemu:///system"
until_true 50 $virsh list > /dev/null
until_true 100 grep -q ready: sluice.log
$virsh create domain.xml > /dev/null && echo "state: $($virsh domstate web | head -1)"
until_true 600 says '^guest-ready' || { cat console sluice.log; exit 1; }
tr -d '\r' < console | grep -E '^(lease|egress):'
until_true 30 is_there
echo "declared: $(fetch 8080)"
echo "undeclared: $(fetch 8081)"
$virsh destroy web > /dev/null
kill $sluice; wait $sluice; echo "status: $?"
