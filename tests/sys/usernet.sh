#!/bin/sh
# SPDX-License-Identifier: MIT
# Networks without rights on the host: -netdev user on eth0, and a passt by its socket on eth1. The guest gets leases,
# reaches a server on dom0's loopback and serves dom0 through a forwarded port; passt ends and comes back.
# limit: 500
# needs: tools
. ./lib.sh
TOOLS=1

command -v passt >/dev/null || { skip 'passt is not installed'; exit 0; }

# passt copies the addresses of an interface with a default route, whoever is behind it.
ip tuntap add up0 mode tap
: >"$STATE/up0.link"
ip addr add 10.7.0.2/24 dev up0
ip link set up0 up
ip route add default via 10.7.0.1 dev up0
mkdir -m 777 "$TMP/passt"
passt_start() {
	rm -f "$TMP/passt/sock"
	passt --foreground --runas 65534:65534 --socket "$TMP/passt/sock" --ipv4-only --tcp-ports 127.0.0.1/2223 \
		>"$LOGS/passt.$1" 2>&1 </dev/null &
	PASST=$!
	echo $PASST >"$STATE/passt.pid"
	wait_for 20 test -S "$TMP/passt/sock"
}
check 'passt is there' passt_start 1

data=$(image data 4)
dd if=/dev/urandom of="$data" bs=1M count=4 conv=notrunc 2>/dev/null
sum=$(sha256sum <"$data" | cut -d' ' -f1)
# Opened anew for each connection: the side that forks comes first.
socat -U TCP4-LISTEN:7000,bind=127.0.0.1,reuseaddr,fork "FILE:$data" </dev/null &
echo $! >"$STATE/server.pid"

guest_create g0 512 2 \
	-netdev user,id=n0,hostname=guest0,hostfwd=tcp:127.0.0.1:2222-:2223 \
	-device virtio-net-pci,netdev=n0,mac=00:16:3e:00:00:01 \
	-object "filter-dump,id=f0,netdev=n0,file=$TMP/n0.pcap,maxlen=128" \
	-netdev "stream,id=n1,addr.type=unix,addr.path=$TMP/passt/sock,reconnect-ms=100" \
	-device virtio-net-pci,netdev=n1,mac=00:16:3e:00:00:02 || exit 1
pid=$(dm_pid "$DOMID")
# The helper of n0: the device model's child, and its own.
worker() {
	_keeper=$(cut -d' ' -f1 "/proc/$pid/task/$pid/children")
	cut -d' ' -f1 "/proc/$_keeper/task/$_keeper/children" 2>/dev/null
}
worker_has_library() {
	grep -q libslirp.so "/proc/$(worker)/maps" 2>/dev/null
}
has_no_library() {
	! grep -q libslirp.so "/proc/$pid/maps"
}
check 'libslirp is in a process of its own' wait_for 20 worker_has_library
check 'the device model has none of it' has_no_library
guest_run g0 'cat >/tmp/lease <<"END"
#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add "$ip/$mask" dev "$interface"
echo "lease $ip $router $hostname"
END
chmod 755 /tmp/lease; ip link set lo up; ip link set eth0 up; ip link set eth1 up
for i in 1 2 3 4 5 6 7 8; do echo "served by the guest"; done >/tmp/page
(while :; do nc -l -p 2223 </tmp/page >/dev/null 2>&1; done) </dev/null >/dev/null 2>&1 &'

# fetch ADDRESS: what dom0 serves on its loopback, as the guest sees it. Its own direction stays open until it has all.
fetch() {
	guest_run g0 "[ -p /tmp/hold ] || mkfifo /tmp/hold; nc $1 7000 <>/tmp/hold | sha256sum" 90 | cut -d' ' -f1
}
served() {
	[ "$(timeout 10 socat -u "TCP4:127.0.0.1:$1" - </dev/null | head -n 8 | grep -c 'served by the guest')" = 8 ]
}

lease=$(guest_run g0 'udhcpc -i eth0 -n -q -f -t 10 -s /tmp/lease 2>&1' 60 | grep '^lease')
check_eq 'lease of user' "$lease" 'lease 10.0.2.15 10.0.2.2 guest0'
check_eq '4 MiB from dom0 by user' "$(fetch 10.0.2.2)" "$sum"
check 'the guest serves dom0 by user' wait_for 20 served 2222
old=$(worker)
kill -9 "$old"
check_eq 'killed: 4 MiB from dom0 by user' "$(fetch 10.0.2.2)" "$sum"
check 'killed: the guest serves dom0 by user' wait_for 20 served 2222
check 'killed: it is another process' [ "$(worker)" != "$old" ]
# The other way: whole, and in segments that are larger than packets (nc writes pieces that are smaller).
socat -u TCP4-LISTEN:7001,bind=127.0.0.1,reuseaddr "CREATE:$TMP/up" &
echo $! >"$STATE/up.pid"
up=$(guest_run g0 'dd if=/dev/urandom of=/tmp/up bs=1M count=4 2>/dev/null; sha256sum </tmp/up; nc 10.0.2.2 7001 </tmp/up' 90 | cut -d' ' -f1)
check 'the server has all of it' wait_for 20 _process_gone "$(cat "$STATE/up.pid")"
check_eq '4 MiB to dom0 by user' "$(sha256sum <"$TMP/up" | cut -d' ' -f1)" "$up"
iperf3 -s -D -B 127.0.0.1 -I "$STATE/iperf.pid"
iperf3 -s -D -B ::1 -I "$STATE/iperf6.pid"
# packets DIRECTION IPERF-ARGUMENT...: their size on average.
packets() {
	_way=$1
	shift
	guest_run g0 "cd /sys/class/net/eth0/statistics; b=\$(cat ${_way}_bytes) p=\$(cat ${_way}_packets)
		iperf3 $* -n 8M >/dev/null && echo \$(((\$(cat ${_way}_bytes) - b) / (\$(cat ${_way}_packets) - p)))" 90
}
large() {
	_size=$(packets "$@")
	check "$*: packets of $_size bytes" [ "${_size:-0}" -gt 2000 ]
}
large tx -c 10.0.2.2
large rx -c 10.0.2.2 -R
check 'an IPv6 address by itself' guest_run g0 'for i in 1 2 3 4 5 6 7 8 9; do
	ip -6 addr show dev eth0 | grep -q "inet6 fec0:.* scope" && ! ip -6 addr show dev eth0 | grep -q tentative && exit 0; sleep 1; done; exit 1'
large tx -6 -c fec0::2
large rx -6 -c fec0::2 -R
# Datagrams as fast as they go, fewer than a socket's buffer holds: they may leave in runs, and none is lost.
burst=$(guest_run g0 'iperf3 -u -c 10.0.2.2 -b 0 -l 1000 -n 64K' 90 | awk '/receiver/ { print $(NF - 2) }')
note "a burst: $burst (lost/sent)"
check 'a burst of datagrams' [ "${burst%%/*}" = 0 ] && [ "${burst##*/}" -ge 60 ]
check 'a ping larger than the link carries' guest_run g0 'ping -c 3 -s 4000 10.0.2.2'
lease=$(guest_run g0 'udhcpc -i eth1 -n -q -f -t 10 -s /tmp/lease 2>&1' 60 | grep '^lease' | cut -d' ' -f1-3)
check_eq 'lease of passt' "$lease" 'lease 10.7.0.2 10.7.0.1'
check_eq '4 MiB from dom0 by passt' "$(fetch 10.7.0.1)" "$sum"
check 'the guest serves dom0 by passt' wait_for 20 served 2223

kill $PASST
wait $PASST 2>/dev/null
carrier_is() {
	[ "$(guest_run g0 "cat /sys/class/net/eth1/carrier" 20)" = "$1" ]
}
check 'without passt the cable is out' wait_for 30 carrier_is 0
check 'passt comes back' passt_start 2
check 'the cable is in' wait_for 30 carrier_is 1
check_eq '4 MiB from dom0 by passt again' "$(fetch 10.7.0.1)" "$sum"

note "PSS: $(awk '/^Pss:/ { print $2 }' "/proc/$pid/smaps_rollup") KiB"
guest_destroy g0
check_eq 'the dump is one of libpcap' "$(od -An -tx4 -N4 "$TMP/n0.pcap" | tr -d ' ')" a1b2c3d4
check 'and holds the frames' [ "$(stat -c %s "$TMP/n0.pcap")" -gt 100000 ]
