#!/usr/bin/env bash
# make-tree.sh DIRECTORY: a tree of Debian unstable with the clients of user-mode networks, for drop-in-clients.test.ts
# (SLUICE_TEST_TREE=DIRECTORY). Root; debootstrap is installed. About 1.5 GB and 3 minutes.
set -eu
tree=${1:?directory}
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2> /dev/null | grep -oE 'https?://[^ ]+/debian/?( |$)' | head -1 | tr -d ' ')
debootstrap --variant=minbase sid "$tree" "$mirror"
cp -L /etc/resolv.conf "$tree/etc/resolv.conf"
chroot "$tree" sh -c 'apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
  qemu-system-x86 seabios ipxe-qemu passt slirp4netns podman crun netavark aardvark-dns uidmap fuse-overlayfs rootlesskit nodejs iproute2 \
  iputils-ping ca-certificates procps curl busybox-static libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients \
  libvirt-daemon-system-sysv ncat jq udhcpc libcap2-bin socat bats catatonit nftables iperf3 bind9-dnsutils'
