#!/bin/sh
# SPDX-License-Identifier: MIT
# Sockets between guest and host: streams and messages both ways, many connections, and the kernel's vhost-vsock in the
# device's place. $CONNECTIONS: how many each way, eight at a time.
# limit: 900
# needs: vsockpeer
. ./lib.sh

[ "$DM_KIND" = xenpvh ] || { skip 'vsock: our device'; exit 0; }
PEER=/rig/vsockpeer
: "${CONNECTIONS:=200}"
BYTES=2000000

# The guest gets the program as a disk.
size=$(stat -c %s $PEER)
cp $PEER "$TMP/peer.img"
truncate -s %512 "$TMP/peer.img"
with_program="-device virtio-blk-pci,drive=p -drive if=none,id=p,file=$TMP/peer.img,format=raw,readonly=on"

guest_prepare() {
	check 'the driver loads' guest_run g0 "head -c $size /dev/vda >/tmp/peer; chmod +x /tmp/peer
		modprobe vmw_vsock_virtio_transport; [ -c /dev/vsock ]
		/tmp/peer echo stream vsock:4294967295:5000 >/tmp/e1 2>&1 &
		/tmp/peer echo seqpacket vsock:4294967295:5001 >/tmp/e2 2>&1 &
		sleep 1; cat /tmp/e1 /tmp/e2; ! [ -s /tmp/e1 ] && ! [ -s /tmp/e2 ]"
}

# serve TYPE ADDRESS: an echo server of the host.
serve() {
	$PEER echo "$1" "$2" 2>>"$LOGS/peer" &
	echo $! >"$STATE/peer$!.pid"
}

# said TEXT COMMAND...: as check, and shows what the command printed.
said() {
	if check "$@"; then
		note "$(tr -d '\r' <"$STATE/check.out")"
	fi
}

both_ways() {
	for type in stream seqpacket; do
		port=5000
		[ $type = stream ] || port=5001
		said "$1: host to guest, $type" timeout 100 $PEER check $type "$(to_guest $port)" $BYTES
		said "$1: guest to host, $type" guest_run g0 "/tmp/peer check $type vsock:2:$((port + 1000)) $BYTES" 100
	done
	said "$1: $CONNECTIONS connections to the guest" timeout "$limit" $PEER storm stream "$(to_guest 5000)" "$CONNECTIONS"
	said "$1: $CONNECTIONS connections to the host" guest_run g0 "/tmp/peer storm stream vsock:2:6000 $CONNECTIONS" "$limit"
	check "$1: nobody there, host to guest" timeout 20 $PEER refused stream "$(to_guest 5999)"
	check "$1: nobody there, guest to host" guest_run g0 '/tmp/peer refused stream vsock:2:6999' 20
}
limit=$((60 + CONNECTIONS / 10))

note 'virtio-vsock-pci'
to_guest() {
	case $1 in
	5001) echo "unix:$TMP/v.sock.seqpacket:$1" ;;
	*) echo "unix:$TMP/v.sock:$1" ;;
	esac
}
# shellcheck disable=SC2086
guest_create g0 256 2 $with_program -device "virtio-vsock-pci,guest-cid=42,uds-path=$TMP/v.sock" || exit 1
dm=$(dm_pid "$DOMID")
guest_prepare
serve stream "unix:$TMP/v.sock_6000"
serve seqpacket "unix:$TMP/v.sock_6001.seqpacket"
open_files() {
	find "/proc/$dm/fd" -type l | wc -l
}
few_files() {
	[ "$(open_files)" -le "$files" ]
}
files=$(open_files)
both_ways unix
check 'no descriptor is left' wait_for 10 few_files
note "the device model: $(awk '/^Pss:/ { print $2 }' "/proc/$dm/smaps_rollup") KiB"
guest_destroy g0
check_clean 'nothing left' "$DOMID" "$dm"
check 'the socket files are gone' [ ! -e "$TMP/v.sock" ]

note 'vhost-vsock-pci'
if [ ! -c /dev/vhost-vsock ]; then
	skip 'vhost: there is no /dev/vhost-vsock'
	exit 0
fi
to_guest() {
	echo "vsock:43:$1"
}
# shellcheck disable=SC2086
guest_create g0 256 2 $with_program -device vhost-vsock-pci,guest-cid=43 || exit 1
guest_prepare
serve stream vsock:2:6000
serve seqpacket vsock:2:6001
both_ways vhost
dm=$(dm_pid "$DOMID")
guest_destroy g0
check_clean 'nothing left' "$DOMID" "$dm"
