#!/bin/sh
# SPDX-License-Identifier: MIT
# Two cards side by side, one served by the kernel's vhost-net and one by the device model: data both ways, MTU 9000, several
# queues, ballooning, reboot and destroy; and what the device model's own threads spend on the same traffic.
# limit: 700
# needs: tools
. ./lib.sh
TOOLS=1

[ "$DM_KIND" = xenpvh ] || { skip 'xenpvh only'; exit 0; }
# A guest that balloons leaves its memory in many pieces.
modprobe -r vhost_net vhost_vsock vhost 2>/dev/null
modprobe vhost max_mem_regions=509 && modprobe vhost_net || { skip 'no vhost_net here'; exit 0; }
bridge_create xenbr0 10.9.0.1/24 9000
bridge_create xenbr1 10.9.1.1/24 9000
create() {
	guest_create g0 512 2 \
		-device virtio-net-pci,netdev=n0,id=nic0,mac=00:16:3e:00:00:01,mq=on,host_mtu=9000 \
		-netdev tap,id=n0,ifname=vif-g0,br=xenbr0,script=no,downscript=no,queues=2,vhost=on,vhostforce=on \
		-device virtio-net-pci,netdev=n1,id=nic1,mac=00:16:3e:00:00:02,mq=on,host_mtu=9000 \
		-netdev tap,id=n1,ifname=vif-g1,br=xenbr1,script=no,downscript=no,queues=2 || exit 1
	up
}
up() {
	pid=$(dm_pid "$DOMID")
	ip link set vif-g0 mtu 9000
	ip link set vif-g1 mtu 9000
	check 'both cards' guest_run g0 'for i in 0 1; do for d in /sys/class/net/eth*; do
		grep -qx 00:16:3e:00:00:0$((i + 1)) $d/address || continue
		ip link set ${d##*/} name net$i; ip link set net$i mtu 1500 up; ip addr add 10.9.$i.2/24 dev net$i; done; done
		ip link show net0 && ip link show net1'
}

# CPU time of the device model in microseconds: its own threads, and the kernel's for vhost.
own_cpu() {
	for _t in /proc/$pid/task/*; do
		case $(cat "$_t/comm") in vhost-*) [ "$1" = vhost ] ;; *) [ "$1" = own ] ;; esac && cat "$_t/schedstat"
	done | awk '{ s += $1 } END { printf "%d\n", s / 1000 }'
}

# spend TEXT COMMAND: runs it in the guest for card 0 (vhost) and card 1; what a frame costs the device model (ns, $own0 and
# $own1), and what the kernel's threads took (us, $vhost0 and $vhost1).
spend() {
	for i in 0 1; do
		_d=/sys/class/net/vif-g$i/statistics
		_f=$(($(cat $_d/rx_packets) + $(cat $_d/tx_packets))) _o=$(own_cpu own) _v=$(own_cpu vhost)
		check "$1, card $i" guest_run g0 "$(echo "$2" | sed "s/HOST/10.9.$i.1/") >/tmp/out || { cat /tmp/out; false; }" 90
		_f=$(($(cat $_d/rx_packets) + $(cat $_d/tx_packets) - _f)) _o=$(($(own_cpu own) - _o)) _v=$(($(own_cpu vhost) - _v))
		note "$1, card $i: $_f frames, $_o us of the device model, $_v us of vhost"
		eval "own$i=\$((_o * 1000 / (_f + 1))) vhost$i=$_v"
	done
	note "$1: $own0 against $own1 ns of the device model per frame"
}

create
iperf3 -s -D -I "$STATE/iperf.pid"
check 'served by vhost' [ "$(grep -l '^vhost-' /proc/$pid/task/*/comm | wc -l)" -gt 0 ]
check 'no warning' sh -c "! grep -i 'vhost' /var/log/xen/qemu-dm-g0.log"
spend 'small frames to the guest' 'iperf3 -u -c HOST -t 2 -l 64 -b 0 -R'
check 'the kernel does the work' [ "$vhost0" -gt $((vhost1 * 5 + 1000)) ]
spend 'small frames to the host' 'iperf3 -u -c HOST -t 2 -l 64 -b 0'
spend 'data to the host' 'iperf3 -c HOST -t 2'
spend 'data to the guest' 'iperf3 -c HOST -t 2 -R'
check 'MTU 9000' guest_run g0 'ip link set net0 mtu 9000 && ping -q -c 10 -i 0.02 -s 8972 -M do -W 5 10.9.0.1' 60
check 'two queues' guest_run g0 'ethtool -L net0 combined 2 && ping -q -c 10 -i 0.02 -W 5 10.9.0.1'
check 'data on both' guest_run g0 'iperf3 -c 10.9.0.1 -t 2 -P 4 >/tmp/out || { cat /tmp/out; false; }' 60
check 'and one again' guest_run g0 'ethtool -L net0 combined 1 && ping -q -c 10 -i 0.02 -W 5 10.9.0.1'
check 'down and up' guest_run g0 'ip link set net0 down; ip link set net0 up; ping -q -c 5 -i 0.1 -W 5 10.9.0.1' 60
check 'pause' xl pause g0
check 'unpause' xl unpause g0
check 'balloon down' xl mem-set g0 400
check 'frames meanwhile' guest_run g0 'ping -q -c 50 -i 0.02 -W 5 10.9.0.1' 60
check 'balloon up' xl mem-set g0 512
check 'frames afterwards' guest_run g0 'ping -q -c 50 -i 0.02 -W 5 10.9.0.1 && iperf3 -c 10.9.0.1 -t 2 >/tmp/out || { cat /tmp/out; false; }' 60
# Mapping a guest anew is seconds of work in an emulated machine, and vhost waits for ten times that after the last change.
served_again() {
	_vhost=$(own_cpu vhost)
	guest_run g0 'ping -q -c 20 -i 0.02 -W 5 10.9.0.1' >/dev/null
	[ "$(own_cpu vhost)" -gt "$_vhost" ]
}
begin=$(uptime_ms)
check 'vhost comes back after ballooning' wait_for 150 served_again
note "$((($(uptime_ms) - begin) / 1000)) s after the last frames"
spend 'small frames after ballooning' 'iperf3 -u -c HOST -t 2 -l 64 -b 0 -R'
check 'the kernel does the work again' [ "$vhost0" -gt $((vhost1 * 5 + 1000)) ]

old=$DOMID oldpid=$pid
_console_mark g0
check 'xl reboot' xl reboot g0
renewed() { _new=$(xl domid g0) && [ "$_new" != "$old" ] && xenstore-read "/local/domain/$_new/console/tty"; }
if wait_for 60 renewed && guest_attach g0 && guest_ready g0; then
	check_clean 'nothing left of the old one' "$old" "$oldpid"
	up
	check 'frames after the reboot' guest_run g0 'ping -q -c 20 -i 0.02 -W 5 10.9.0.1' 60
else
	fail 'no new domain after reboot'
fi
check 'destroy' guest_destroy g0
check_clean 'nothing left' "$DOMID" "$pid" vif-g0
