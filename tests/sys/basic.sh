#!/bin/sh
# SPDX-License-Identifier: MIT
# The life of a stock guest with a disk, a net and an entropy source: everything xl does to it.
# limit: 400
. ./lib.sh

bridge_create xenbr0 10.9.0.1/24
disk=$(image disk 64)
dd if=/dev/urandom of="$disk" bs=1M count=64 conv=notrunc 2>/dev/null
sum=$(sha256sum <"$disk" | cut -d' ' -f1)

guest_create g0 256 2 \
	-device virtio-blk-pci,drive=d0,serial=rig0 -drive "if=none,id=d0,file=$disk,format=raw" \
	-device virtio-net-pci,netdev=n0,mac=00:16:3e:00:00:01 \
	-netdev type=tap,id=n0,ifname=vif-g0,br=xenbr0,script=no,downscript=no \
	-device virtio-rng-pci || exit 1
ok 'xl create'
note "$(guest_run g0 'lspci; cat /proc/interrupts | grep -c virtio')"
check_eq 'disk checksum' "$(guest_run g0 'sha256sum </dev/vda' | cut -d' ' -f1)" "$sum"
check 'entropy' guest_run g0 'cat /sys/class/misc/hw_random/rng_current; dd if=/dev/hwrng bs=64 count=1 | wc -c | grep -qx 64'
ip link set vif-g0 master xenbr0 2>/dev/null
ip link set vif-g0 up
check 'ping' guest_run g0 'ip link set eth0 up; ip addr add 10.9.0.2/24 dev eth0; ping -c 20 -i 0.05 10.9.0.1' 30
