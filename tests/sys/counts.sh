#!/bin/sh
# SPDX-License-Identifier: MIT
# What a request to a disk costs in calls of the kernel's Xen files (docs/performance.md, "What one request costs"). Alone it
# takes four: the event channel is read, unmasked, and notified for the vCPU to go on; the interrupt is a hypercall. Those
# that come together share them.
# limit: 300
# needs: tools
. ./lib.sh
TOOLS=1

[ "$DM_KIND" = xenpvh ] || { skip 'counts of ours'; exit 0; }
calls_watch || { skip 'the kernel of this control domain has no probes'; exit 0; }
image disk 16 >/dev/null
guest_create g0 512 1 -drive "if=none,id=d0,file=$TMP/disk.img,format=raw" -device virtio-blk-pci,drive=d0,num-queues=1 || exit 1
dm=$(dm_pid "$DOMID")

# per_request REQUESTS FIO-OPTION...: calls for a hundred requests, in $CALLS.
per_request() {
	_n=$1
	shift
	_before=$(calls "$dm")
	guest_run g0 "fio --name=r --filename=/dev/vda --rw=randread --bs=4k --direct=1 --ioengine=libaio --size=$((_n * 4))k $* >/dev/null" 120 || fail fio
	CALLS=$((($(calls "$dm") - _before) * 100 / _n))
}

guest_run g0 'dd if=/dev/vda of=/dev/null bs=1M 2>/dev/null' >/dev/null
per_request 1000 --iodepth=1
check "one at a time: $CALLS calls for 100 requests, at most 4 each (and 5 % for what fio asks besides)" [ "$CALLS" -ge 100 -a "$CALLS" -le 420 ]
per_request 3200 --iodepth=32 --iodepth_batch_submit=32 --iodepth_batch_complete_min=32
check "32 at a time: $CALLS calls for 100 requests, at most 25" [ "$CALLS" -ge 1 -a "$CALLS" -le 25 ]
guest_destroy g0
