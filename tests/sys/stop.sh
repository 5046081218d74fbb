#!/bin/sh
# SPDX-License-Identifier: MIT
# SIGTERM and SIGHUP while the guest writes hard: the device model ends well, and every block whose flush the guest saw
# acknowledged is in the image.
# limit: 400
# needs: tools
. ./lib.sh
TOOLS=1

[ "$DM_KIND" = xenpvh ] || { skip 'our signals'; exit 0; }
writer='(fio --thread --name=load --filename=/dev/vda --offset=64m --size=64m --rw=randwrite --bsrange=4k-256k --ioengine=libaio \
	--direct=1 --iodepth=32 --time_based --runtime=600 >/dev/null 2>&1 &)
n=0
while n=$((n + 1)); do
	printf "block %08d." $n | dd of=/dev/vda bs=4k seek=$n conv=sync,fsync,notrunc 2>/dev/null && echo "flushed $n"
done'

for sig in TERM HUP; do
	for cache in writeback none; do
		disk=$(image "$sig-$cache" 128)
		domain_create g0 512 2 || exit 1
		dm_start g0 $DM -xen-domid "$DOMID" -nodefaults -nographic -machine xenpvh -m 512 \
			-drive "if=none,id=d0,file=$disk,format=raw,cache=$cache" -device virtio-blk-pci,drive=d0 ||
			die "ended with status $DM_STATUS: $(tail -2 "$LOGS/dm-g0.log")"
		xl unpause g0
		guest_attach g0 && guest_ready g0 || exit 1
		guest_begin g0 "$writer"
		check "$sig, $cache: writing" wait_for 90 _console_has g0 '^flushed 25$'
		kill -$sig "$DM_PID"
		dm_wait
		check_eq "$sig, $cache: exit status" "$DM_STATUS" 0
		last=$(console_text g0 | sed -n 's/^flushed //p' | tail -1)
		lost=
		for n in $(seq 1 "$last"); do
			got=$(dd if="$disk" bs=4k skip="$n" count=1 2>/dev/null | head -c 15)
			[ "$got" = "$(printf 'block %08d.' "$n")" ] || lost="$lost $n"
		done
		check_eq "$sig, $cache: none of $last flushed blocks is lost" "$lost" ''
		check_eq "$sig, $cache: quiet" "$(cat "$LOGS/dm-g0.log")" ''
		guest_destroy g0
		rm -f "$disk"
	done
done
