#!/bin/sh
# SPDX-License-Identifier: MIT
# The life of a stock guest with a disk, a net and an entropy source: everything xl does to it, and that nothing
# is left of it.
# limit: 600
. ./lib.sh

bridge_create xenbr0 10.9.0.1/24
disk=$(image disk 16)
dd if=/dev/urandom of="$disk" bs=1M count=16 conv=notrunc 2>/dev/null
sum=$(sha256sum <"$disk" | cut -d' ' -f1)

create() {
	guest_create g0 256 2 \
		-device virtio-blk-pci,drive=d0,serial=rig0 -drive "if=none,id=d0,file=$disk,format=raw" \
		-device virtio-net-pci,netdev=n0,mac=00:16:3e:00:00:01 \
		-netdev type=tap,id=n0,ifname=vif-g0,br=xenbr0,script=no,downscript=no \
		-device virtio-rng-pci || exit 1
	pid=$(dm_pid "$DOMID")
	tap_ready vif-g0 xenbr0
}

guest_sum() {
	guest_run g0 'sha256sum </dev/vda' | cut -d' ' -f1
}

# Devices write to memory behind Xen's back, so Xen must refuse a live migration at its start (src/xen/migration.c): the
# guest is not even suspended, and nobody waits at the other end.
migration_refused() {
	timeout 60 xl migrate -s '' g0 'xl migrate-receive' >"$TMP/migrate" 2>&1
	_status=$?
	cp "$TMP/migrate" "$LOGS/migrate"
	[ $_status -eq 1 ] && grep 'Failed to enable logdirty.*Device or resource busy' "$TMP/migrate"
}
domains() { xl list | awk 'NR > 1 { print $1, $2 }' | tr '\n' ';'; }
suspends() { guest_run g0 'dmesg | grep -c -i suspend'; }

set_net='ip link set eth0 up; ip addr add 10.9.0.2/24 dev eth0'
ping='ping -q -c 20 -i 0.05 -W 5 10.9.0.1'

create
ok 'xl create'
check_eq 'PCI tree' "$(guest_run g0 'lspci -n' | awk '{ print $1, $3 }' | sort | tr '\n' ';')" \
	"$(printf '00:00.0 1b36:0008;00:01.0 1af4:%s;00:02.0 1af4:%s;00:03.0 1af4:%s;' \
	$([ "$DM_KIND" = qemu ] && echo 1001 1000 1005 || echo 1042 1041 1044))"
check_eq 'serial' "$(guest_run g0 'cat /sys/block/vda/serial')" rig0
check_eq 'disk checksum' "$(guest_sum)" "$sum"
check 'entropy' guest_run g0 'cat /sys/class/misc/hw_random/rng_current | grep virtio &&
	dd if=/dev/hwrng bs=64 count=1 2>/dev/null | wc -c | grep -qx 64'
check 'the tap is in the bridge' tap_joined vif-g0 xenbr0
check 'net' guest_run g0 "$set_net; $ping"

# xl console, on a terminal of its own: what is typed reaches the guest and its answer comes back.
guest_detach g0
mkfifo "$TMP/keys"
script -qfc 'xl console g0' /dev/null <"$TMP/keys" >"$TMP/console" 2>&1 &
console=$!
exec 4>"$TMP/keys"
echo "7001 $(printf 'echo typed-$((40 + 2))' | base64 -w0)" >&4
check 'xl console' wait_for 30 grep -q typed-42 "$TMP/console"
kill $console
exec 4>&-
guest_attach g0

check 'xl pause' xl pause g0
check_eq 'paused' "$(xl list g0 | awk 'NR == 2 { print substr($5, 3, 1) }')" p
check 'xl unpause' xl unpause g0
check_eq 'it goes on' "$(guest_run g0 'echo yes')" yes

check 'xentop' sh -c 'xentop -b -i 1 -v | grep -w g0'

# Disk and net are in use when the guest is saved, and go on afterwards.
guest_run g0 '(while :; do dd if=/dev/vda of=/dev/null bs=64k iflag=direct 2>/dev/null; echo x >>/tmp/rounds; done) >/dev/null 2>&1 &
	echo kept >/tmp/memory'
rounds() { [ "$(guest_run g0 'wc -l </tmp/rounds')" -gt "${before:-0}" ]; }
if [ "$DM_KIND" = xenpvh ]; then
	page=$(printf '0x%x' $((0xfeff8 * 4096)))
	word=$(guest_run g0 "busybox devmem $page 32")
	check_eq 'writes to the page that keeps Xen from it are dropped' "$(guest_run g0 "for i in 1 2 3; do
		for w in 8 16 32 64; do busybox devmem $page \$w 0x5\$i; done; done; busybox devmem $page 32")" "${word:-none}"
	here=$(domains)
	before=$(guest_run g0 'wc -l </tmp/rounds')
	check 'xl migrate is refused' migration_refused
	check_eq 'no other domain' "$(domains)" "$here"
	check_eq 'the guest was not suspended' "$(suspends)" 0
	check 'reading went on' wait_for 60 rounds
	check 'net after the refusal' guest_run g0 "$ping"
	check_eq 'disk checksum after the refusal' "$(guest_sum)" "$sum"
	check 'xl save -c' timeout 120 xl save -c g0 "$TMP/g0.save"
	check_eq 'that suspended it' "$(suspends | awk '{ print ($1 > 0) }')" 1
	check_eq 'disk checksum after the checkpoint' "$(guest_sum)" "$sum"
	rm -f "$TMP/g0.save"
fi
check 'xl save' timeout 120 xl save g0 "$TMP/g0.save"
check_clean 'nothing left after save' "$DOMID" "$pid" vif-g0
_console_mark g0
if check 'xl restore' timeout 120 xl restore "$TMP/g0.save" && guest_attach g0; then
	pid=$(dm_pid "$DOMID")
	tap_ready vif-g0 xenbr0
	check_eq 'the guest remembers' "$(guest_run g0 'cat /tmp/memory')" kept
	before=$(guest_run g0 'wc -l </tmp/rounds')
	[ "$DM_KIND" != xenpvh ] || check 'xl migrate is refused again' migration_refused
	check 'writing and flushing' guest_run g0 'dd if=/dev/zero of=/dev/vda bs=4k count=8 oflag=direct conv=fsync'
	check_eq 'written data' "$(dd if="$disk" bs=4k count=8 2>/dev/null | tr -d '\0' | wc -c)" 0
	check 'reading goes on' wait_for 60 rounds
	check 'net after restore' guest_run g0 "$ping"
fi
rm -f "$TMP/g0.save"
sum=$(sha256sum <"$disk" | cut -d' ' -f1)

old=$DOMID
oldpid=$pid
_console_mark g0
check 'xl reboot' xl reboot g0
renewed() { _new=$(xl domid g0) && [ "$_new" != "$old" ] && xenstore-read "/local/domain/$_new/console/tty"; }
if wait_for 60 renewed && guest_attach g0 && guest_ready g0; then
	ok 'up again'
	check_clean 'nothing left of the old one' "$old" "$oldpid"
	pid=$(dm_pid "$DOMID")
	check_eq 'disk checksum after reboot' "$(guest_sum)" "$sum"
	check 'xl shutdown' xl shutdown g0
	check 'gone' guest_gone g0
	check_clean 'nothing left after shutdown' "$DOMID" "$pid" vif-g0
else
	fail 'no new domain after reboot'
fi
guest_detach g0

create
check 'xl destroy' guest_destroy g0
check_clean 'nothing left after destroy' "$DOMID" "$pid" vif-g0
