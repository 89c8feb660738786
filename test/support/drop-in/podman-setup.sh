# podman-setup.sh, read by others: rootless Podman with a root of busybox. From $1, a directory that comes first among its helpers'
# (empty: the distribution's own), it makes $podman, $root, and $site, a container's command that serves a page on port 80.
names=$1
export XDG_RUNTIME_DIR=/tmp/run.$$ HOME=/tmp/home
mkdir -m 700 "$XDG_RUNTIME_DIR"
mkdir -p $HOME/.config/containers
printf '[engine]\nhelper_binaries_dir = [%s"/usr/libexec/podman", "/usr/lib/podman", "/usr/bin"]\n' "${names:+\"$names\", }" > $HOME/.config/containers/containers.conf
root=$HOME/rootfs
mkdir -p $root/bin $root/lib $root/etc $root/proc $root/sys $root/dev $root/tmp $root/run $root/var
cp /usr/bin/busybox $root/bin/
for applet in sh ip ls cat grep wget nslookup ping httpd sleep mkdir true; do ln -sf busybox $root/bin/$applet; done
podman="podman --log-level=error --cgroup-manager=cgroupfs --events-backend=none --storage-driver=vfs"
site='mkdir -p /tmp/www; echo served > /tmp/www/index.html; exec httpd -f -p 80 -h /tmp/www'
cd /tmp
