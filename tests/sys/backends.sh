#!/bin/sh
# SPDX-License-Identifier: MIT
# PV back ends that xl.cfg asks for and that the device model does not have: xl create fails at once, and the log says what
# to write instead. A guest that has only the empty CD-ROM and a console is started all the same.
# limit: 300
. ./lib.sh

[ "$DM_KIND" = xenpvh ] || { skip 'QEMU serves them'; exit 0; }
disk=$(image disk 16)

# refused NAME LINE TEXT: a configuration with LINE in the place of the CD-ROM.
refused() {
	CFG_TRIGGER=$2
	guest_config "$1" 256 1
	begin=$(uptime_ms)
	timeout 60 xl create "$TMP/$1.cfg" >"$LOGS/$1.create" 2>&1
	status=$?
	note "$1: xl create took $(($(uptime_ms) - begin)) ms, status $status"
	check "$1: xl create fails in time" [ "$status" -ne 0 -a "$status" -ne 124 ]
	log=/var/log/xen/qemu-dm-$1.log
	check_eq "$1: one line in the log" "$(grep -c . "$log")" 1
	check "$1: that says what to write" grep -qF "$3" "$log"
	check "$1: no domain is left" guest_gone "$1" 20
}

refused qdisk "disk=['format=raw,vdev=xvda,backendtype=qdisk,target=$disk']" \
	"xl.cfg has a qdisk disk 'xvda': this device model serves virtio disks only; write -drive/-device virtio-blk-pci in"
refused vfb "vfb=['vnc=0,sdl=0']" 'xl.cfg has a vfb: this device model has no display'
unset CFG_TRIGGER
guest_create good 256 1 -device virtio-rng-pci || exit 1
check 'the CD-ROM alone is fine' guest_run good 'true'
guest_destroy good
