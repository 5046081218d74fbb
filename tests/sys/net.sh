#!/bin/sh
# SPDX-License-Identifier: MIT
# A net over a tap with four queues: offloads on, bulk data both ways in large segments, and MTU 9000.
# limit: 400
# needs: tools
. ./lib.sh
TOOLS=1

bridge_create xenbr0 10.9.0.1/24 9000
extra=
[ "$DM_KIND" = qemu ] && ip tuntap add vif-g0 mode tap multi_queue vnet_hdr && : >"$STATE/vif-g0.link"
guest_create g0 512 4 \
	-device virtio-net-pci,netdev=n0,mac=00:16:3e:00:00:01,mq=on,vectors=10,host_mtu=9000$extra \
	-netdev type=tap,id=n0,ifname=vif-g0,br=xenbr0,script=no,downscript=no,queues=4,vhost=off || exit 1
tap_ready vif-g0 xenbr0
ip link set vif-g0 mtu 9000
check 'address' guest_run g0 'ip link set eth0 mtu 1500 up; ip addr add 10.9.0.2/24 dev eth0; cat /sys/class/net/eth0/address |
	grep -qx 00:16:3e:00:00:01'
guest_run g0 'ethtool -k eth0' >"$LOGS/net-features"
for f in rx-checksumming tx-checksumming tcp-segmentation-offload generic-receive-offload; do
	check "$f" grep -q "^$f: on" "$LOGS/net-features"
done
check 'four queues' guest_run g0 'ethtool -L eth0 combined 4 2>/dev/null; ethtool -l eth0 | awk "/Combined/ { c = \$2 } END { exit c != 4 }"'
check 'large and small pings' guest_run g0 'ping -q -c 50 -i 0.02 -W 5 10.9.0.1 && ping -q -c 20 -i 0.02 -s 20000 -W 5 10.9.0.1' 90

iperf3 -s -D -I "$STATE/iperf.pid"
# Segments larger than the MTU on the tap say that the offloads are used, not just announced.
mean() {
	_d=/sys/class/net/vif-g0/statistics
	echo $((($(cat $_d/$1_bytes) - $2) / ($(cat $_d/$1_packets) - $3 + 1)))
}
for way in '' '-R'; do
	side=rx
	[ -z "$way" ] || side=tx
	b=$(cat /sys/class/net/vif-g0/statistics/${side}_bytes) p=$(cat /sys/class/net/vif-g0/statistics/${side}_packets)
	check "iperf3${way:+ }$way" guest_run g0 "iperf3 -c 10.9.0.1 -t 5 -P 4 $way >/tmp/iperf || { cat /tmp/iperf; false; }" 60
	note "$(guest_run g0 'grep SUM.*receiver /tmp/iperf')"
	size=$(mean $side "$b" "$p")
	check "segments of $size bytes at an MTU of 1500" [ "$size" -gt 2000 ]
done
check 'MTU 9000' guest_run g0 'ip link set eth0 mtu 9000 && ping -q -c 20 -i 0.02 -s 8972 -M do -W 5 10.9.0.1' 60
check 'data at MTU 9000' guest_run g0 'iperf3 -c 10.9.0.1 -t 3 >/tmp/iperf || { cat /tmp/iperf; false; }' 60
check 'down and up again' guest_run g0 'ip link set eth0 down; ip link set eth0 up; ping -q -c 5 -i 0.1 -W 5 10.9.0.1' 60
guest_destroy g0
