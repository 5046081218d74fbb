#!/bin/sh
# SPDX-License-Identifier: MIT
# The command line of a patched toolstack, word for word but for the domain's number, the program's name and an existing
# tap, on a stock-built domain of 1024 MiB: the map on the line is larger than the domain, as QEMU allows.
# limit: 240
. ./lib.sh

[ "$DM_KIND" = xenpvh ] || { skip 'our command line'; exit 0; }
bridge_create xenbr0 10.9.0.1/24
domain_create g0 1024 4 || exit 1
ip tuntap add "vif$DOMID.0-emu" mode tap
: >"$STATE/vif$DOMID.0-emu.link"

if dm_start g0 $(full_line 1024); then
	ok 'starts'
else
	die "ended with status $DM_STATUS: $(tail -2 "$LOGS/dm-g0.log")"
fi
check 'the tap is in the bridge' tap_joined "vif$DOMID.0-emu" xenbr0
xl unpause g0
guest_attach g0 && guest_ready g0 || exit 1
check_eq 'vCPUs' "$(guest_run g0 nproc)" 4
check 'net' guest_run g0 'ip link set eth0 up; ip addr add 10.9.0.2/24 dev eth0; ping -q -c 50 -i 0.02 -W 5 10.9.0.1' 90
check 'interrupts on the device' guest_run g0 'grep -q "virtio0-input" /proc/interrupts'
guest_destroy g0
dm_wait
check_eq 'leaves with the domain' "$DM_STATUS" 0
