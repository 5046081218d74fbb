#!/bin/sh
# SPDX-License-Identifier: MIT
# The small devices with Linux' own drivers: the balloon's statistics, the report of a panic; edu's registers, by hand.
# limit: 240
. ./lib.sh

[ "$DM_KIND" = xenpvh ] || { skip 'devices of ours'; exit 0; }
guest_create g0 512 1 -device virtio-balloon-pci,id=b0 -device pvpanic-pci -device edu,addr=1e.0 -device pci-testdev,addr=1f.0 || exit 1
talk_qmp

# The balloon: asked for each second.
check 'virtio_balloon' guest_run g0 'modprobe virtio_balloon && ls /sys/bus/virtio/drivers/virtio_balloon | grep -q "^virtio[0-9]"'
say qmp '{"execute": "qom-set", "arguments": {"path": "/machine/peripheral/b0", "property": "guest-stats-polling-interval", "value": 1}}'
# stat NAME: a statistic, from the newest answer.
stat() {
	say qmp '{"execute": "qom-get", "arguments": {"path": "/machine/peripheral/b0", "property": "guest-stats"}}'
	grep -o "\"$1\": *[0-9-]*" "$TMP/qmp.out" | tail -n 1 | sed 's/.*: *//'
}
asked() {
	[ "$(stat last-update)" -ge "$1" ]
}
check 'it answers' wait_for 30 asked "$(date +%s)"
total=$(guest_run g0 "awk '/^MemTotal/ { print \$2 * 1024 }' /proc/meminfo")
check_eq 'stat-total-memory is MemTotal' "$(stat stat-total-memory)" "$total"

# edu: turns bits around, and multiplies.
edu=0000:00:1e.0
check_eq 'edu' "$(guest_run g0 "cd /sys/bus/pci/devices/$edu && echo 1 >enable && read -r bar _ <resource &&
	devmem \$((bar)) 32 && devmem \$((bar + 4)) 32 0x12345678 && devmem \$((bar + 4)) 32 &&
	devmem \$((bar + 8)) 32 6 && devmem \$((bar + 8)) 32" | tr -d '\r' | tr '\n' ' ')" '0x010000ED 0xEDCBA987 0x000002D0 '
check_eq 'pci-testdev' "$(guest_run g0 'cat /sys/bus/pci/devices/0000:00:1f.0/vendor /sys/bus/pci/devices/0000:00:1f.0/device' | tr -d '\r' | tr '\n' ' ')" \
	'0x1b36 0x0005 '

check 'pvpanic_pci' guest_run g0 'modprobe pvpanic_pci && ls /sys/bus/pci/drivers/pvpanic-pci | grep -q ^0000:'
guest_begin g0 'echo c >/proc/sysrq-trigger'
check 'a panic is reported' heard qmp GUEST_PANICKED
hush qmp
check 'and Xen hears of it, too' guest_gone g0 60
guest_detach g0
