# libvirt-rig.sh, to be sourced: a network namespace with a way out to a server at 198.51.100.7, libvirt's daemons of the tree that this runs in, and
# what looks at the guest from outside. $folder is where the guest's console is, $root the project.
cd "$folder" || exit
[ -z "$INSIDE" ] && exec env INSIDE=1 unshare --net bash "$0" "$folder"
ip link set lo up
ip address add 198.51.100.7/32 dev lo
ip route add default dev lo
mkdir -p /run/libvirt /var/log/libvirt/qemu
printf 'security_driver = "none"\nuser = "root"\ngroup = "root"\nstdio_handler = "file"\nnamespaces = []\ncgroup_controllers = []\n' > /etc/libvirt/qemu.conf
virtlogd -d; sleep 0.5; libvirtd -d
node -e 'require("net").createServer((s) => { s.on("error", () => {}); s.end("from-outside\n"); }).listen(7777, "198.51.100.7")' &
virsh="virsh -q -c qemu:///system"
until_true() { for _ in $(seq "$1"); do "${@:2}" && return; sleep 0.2; done; return 1; }
fetch() { curl --silent --show-error --max-time 5 "http://127.0.0.1:$1/" 2>&1 | sed 's/.*(7).*/refused/'; }
is_there() { [ "$(fetch 8080)" = from-the-guest ]; }
says() { grep -q "$1" console; }
# begin DOMAIN LOG: the guest of the file DOMAIN, until it is ready; what it and LOG said where it is not.
begin() {
  virt-xml-validate "$1" domain > /dev/null && echo "valid: yes"
  until_true 50 $virsh list > /dev/null
  $virsh create "$1" > /dev/null && echo "state: $($virsh domstate web | head -1)"
  until_true 600 says '^guest-ready' || { cat console "$2"; exit 1; }
  tr -d '\r' < console | grep -E '^(lease|mtu|hostname|egress|mac):'
  until_true 30 is_there
  echo "declared: $(fetch 8080)"
  echo "undeclared: $(fetch 8081)"
}
