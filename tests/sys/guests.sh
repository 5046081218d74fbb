#!/bin/sh
# SPDX-License-Identifier: MIT
# Guests whose tables or memory are not the usual ones: a kernel that wants its RSDP in low memory, so that the new tables
# get a page of their own; and memory below maxmem, saved and restored.
# limit: 400
. ./lib.sh

[ "$DM_KIND" = xenpvh ] || { skip 'our ACPI completion'; exit 0; }
disk=$(image disk 16)
dd if=/dev/urandom of="$disk" bs=1M count=16 conv=notrunc 2>/dev/null
sum=$(sha256sum <"$disk" | cut -d' ' -f1)
set -- -device virtio-blk-pci,drive=d0 -drive "if=none,id=d0,file=$disk,format=raw" -device virtio-rng-pci

# The same kernel without XENFEAT_linux_rsdp_unrestricted (bit 15) in its note XEN_ELFNOTE_SUPPORTED_FEATURES (17).
perl -0777 -pe 's/(\x04\0\0\0\x04\0\0\0\x11\0\0\0Xen\0)(.{4})/$1 . pack("V", unpack("V", $2) & ~0x8000)/se' \
	/guest/vmlinux >"$TMP/vmlinux"
check 'the note was found' eval '! cmp -s /guest/vmlinux "$TMP/vmlinux"'
guest_config old 256 1 "$@"
sed -i "s,^kernel=.*,kernel=\"$TMP/vmlinux\"," "$TMP/old.cfg"
guest_start old || exit 1
check 'RSDP in low memory' guest_run old 'dmesg | grep -q "ACPI: RSDP 0x00000000000FFFC0"'
check 'MCFG accepted before the bridge was found' guest_run old 'dmesg | grep -q "OS now controls .*PCIeHotplug"'
check_eq 'disk checksum' "$(guest_run old 'sha256sum </dev/vda' | cut -d' ' -f1)" "$sum"
guest_destroy old

guest_config small 256 2 "$@"
sed -i 's/^maxmem=.*/maxmem=512/' "$TMP/small.cfg"
guest_start small || exit 1
check_eq 'memory below maxmem: disk checksum' "$(guest_run small 'sha256sum </dev/vda' | cut -d' ' -f1)" "$sum"
pid=$(dm_pid "$DOMID") old=$DOMID
check 'xl save' timeout 100 xl save small "$TMP/small.save"
check_clean 'nothing left after save' "$old" "$pid"
guest_detach small
check 'xl restore' timeout 100 xl restore "$TMP/small.cfg" "$TMP/small.save"
guest_attach small || exit 1
check_eq 'restored: disk checksum' \
	"$(guest_run small 'echo 3 >/proc/sys/vm/drop_caches; sha256sum </dev/vda' 100 | cut -d' ' -f1)" "$sum"
guest_destroy small
