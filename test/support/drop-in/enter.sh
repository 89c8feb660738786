#!/usr/bin/env bash
# enter.sh TREE SHARED COMMAND...: runs COMMAND with the tree as its root, copy on write, in a PID namespace that takes along
# whatever is left at the end; the directories SHARED, behind colons, are at their places in there. Not by chroot: the kernel refuses user
# namespaces in one. A pure cgroup2 mount for crun, and the user "tester" with subordinate ids.
set -eu
tree=$(realpath "$1") shared=$2 base=$(mktemp -d)
shift 2
mkdir "$base/root"
trap 'rmdir "$base/root" "$base"' EXIT
export tree shared base
unshare --mount --pid --fork --kill-child --propagation private bash -c '
set -e
mount -t tmpfs tmpfs "$base/root"
mkdir "$base/root/up" "$base/root/work" "$base/root/m"
mount -t overlay overlay -o "lowerdir=$tree,upperdir=$base/root/up,workdir=$base/root/work" "$base/root/m"
root=$base/root/m
mount -t proc proc "$root/proc"; mount --rbind /sys "$root/sys"; mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"; mount -t tmpfs -o mode=755 tmpfs "$root/run"
IFS=:; for each in $shared; do mkdir -p "$root$each"; mount --rbind "$each" "$root$each"; done; unset IFS
cp -L /etc/resolv.conf "$root/etc/resolv.conf" 2> /dev/null || true
cd "$root"; mkdir -p .old; pivot_root . .old; umount -l /.old; cd /
mount --make-rshared /
umount -R /sys/fs/cgroup 2> /dev/null || true
mount -t cgroup2 none /sys/fs/cgroup
useradd --create-home --home-dir /tmp/home tester 2> /dev/null
grep -q tester /etc/subuid || { echo tester:100000:65536 >> /etc/subuid; echo tester:100000:65536 >> /etc/subgid; }
export PATH=$PATH:/usr/sbin:/sbin HOME=/root
# Stays, for it is PID 1 in there: who waits for a process to be gone must not find it dead and unburied.
"$@"
exit' enter "$@"
