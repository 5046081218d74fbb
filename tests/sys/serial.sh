#!/bin/sh
# SPDX-License-Identifier: MIT
# Consoles and serial ports: a shell on a virtconsole, the guest agent on a virtserialport, a port that comes and goes,
# and the channels of xl.cfg, for which the guest must not wait.
# limit: 500
# needs: family
. ./lib.sh
TOOLS=family

CFG_EXTRA="channel=[\"name=org.rig.socket,connection=socket,path=$TMP/channel\",\"name=org.rig.pty,connection=pty\"]"
# The channels alone make libxl start the device model.
CFG_TRIGGER='' CMDLINE='loglevel=6'
begin=$(uptime_ms)
guest_create g0 512 2 \
	-device virtio-serial-pci,id=vser0 \
	-chardev "socket,id=con,path=$TMP/con,server=on,wait=off" -device virtconsole,chardev=con,name=rig \
	-chardev "socket,id=ga,path=$TMP/ga,server=on,wait=off" \
	-device virtserialport,chardev=ga,name=org.qemu.guest_agent.0,id=ga0 \
	-chardev "socket,id=hot,path=$TMP/hot,server=on,wait=off" || {
	xenstore-ls -f | grep console >"$LOGS/consoles"
	exit 1
}
pid=$(dm_pid "$DOMID")
ok "xl create with two channels, $((($(uptime_ms) - begin) / 1000)) s to the guest's init"
check_eq 'the guest waits for no PV device' "$(guest_run g0 'dmesg | grep -c "Waiting for devices to initialise"')" 0
for n in 1 2; do
	check_eq "PV console $n is connected" "$(xenstore-read "/local/domain/$DOMID/device/console/$n/state")" 4
done

guest_run g0 'modprobe virtio_console; cat >/tmp/ports <<-"END"
	for d in /sys/class/virtio-ports/*; do
		[ "$(cat $d/name)" = "$1" ] && echo /dev/${d##*/}
	done
END'
port() {
	guest_run g0 "for i in 1 2 3 4 5 6 7 8 9 10; do p=\$(sh /tmp/ports $1); [ -n \"\$p\" ] && break; usleep 200000; done; echo \$p"
}
ga=$(port org.qemu.guest_agent.0)
check_eq 'names of the ports' "$(guest_run g0 'cat /sys/class/virtio-ports/*/name' | sort | tr '\n' ' ')" \
	'org.qemu.guest_agent.0 org.rig.pty org.rig.socket rig '

# The console: which hvc it is says the one whose text arrives.
talk con "UNIX-CONNECT:$TMP/con"
guest_run g0 'for n in 1 2 3 4; do (echo "this is hvc$n" >/dev/hvc$n) 2>/dev/null & done'
check 'output of the virtconsole' heard con 'this is hvc'
hvc=$(sed -n 's/.*this is \(hvc[0-9]\).*/\1/p' "$TMP/con.out" | tail -n 1)
guest_run g0 "setsid -c sh -l </dev/$hvc >/dev/$hvc 2>&1 &"
say con 'echo sum-$((40 + 2)); uname -r'
check "a shell on $hvc" heard con sum-42
note "$(tr -d '\r' <"$TMP/con.out" | grep -A1 '^sum-42' | tr '\n' ' ')"
# Linux writes 16 bytes at a time to a console and waits for each.
say con "seq 1 300 >/tmp/seq; cat /tmp/seq; echo e''nd"
check 'much at once through the console' heard con '^end' 90
check_eq 'lines of it' "$(tr -d '\r' <"$TMP/con.out" | grep -c '^[0-9][0-9]*$')" 300

# The guest agent.
talk ga "UNIX-CONNECT:$TMP/ga"
guest_run g0 "mkdir -p /run /var/run; qemu-ga -d -m virtio-serial -p $ga -t /tmp -f /tmp/ga.pid -l /tmp/ga.log"
say ga '{"execute": "guest-sync", "arguments": {"id": 4711}}'
check 'guest-sync' heard ga '"return": *4711'
say ga '{"execute": "guest-ping"}'
check 'guest-ping' heard ga '"return": *{}'
say ga '{"execute": "guest-info"}'
check 'guest-info' heard ga '"version"'
note "$(sed -n 's/.*\("version": *"[^"]*"\).*/\1/p' "$TMP/ga.out" | head -n 1)"

# QMP, through libxl's second monitor.
talk_qmp
say qmp '{"execute": "query-chardev"}'
check 'query-chardev' heard qmp '"label": "ga"'
note "$(grep -o '"label": "[a-z]*[^}]*' "$TMP/qmp.out" | tr '\n' ';' | cut -c1-400)"
say qmp '{"execute": "device_add", "arguments": {"driver": "virtserialport", "id": "h0", "bus": "vser0.0", "chardev": "hot", "name": "org.rig.hot"}}'
hot=$(port org.rig.hot)
check 'hot-added port' [ -n "$hot" ]
talk hot "UNIX-CONNECT:$TMP/hot"
guest_begin g0 "read -r l <$hot; echo \"echo:\$l\" >$hot"
say hot 'over the hot port'
check 'it works' heard hot 'echo:over the hot port'
guest_end g0 30
check 'VSERPORT_CHANGE' heard qmp 'VSERPORT_CHANGE'
say qmp '{"execute": "device_del", "arguments": {"id": "h0"}}'
check 'DEVICE_DELETED' heard qmp 'DEVICE_DELETED'
check 'it is gone from the guest' guest_run g0 "for i in 1 2 3 4 5 6 7 8 9 10; do [ -e $hot ] || exit 0; usleep 200000; done; exit 1"
say con 'echo still-$((1 + 1))'
check 'the others go on' heard con still-2

# The channels.
tty=$(grep -o 'libxl-channel[0-9]*", "filename": "pty:[^"]*' "$TMP/qmp.out" | sed 's/.*pty://' | head -n 1)
[ -n "$tty" ] || tty=$(grep -o '"pty:/dev/pts/[0-9]*' "$TMP/qmp.out" | sed 's/.*pty://' | head -n 1)
talk socket "UNIX-CONNECT:$TMP/channel"
talk pty "$tty,raw,echo=0"
for c in socket pty; do
	p=$(port org.rig.$c)
	guest_begin g0 "read -r l <$p; echo \"echo:\$l\" >$p; usleep 200000"
	say $c "over the $c"
	check "channel, $c" heard $c "echo:over the $c"
	guest_end g0 30
done
note "$(xl channel-list g0 | tr '\n' ';')"

# Everything lets go of the driver, and it comes back.
say con exit
check 'the driver goes and comes' guest_run g0 'kill "$(cat /tmp/ga.pid)"
	d=/sys/bus/virtio/drivers/virtio_console
	all=$(ls $d | grep "^virtio[0-9]")
	for v in $all; do echo $v >$d/unbind; done
	ls /dev/vport* 2>/dev/null && exit 1
	for v in $all; do echo $v >$d/bind; done
	for i in 1 2 3 4 5 6 7 8 9 10; do sh /tmp/ports rig | grep -q vport && exit 0; usleep 300000; done
	exit 1'
for c in con ga hot qmp socket pty; do
	hush $c
done
id=$DOMID begin=$(uptime_ms)
guest_destroy g0
note "xl destroy: $(($(uptime_ms) - begin)) ms"
check_clean 'nothing is left' "$id" "$pid"
