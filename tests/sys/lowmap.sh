#!/bin/sh
# SPDX-License-Identifier: MIT
# The command line of a patched toolstack exactly as written, on a domain built with its memory map: 2 GiB at 0, 2 GiB at
# 4 GiB and nothing between. The stock toolstack builds it, with builder/lowmap.c in its process.
# limit: 300
# memory: 9216
# needs: builder
. ./lib.sh

[ "$DM_KIND" = xenpvh ] || { skip 'our command line'; exit 0; }
if [ ! -f /rig/lowmap.so ]; then
	skip 'the map of a patched toolstack: needs the development files of the Xen that runs here, when the rig is built'
	exit 0
fi
bridge_create xenbr0 10.9.0.1/24
CMDLINE=iomem=relaxed
CREATE_PRELOAD=/rig/lowmap.so domain_create g0 4096 4 || exit 1
ip tuntap add "vif$DOMID.0-emu" mode tap
: >"$STATE/vif$DOMID.0-emu.link"
dm_start g0 $(full_line 4096) || die "ended with status $DM_STATUS: $(tail -2 "$LOGS/dm-g0.log")"
ok 'starts'
xl unpause g0
guest_attach g0 && guest_ready g0 || exit 1
guest_run g0 'grep "System RAM" /proc/iomem' >"$LOGS/lowmap-iomem"
check 'RAM ends at 2 GiB' grep -q '^00100000-7fffffff : System RAM' "$LOGS/lowmap-iomem"
check 'RAM from 4 GiB to 6 GiB' grep -q '^100000000-17fffffff : System RAM' "$LOGS/lowmap-iomem"
check 'net' guest_run g0 'ip link set eth0 up; ip addr add 10.9.0.2/24 dev eth0; ping -q -c 100 -i 0.02 -s 1400 -W 5 10.9.0.1' 90
check_ring_above g0 eth0
guest_destroy g0
dm_wait
check_eq 'leaves with the domain' "$DM_STATUS" 0
