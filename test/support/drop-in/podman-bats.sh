# podman-bats.sh NAMES [FILTER]: 505-networking-pasta.bats of Podman's sources ($PODMAN_SOURCES), behind offline.sh, whose name
# server knows the one name they ask for. NAMES first among its helpers' directories (empty: the distribution's own). Prints bats'
# TAP lines.
names=$1 filter=${2:-}
export XDG_RUNTIME_DIR=/tmp/run.$$ HOME=/tmp/home TMPDIR=/tmp PATH=$PATH:/usr/sbin:/sbin PODMAN_TEST_IMAGE_REGISTRY=localhost
mkdir -m 700 "$XDG_RUNTIME_DIR"
mkdir -p $HOME/.config/containers
printf '[storage]\ndriver = "overlay"\n' > $HOME/.config/containers/storage.conf
printf '[containers]\ncgroups = "disabled"\n[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nhelper_binaries_dir = [%s"/usr/libexec/podman", "/usr/lib/podman", "/usr/bin"]\n' "${names:+\"$names\", }" > $HOME/.config/containers/containers.conf
# The image those tests know, of what is in the tree.
root=/tmp/image.$$
mkdir -p $root/bin $root/usr/bin $root/lib64 $root/etc $root/proc $root/sys $root/dev $root/tmp $root/run $root/var $root/root $root/home/podman
cp /usr/bin/busybox $root/bin/
for applet in $(busybox --list | grep -vx busybox); do ln -sf busybox $root/bin/$applet; done
for program in ip socat getent ss; do
  file=$(command -v $program)
  rm -f $root/bin/$program
  cp -L "$file" $root/bin/
  for library in $(ldd "$file" | grep -o '/[^ ]*'); do mkdir -p "$root$(dirname "$library")"; cp -L "$library" "$root$library"; done
done
mkdir -p $root/lib/x86_64-linux-gnu
for library in /lib/x86_64-linux-gnu/libnss_files.so.2 /lib/x86_64-linux-gnu/libnss_dns.so.2 /lib/x86_64-linux-gnu/libresolv.so.2; do [ -e $library ] && cp -L $library $root/lib/x86_64-linux-gnu/; done
printf 'hosts: files dns\n' > $root/etc/nsswitch.conf
echo root:x:0:0:root:/root:/bin/sh > $root/etc/passwd
echo root:x:0: > $root/etc/group
chmod 1777 $root/tmp
cat > $root/home/podman/bytecheck << 'Y'
#!/bin/sh
f=`mktemp /tmp/bytecheck.XXXXXX`
cat > $f
echo size=`stat -c %s $f` hash=`md5sum < $f`
rm -f $f
Y
chmod 755 $root/home/podman/bytecheck
tar -C $root -c . | podman import --change 'WORKDIR /home/podman' --change 'CMD ["/bin/echo","x"]' - localhost/libpod/testimage:20241011 > /dev/null 2>&1
rm -rf $root
cp -r "$PODMAN_SOURCES/test/system" "$PODMAN_SOURCES/hack" /tmp/ 2> /dev/null
mkdir -p /tmp/podman/test && cp -r "$PODMAN_SOURCES/test/system" /tmp/podman/test/ && cp -r "$PODMAN_SOURCES/hack" /tmp/podman/
cd /tmp/podman/test/system || exit 1
timeout "${BATS_TIME:-900}" bats -T ${filter:+-f "$filter"} 505-networking-pasta.bats
