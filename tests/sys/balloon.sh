#!/bin/sh
# SPDX-License-Identifier: MIT
# A guest whose memory the device model has mapped gives half of it back: Xen has it, at once, and the guest's devices go
# on. Then it takes it again.
# limit: 240
. ./lib.sh

disk=$(image disk 320)
bridge_create xenbr0 10.9.0.1/24
guest_create g0 512 1 \
	-device virtio-blk-pci,drive=d0 -drive "if=none,id=d0,file=$disk,format=raw" \
	-device virtio-net-pci,netdev=n0,mac=00:16:3e:00:00:01 \
	-netdev tap,id=n0,ifname=vif-g0,br=xenbr0,script=no,downscript=no || exit 1
tap_ready vif-g0 xenbr0
check 'net' guest_run g0 'ip addr add 10.9.0.2/24 dev eth0 && ip link set eth0 up && ping -q -c 20 -i 0.02 -W 5 10.9.0.1'

free_mib() {
	xl info free_memory
}
free_is() {
	[ "$(free_mib)" -ge "$1" ]
}
free_below() {
	[ "$(free_mib)" -le "$1" ]
}

# The page cache takes all memory that there is: the disk's data go everywhere.
check 'the disk is read' guest_run g0 'cat /dev/vda >/dev/null && echo 3 >/proc/sys/vm/drop_caches'
before=$(free_mib)
check 'xl mem-set to half' xl mem-set g0 256
check '240 MiB more are free' wait_for 30 free_is $((before + 240))
note "free before: $before MiB, after: $(free_mib) MiB"
check 'disk' guest_run g0 'dd if=/dev/vda of=/dev/null bs=1M count=32 iflag=direct && dd if=/dev/zero of=/dev/vda bs=1M count=8 oflag=direct'
check 'net' guest_run g0 'ping -q -c 20 -i 0.02 -W 5 10.9.0.1'
check 'still free' free_is $((before + 240))
check 'xl mem-set back' xl mem-set g0 512
check 'it has it' wait_for 30 free_below $((before + 16))
check 'the disk is read with all of it' guest_run g0 'cat /dev/vda >/dev/null'
check 'net' guest_run g0 'ping -q -c 20 -i 0.02 -W 5 10.9.0.1'
check 'no complaint' sh -c '! grep . /var/log/xen/qemu-dm-g0.log'
guest_destroy g0
