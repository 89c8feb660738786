# qemu.sh PASST: QEMU, whose firmware boots by network, starts it, starts it anew when it is killed, and ends it at quit; a passt
# that fails ends QEMU.
passt=$1
cd "$(mktemp -d)"
qemu-system-x86_64 -display none -nodefaults -boot n -monitor unix:mon,server=on,wait=off \
  -netdev passt,id=n,path="$passt",mtu=1500,address=192.168.9.5,netmask=24,gateway=192.168.9.1,tcp-ports=127.0.0.1/2222:22,icmp=off,ipv6=off \
  -device virtio-net-pci,netdev=n 2> log &
qemu=$!
monitor() { echo "$1" | timeout 2 socat - UNIX-CONNECT:mon 2> /dev/null | tr -d '\r' | grep -o 'connected to pid [0-9]*'; }
pid() { cat /tmp/passt-*.pid 2> /dev/null | tr -d '[:space:]'; }
wait_for() { for _ in $(seq 100); do "$@" && return; sleep 0.1; done; return 1; }
connected() { [ -n "$(pid)" ] && monitor 'info network' > told; }
wait_for connected && echo "started: $(grep -c "connected to pid $(pid)" told)"
ss -ltn | grep -q '127.0.0.1:2222 ' && echo "forwards: yes"
first=$(pid)
kill -9 "$first"
anew() { [ -n "$(pid)" ] && [ "$(pid)" != "$first" ] && kill -0 "$(pid)" 2> /dev/null && connected; }
wait_for anew && echo "anew: yes"
last=$(pid)
monitor quit
gone() { ! kill -0 "$last" 2> /dev/null; }
wait_for gone && echo "gone: yes"
wait $qemu
echo "status: $?"
timeout 20 qemu-system-x86_64 -display none -nodefaults -netdev passt,id=n,path="$passt",param=--nonsense -device virtio-net-pci,netdev=n > log 2>&1
echo "wrong: $? $(grep -c "unrecognized option '--nonsense'" log)"
timeout 20 qemu-system-x86_64 -display none -nodefaults -netdev passt,id=n,path=/bin/false -device virtio-net-pci,netdev=n > log 2>&1
echo "no passt: $?"
