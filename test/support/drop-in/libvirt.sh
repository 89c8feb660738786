# libvirt.sh PASST: libvirt's own domain with <backend type='passt'/>: created, alive after a crash of passt, destroyed.
install -d /usr/local/bin
[ -n "$1" ] && ln -sf "$1" /usr/local/bin/passt
cat > /tmp/domain.xml << 'Y'
<domain type='qemu'><name>vm1</name><memory unit='MiB'>128</memory><os><type arch='x86_64'>hvm</type></os><devices>
  <emulator>/usr/bin/qemu-system-x86_64</emulator>
  <interface type='user'><mac address='52:54:00:aa:bb:cc'/><backend type='passt' logFile='/tmp/passt.log' hostname='guest1' fqdn='guest1.example'/>
    <ip address='172.17.2.4' family='ipv4' prefix='24'/><mtu size='1400'/>
    <portForward proto='tcp' address='127.0.0.1'><range start='2022' to='22'/><range start='8000' end='8010'/></portForward>
    <portForward proto='udp'><range start='5000'/></portForward><model type='virtio'/></interface>
</devices></domain>
Y
mkdir -p /run/libvirt /var/log/libvirt/qemu
printf 'security_driver = "none"\nstdio_handler = "file"\nnamespaces = []\ncgroup_controllers = []\n' > /etc/libvirt/qemu.conf
virtlogd -d; sleep 0.5; libvirtd -d; sleep 2
virsh="virsh -q -c qemu:///system"
$virsh create /tmp/domain.xml > /dev/null && echo "state: $($virsh domstate vm1 | head -1)"
echo "ports: $(ss -ltn | grep -cE '127.0.0.1:(2022|80[01][0-9]) ') $(ss -lun | grep -qE ':5000 ' && echo udp)"
pid=$(cat /run/libvirt/qemu/passt/*.pid)
kill -0 "$pid" && echo "runs: yes"
kill -9 "$pid"
for _ in $(seq 100); do next=$(cat /run/libvirt/qemu/passt/*.pid 2> /dev/null); [ -n "$next" ] && [ "$next" != "$pid" ] && kill -0 "$next" 2> /dev/null && break; sleep 0.1; done
[ -n "$next" ] && [ "$next" != "$pid" ] && echo "anew: yes"
sleep 6
echo "state: $($virsh domstate vm1 | head -1)"
$virsh destroy vm1 > /dev/null
sleep 1
kill -0 "$next" 2> /dev/null && echo "left: yes" || echo "left: no"
echo "files: $(ls /run/libvirt/qemu/passt/ | wc -l)"
