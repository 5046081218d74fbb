#!/bin/sh
# SPDX-License-Identifier: MIT
# Guests with memory above 4 GiB: 6144 MiB without a map on the command line; and a stock domain of 4 GiB with a line that
# says another map than the domain has.
# limit: 500
# memory: 9216
. ./lib.sh

[ "$DM_KIND" = xenpvh ] || { skip 'a map that contradicts the domain'; skip '6144 MiB'; exit 0; }

domain_create g1 4096 4 || exit 1
ip tuntap add "vif$DOMID.0-emu" mode tap
: >"$STATE/vif$DOMID.0-emu.link"
if dm_start g1 $(full_line 4096); then
	fail 'a map that contradicts the domain was accepted'
else
	check_eq 'a contradicting map: exit status' "$DM_STATUS" 1
	check_eq 'a contradicting map: one line' "$(wc -l <"$LOGS/dm-g1.log")" 1
	note "$(cat "$LOGS/dm-g1.log")"
fi
guest_destroy g1

bridge_create xenbr0 10.9.0.1/24
disk=$(image disk 128)
dd if=/dev/urandom bs=1M count=8 of="$TMP/seed" 2>/dev/null
for i in $(seq 0 15); do
	dd if="$TMP/seed" of="$disk" bs=1M seek=$((i * 8)) conv=notrunc 2>/dev/null
	echo "$i" | dd of="$disk" bs=1M seek=$((i * 8)) conv=notrunc 2>/dev/null
done
sum=$(sha256sum <"$disk" | cut -d' ' -f1)
CMDLINE='iomem=relaxed' guest_create g0 6144 4 \
	-device virtio-blk-pci,drive=d0,num-queues=4 -drive "if=none,id=d0,file=$disk,format=raw" \
	-device virtio-net-pci,netdev=n0,mac=00:16:3e:00:00:01 \
	-netdev type=tap,id=n0,ifname=vif-g0,br=xenbr0,script=no,downscript=no || exit 1
ok '6144 MiB guest'
check_eq 'vCPUs' "$(guest_run g0 nproc)" 4
check 'its memory' guest_run g0 'awk "/MemTotal/ { exit !(\$2 > 5800000) }" /proc/meminfo'
above='awk "/^Node/ { z = \$4 } z == \"Normal\" && /nr_zone_(in)?active_file/ { n += \$2 } END { print n }" /proc/zoneinfo'
check_eq 'disk checksum' "$(guest_run g0 'sha256sum </dev/vda' 200 | cut -d' ' -f1)" "$sum"
# The pages of a disk go when the last program closes it.
pages=$(guest_run g0 "exec 3</dev/vda
	before=\$($above)
	cat <&3 >/dev/null
	echo \$((\$($above) - before))" 200 | tail -n 1)
check "pages of the disk above 4 GiB ($pages of 32768)" [ "${pages:-0}" -gt 16384 ]
check_ring_above g0 vda
check 'written and read again' guest_run g0 'echo 3 >/proc/sys/vm/drop_caches
	dd if=/dev/urandom of=/tmp/data bs=1M count=32 2>/dev/null
	dd if=/tmp/data of=/dev/vda bs=1M conv=fsync 2>/dev/null
	echo 3 >/proc/sys/vm/drop_caches
	cmp /tmp/data /dev/vda || dd if=/dev/vda bs=1M count=32 2>/dev/null | cmp - /tmp/data' 200
check 'net' guest_run g0 'ip link set eth0 up; ip addr add 10.9.0.2/24 dev eth0; ping -q -c 100 -i 0.02 -s 1400 -W 5 10.9.0.1' 90
guest_destroy g0
