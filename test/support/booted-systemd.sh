# Boots the machine's systemd in namespaces of its own (mounts, processes, network, control groups, host name), with nothing to
# start. Nothing of the machine can be written: / is read-only, /run, /tmp, /var and the units are fresh.
# Usage: booted-systemd.sh CGROUP CHECKOUT NODE UNITS. CHECKOUT is at /run/checkout, NODE is /run/node/node.
set -eu
echo $$ > "$1/cgroup.procs"
exec unshare --mount --pid --fork --net --cgroup --uts --ipc --kill-child --propagation private sh -euc '
  ip link set lo up
  mount -n -t proc proc /proc
  mount -n --bind /proc/sys /proc/sys
  mount -n -o remount,bind,ro /proc/sys
  umount -R /sys/fs/cgroup 2> /dev/null || true
  mount -n -t cgroup2 cgroup2 /sys/fs/cgroup
  mount -n -t tmpfs tmpfs /mnt
  mkdir -p /mnt/checkout /mnt/node /mnt/lock /mnt/sluice-units
  touch /mnt/node/node
  mount -n --bind "$2" /mnt/checkout
  mount -n --bind "$3" /mnt/node/node
  cp -r "$4"/. /mnt/sluice-units
  mount -n --move /mnt /run
  mount -n -t tmpfs -o mode=1777 tmpfs /tmp
  mount -n -t tmpfs tmpfs /var
  mkdir -p -m 1777 /var/tmp
  mkdir -p /var/log /var/lib /var/cache
  mount -n --bind /run/sluice-units /etc/systemd/system
  mount -n -o remount,bind,ro /
  exec env -i container=other PATH="$PATH" "$5" --system --unit=idle.target --log-target=null --show-status=no
' sh "$@"
