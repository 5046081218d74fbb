#!/bin/sh
# SPDX-License-Identifier: MIT
# dm_restrict=1: the domain starts, runs and is cleaned up, and its device model has no capability.
# limit: 240
. ./lib.sh

[ "$DM_KIND" = xenpvh ] || { skip 'dm_restrict: our confinement'; exit 0; }
bridge_create xenbr0 10.9.0.1/24
disk=$(image disk 16)
dd if=/dev/urandom of="$disk" bs=1M count=16 conv=notrunc 2>/dev/null
CFG_EXTRA='dm_restrict=1
device_model_user="xenpvh"'
guest_create g0 256 2 -device virtio-blk-pci,drive=d0 -drive "if=none,id=d0,file=$disk,format=raw" \
	-device virtio-net-pci,netdev=n0 -netdev type=tap,id=n0,ifname=vif-g0,br=xenbr0,script=no,downscript=no \
	-device virtio-rng-pci || exit 1
ok 'xl create'
pid=$(dm_pid "$DOMID")
cp "/proc/$pid/status" "$LOGS/restrict-status"
for c in CapInh CapPrm CapEff CapAmb; do
	check_eq "$c" "$(awk "/^$c:/ { print \$2 }" "/proc/$pid/status")" 0000000000000000
done
check_eq 'NoNewPrivs' "$(awk '/^NoNewPrivs:/ { print $2 }' "/proc/$pid/status")" 1
check_eq 'disk checksum' "$(guest_run g0 'sha256sum </dev/vda' | cut -d' ' -f1)" "$(sha256sum <"$disk" | cut -d' ' -f1)"
check 'net' guest_run g0 'ip link set eth0 up; ip addr add 10.9.0.2/24 dev eth0; ping -q -c 20 -i 0.05 -W 5 10.9.0.1'
check 'xl destroy' guest_destroy g0
check_clean 'nothing left' "$DOMID" "$pid" vif-g0
