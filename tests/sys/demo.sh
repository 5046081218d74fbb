#!/bin/sh
# SPDX-License-Identifier: MIT
# What `make demo` runs in the control domain. The guest stays when $KEEP_GUEST is set, for its console.
# limit: 200
. ./lib.sh

bridge_create xenbr0 10.9.0.1/24
disk=$(image disk 32)
dd if=/dev/urandom of="$disk" bs=1M count=32 conv=notrunc 2>/dev/null
note 'xl create: a stock PVH guest, device_model_override="xenpvh"'
guest_create demo 256 2 \
	-device virtio-blk-pci,drive=d0,serial=demo-disk -drive "if=none,id=d0,file=$disk,format=raw,cache=none" \
	-device virtio-net-pci,netdev=n0,mac=00:16:3e:00:00:01 \
	-netdev type=tap,id=n0,ifname=vif-demo,br=xenbr0,script=no,downscript=no \
	-device virtio-rng-pci || exit 1
ok "the guest is up, served by pid $(dm_pid "$DOMID"), $(awk '/^Pss:/ { print $2 }' "/proc/$(dm_pid "$DOMID")/smaps_rollup") KiB"
guest_run demo 'lspci; echo; lsblk -o NAME,SIZE,SERIAL,LOG-SEC' | sed 's/^/# guest: /'
host=$(sha256sum <"$disk" | cut -d' ' -f1)
guest=$(guest_run demo 'sha256sum </dev/vda' | cut -d' ' -f1)
note "sha256 of the image, host:  $host"
note "sha256 of the disk,  guest: $guest"
check_eq "the guest's disk is the host's image" "$guest" "$host"
pings=$(guest_run demo 'ip link set lo up; ip link set eth0 up; ip addr add 10.9.0.2/24 dev eth0
	ping -q -c 1000 -i 0.004 -W 10 10.9.0.1' 120)
note "$(echo "$pings" | tail -2 | head -1)"
check 'no ping of 1000 is lost' sh -c "echo '$pings' | grep -q '1000 received, 0% packet loss'"
entropy=$(guest_run demo 'cat /sys/class/misc/hw_random/rng_current; dd if=/dev/hwrng bs=32 count=1 2>/dev/null | od -An -tx1 | tr -d " \n"')
note "entropy: $entropy" | tr '\n' ' '
echo
check 'entropy from virtio-rng' [ "$(echo "$entropy" | tail -1 | tr -d '\n' | wc -c)" = 64 ]
if [ "$KEEP_GUEST" = 1 ]; then
	guest_begin demo 'stty sane </dev/hvc0; exec setsid -c sh -l </dev/hvc0 >/dev/hvc0 2>&1'
	guest_detach demo
	trap - EXIT
fi
