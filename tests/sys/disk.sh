#!/bin/sh
# SPDX-License-Identifier: MIT
# Disks with every cache mode: a file system made, filled, remounted and checked; fio with verification on 4k-1M blocks
# at depth 1 to 64 with four queues (all of them for each mode in the long run: rig run --env RIG=full); discard and
# write-zeroes seen in the image.
# limit: 900
# needs: tools
. ./lib.sh
TOOLS=1

modes='writeback none directsync'
[ "$DM_KIND" = qemu ] && modes=writeback
set --
for m in $modes; do
	image "$m" 96 >/dev/null
	set -- "$@" -drive "if=none,id=$m,file=$TMP/$m.img,format=raw,cache=$m,discard=unmap" \
		-device "virtio-blk-pci,drive=$m,num-queues=4,serial=$m"
done
guest_create g0 768 4 "$@" || exit 1

fio='fio --thread --output-format=terse --name=v --verify=crc32c --verify_fatal=1 --do_verify=1 --ioengine=libaio'
fio="$fio --direct=1 --numjobs=4 --offset_increment=16m --group_reporting"
disk=vda
for m in $modes; do
	dev=/dev/$disk
	check_eq "$m: serial" "$(guest_run g0 "cat /sys/block/$disk/serial")" "$m"
	check_eq "$m: queues" "$(guest_run g0 "ls /sys/block/$disk/mq | wc -l")" 4
	check "$m: file system filled, remounted, checked" guest_run g0 "set -e
		mkfs.ext4 -q $dev
		mount -t ext4 $dev /mnt
		dd if=/dev/urandom of=/mnt/a bs=1M count=20 2>/dev/null
		mkdir /mnt/d
		for i in \$(seq 1 200); do echo \$i >/mnt/d/\$i; done
		sum=\$(sha256sum </mnt/a)
		sync
		umount /mnt
		e2fsck -fn $dev
		echo 3 >/proc/sys/vm/drop_caches
		mount -t ext4 $dev /mnt
		[ \"\$(sha256sum </mnt/a)\" = \"\$sum\" ]
		[ \$(cat /mnt/d/* | wc -l) = 200 ]
		umount /mnt" 180
	# Block size, depth, and bytes for each of the four jobs: an emulated machine does some hundred small requests a second.
	loads='4k:1:512k 4k:64:2m 64k:16:8m 1m:8:12m'
	[ "$m" = writeback ] || [ "$RIG" = full ] || loads='4k:64:2m 1m:8:12m'
	for load in $loads; do
		bs=${load%%:*} size=${load##*:}
		depth=${load#*:}
		depth=${depth%:*}
		check "$m: fio, blocks of $bs, depth $depth" guest_run g0 \
			"$fio --filename=$dev --rw=randwrite --bs=$bs --iodepth=$depth --size=$size >/dev/null" 200
	done
	check "$m: fio, mixed with flushes" \
		guest_run g0 "$fio --filename=$dev --rw=randrw --bs=16k --iodepth=16 --fsync=8 --size=2m >/dev/null" 200
	check_eq "$m: all queues were used" "$(guest_run g0 "pci=\$(readlink -f /sys/block/$disk/device)
		n=\${pci##*/}
		awk -v n=\"\$n-req\" 'index(\$0, n) { for (i = 2; i <= 5; i++) s += \$i; if (s > 0) c++; s = 0 } END { print c }' /proc/interrupts")" 4
	guest_run g0 "dd if=/dev/urandom of=$dev bs=1M count=32 conv=fsync 2>/dev/null" >/dev/null
	full=$(blocks "$TMP/$m.img")
	check "$m: discard" guest_run g0 "blkdiscard -o 0 -l $((16 << 20)) $dev"
	now=$(blocks "$TMP/$m.img")
	check "$m: the image shrank ($full to $now blocks)" [ $((full - now)) -ge $((15 * 2048)) ]
	# A hole punched in a block device is a write of zeroes that may free; what BLKZEROOUT sends may not.
	check "$m: write zeroes" guest_run g0 "fallocate -p -o $((16 << 20)) -l $((16 << 20)) $dev &&
		dd if=$dev bs=1M skip=16 count=16 iflag=direct 2>/dev/null | tr -d '\\0' | wc -c | grep -qx 0"
	zeroed=$(blocks "$TMP/$m.img")
	check "$m: zeroes take no room ($now to $zeroed blocks)" [ $((now - zeroed)) -ge $((15 * 2048)) ]
	check "$m: write zeroes, kept" guest_run g0 "blkdiscard -z -o $((80 << 20)) -l $((4 << 20)) $dev &&
		dd if=$dev bs=1M skip=80 count=4 iflag=direct 2>/dev/null | tr -d '\\0' | wc -c | grep -qx 0"
	disk=vd$(echo "${disk#vd}" | tr ab bc)
done
guest_destroy g0
