# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# What scenarios are written with. A scenario sources this file first. It runs as root in the control
# domain of the rig, in /rig/tests/sys, and reports with ok, fail, check and skip; whatever it does not clean
# up (guests, taps, processes) is removed when it ends.
#
# Guests: guest_create NAME MIB VCPUS [DM ARGUMENT]... boots the stock kernel with the rig's initramfs, and
# guest_run NAME COMMAND runs a command in it, through its Xen console. $DOMID is that of the last create.

. /rig/env
TMP=/scratch/$(basename "$0" .sh)
STATE=/run/rig
LOGS=$LOGS/$(basename "$0" .sh)
mkdir -p "$TMP" "$STATE" "$LOGS"
rm -f "$STATE"/*
DM=/rig/xenpvh
[ "$DM_KIND" = qemu ] && DM=/usr/libexec/xen-qemu-system-i386
PS4='+ '
DOMID=
: "${CREATE_LIMIT:=90}"

# --- verdicts

ok() {
	echo "ok - $*"
}

fail() {
	echo "not ok - $*"
}

skip() {
	echo "skip - $*"
}

note() {
	echo "# $*"
}

# check TEXT COMMAND...: the verdict is the command's status; its standard error is in the scenario's trace.
check() {
	_text=$1
	shift
	if "$@" >"$STATE/check.out"; then
		ok "$_text"
	else
		fail "$_text"
		tail -n 12 "$STATE/check.out" | cut -c1-160 | sed 's/^/#   /' | tr -d '\r'
		return 1
	fi
}

# check_eq TEXT GOT WANTED
check_eq() {
	if [ "$2" = "$3" ]; then
		ok "$1"
	else
		fail "$1: got '$2', want '$3'"
		return 1
	fi
}

die() {
	fail "$*"
	exit 1
}

# wait_for SECONDS COMMAND...: until the command succeeds; its status at the end.
wait_for() {
	_end=$(($(date +%s) + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$(date +%s)" -lt "$_end" ] || return 1
		usleep 50000
	done
}

uptime_ms() {
	read -r _up _ </proc/uptime
	echo "${_up%.*}${_up#*.}0"
}

# --- guests

cleanup() {
	set +x
	cp /var/log/xen/qemu-* /var/log/xen/xl-* /var/log/xen/console/* "$LOGS" 2>/dev/null
	rm -f /var/log/xen/qemu-* /var/log/xen/xl-*
	for _d in $(xl list 2>/dev/null | awk 'NR > 1 && $2 != 0 { print $2 }'); do
		xl destroy "$_d" >/dev/null 2>&1
	done
	rm -f /var/log/xen/console/guest-*
	for _p in "$STATE"/*.pid; do
		[ -f "$_p" ] && kill "$(cat "$_p")" 2>/dev/null
	done
	for _l in "$STATE"/*.link; do
		[ -f "$_l" ] && ip link del "$(basename "$_l" .link)" 2>/dev/null
	done
	rm -rf "$TMP"
}
trap cleanup EXIT
trap 'exit 1' TERM INT HUP
exec 3>&1 # what is shown, also from within $(...)
set -x

_quote_list() {
	_sep=
	for _a in "$@"; do
		printf '%s"%s"' "$_sep" "$_a"
		_sep=,
	done
}

_guest_initrd() {
	_i=/run/guest-$DM_KIND$TOOLS.initrd
	if [ ! -f "$_i" ]; then
		_parts=/guest/base.cpio
		[ "$DM_KIND" = qemu ] && _parts="/rig/guest/acpi.cpio $_parts"
		case $TOOLS in
		'') ;;
		family) _parts="$_parts /rig/guest/family.cpio" ;;
		*) _parts="$_parts /rig/guest/tools.cpio" ;;
		esac
		cat $_parts /rig/guest/init.cpio >"$_i"
	fi
	echo "$_i"
}

# Each vCPU stays on one of the emulated machine's CPUs 1 and 2 (dom0 has 0): a vCPU that moves between emulated CPUs
# sometimes dies of a triple fault (seen with QEMU 7.2 in place of real hardware, whatever the device model).
_vcpu_pins() {
	_p=1
	for _v in $(seq "$1"); do
		printf '"%s",' $_p
		_p=$((3 - _p))
	done
}

# guest_config NAME MIB VCPUS [DM ARGUMENT]...: writes $TMP/NAME.cfg. $CFG_EXTRA is appended; $CFG_TRIGGER, when
# set, takes the place of the line that makes libxl start a device model; $CMDLINE goes to the guest's kernel. With
# TOOLS=1 the guest has fio and iperf3, with TOOLS=family a C compiler (tcc), make, socat and qemu-ga; it needs 512 MiB then.
guest_config() {
	_name=$1 _mem=$2 _cpus=$3
	shift 3
	# See tools/rig/riglib/emulator.py: several vCPUs do not always live there.
	[ "$RELEASE" = bookworm ] && _cpus=1
	cat >"$TMP/$_name.cfg" <<-END
		name="$_name"
		type="pvh"
		kernel="/guest/vmlinux"
		ramdisk="$(_guest_initrd)"
		cmdline="console=hvc0 loglevel=4 mitigations=off tsc=reliable pci=noearly 8250.nr_uarts=0 rcupdate.rcu_cpu_stall_suppress=1 $CMDLINE"
		memory=$_mem
		maxmem=$_mem
		vcpus=$_cpus
		cpus=[$(_vcpu_pins "$_cpus")]
		device_model_version="qemu-xen"
		device_model_override="$DM"
		${CFG_TRIGGER-disk=['vdev=hdd,devtype=cdrom,backendtype=qdisk,format=empty']}
	END
	if [ "$DM_KIND" = qemu ]; then
		set -- "$@" -smp "$_cpus"
		echo "device_model_args_pv=[\"-machine\",\"$(qemu_machine "$_mem")\"]" >>"$TMP/$_name.cfg"
	fi
	if [ $# -gt 0 ]; then
		echo "device_model_args=[$(_quote_list "$@")]" >>"$TMP/$_name.cfg"
	fi
	[ -z "$CFG_EXTRA" ] || echo "$CFG_EXTRA" >>"$TMP/$_name.cfg"
}

# The memory map of a stock guest in QEMU's words; the windows are those of the rig's SSDT for QEMU.
qemu_machine() {
	_low=$(($1 * 1048576)) _high=0
	if [ $_low -gt $((0xfc000000)) ]; then
		_high=$((_low - 0xfc000000))
		_low=$((0xfc000000))
	fi
	printf 'xenpvh,ram-low-base=0,ram-low-size=%s,ram-high-base=4294967296,ram-high-size=%s,' $_low $_high
	printf 'pci-ecam-base=824633720832,pci-ecam-size=268435456,pci-mmio-base=4244635648,pci-mmio-size=25165824,'
	printf 'pci-mmio-high-base=824902156288,pci-mmio-high-size=68719476736'
}

# guest_create: as guest_config, then xl create and the guest's own "ready". Status 1 (and a verdict) on failure.
guest_create() {
	guest_config "$@"
	guest_start "$1"
}

# guest_start NAME: xl create of the configuration written before.
guest_start() {
	_console_mark "$1"
	if ! timeout "$CREATE_LIMIT" xl create "$TMP/$1.cfg" >"$LOGS/$1.create" 2>&1; then
		fail "xl create $1"
		for _f in "$LOGS/$1.create" "/var/log/xen/qemu-dm-$1.log"; do
			tail -n 6 "$_f" 2>/dev/null | sed 's/^/#   /'
		done
		return 1
	fi
	guest_attach "$1" && guest_ready "$1"
}

_console_log() {
	echo "/var/log/xen/console/guest-$1.log"
}

# From here on only the console's later output counts.
_console_mark() {
	_size=$(stat -c %s "$(_console_log "$1")" 2>/dev/null || echo 0)
	echo $((_size + 1)) >"$STATE/$1.pos"
}

# console_text NAME: the console's output since the last mark.
console_text() {
	tail -c "+$(cat "$STATE/$1.pos")" "$(_console_log "$1")" 2>/dev/null | tr -d '\r'
}

_console_has() {
	console_text "$1" | grep -q "$2"
}

# guest_attach NAME: (again) takes the console of the running domain of that name.
guest_attach() {
	DOMID=$(xl domid "$1") || return 1
	_tty_node=/local/domain/$DOMID/console/tty
	wait_for 20 xenstore-read "$_tty_node" || { fail "$1 has no console"; return 1; }
	_tty=$(xenstore-read "$_tty_node")
	stty -F "$_tty" raw -echo
	[ -f "$STATE/$1.pid" ] && kill "$(cat "$STATE/$1.pid")" 2>/dev/null
	cat "$_tty" >/dev/null &
	echo $! >"$STATE/$1.pid"
	echo "$_tty" >"$STATE/$1.tty"
}

# _has_or_dead NAME PATTERN: the console shows it, or there is no console any more.
_has_or_dead() {
	_console_has "$1" "$2" || ! kill -0 "$(cat "$STATE/$1.pid")"
}

# guest_ready NAME [SECONDS]: waits until its init serves.
guest_ready() {
	wait_for "${2:-150}" _has_or_dead "$1" '^@@READY' && _console_has "$1" '^@@READY' && return 0
	fail "$1 is not up (after at most ${2:-150} s)"
	console_text "$1" | tail -n 15 | sed 's/^/#   /'
	return 1
}

# guest_begin NAME COMMAND: starts a command in the guest; its number is in $_sequence.
guest_begin() {
	_sequence=$(uptime_ms)
	_console_mark "$1"
	printf '%s %s\n' $_sequence "$(printf '%s' "$2" | base64 -w0)" >"$(cat "$STATE/$1.tty")"
}

# _where NAME: where its vCPUs and the threads of its device models are, and how long each has run.
_where() {
	_id=$(xl domid "$1") || { echo 'the domain is gone'; return; }
	xl vcpu-list "$_id" | awk 'NR > 1 { print "vCPU " $3 ": " $5 ", " $6 " s" }'
	for _pid in $(dm_pid "$_id") $(cat "$STATE"/dm-*.pid 2>/dev/null); do
		for _t in /proc/"$_pid"/task/*; do
			echo "$(cat "$_t/comm"): $(cat "$_t/wchan"), $(awk '{ printf "%.2f", $1 / 1e9 }' "$_t/schedstat") s"
		done
	done
}

# _guest_stuck NAME: who waits for whom? Twice, as time that grows is a guest that runs and does not get on; in short in
# the output, the rest in the log.
_guest_stuck() {
	_where "$1" | sed 's/^/# stuck: /' >&3
	for _pid in $(dm_pid "$(xl domid "$1")") $(cat "$STATE"/dm-*.pid); do
		for _t in /proc/"$_pid"/task/*; do
			echo "== $_t $(cat "$_t/comm")"
			cat "$_t/syscall" "$_t/stack" "$_t/schedstat"
			grep ctxt "$_t/status"
		done
		grep -H . /proc/"$_pid"/fdinfo/*
	done
	xl debug-keys q
	xl debug-keys e
	sleep 3
	{ echo 'and 3 s later'; _where "$1"; console_text "$1" | tail -n 4 | cut -c1-120; } | sed 's/^/# stuck: /' >&3
	xl dmesg | tail -n 200
}

# guest_end NAME SECONDS: waits for the command begun last, prints its output; its status, 124 when time is up.
guest_end() {
	wait_for "$2" _has_or_dead "$1" "^@@E $_sequence "
	_console_has "$1" "^@@E $_sequence " || {
		echo "# $1: no answer after at most $2 s" >&2
		console_text "$1" | tail -n 20 >&2
		_guest_stuck "$1" >"$LOGS/$1.stuck-$_sequence" 2>&1
		return 124
	}
	console_text "$1" | sed -n "/^@@B $_sequence\$/,/^@@E $_sequence /p" | sed '1d;$d' | sed '${/^$/d}'
	return "$(console_text "$1" | sed -n "s/^@@E $_sequence //p")"
}

# guest_run NAME COMMAND [SECONDS]
guest_run() {
	guest_begin "$1" "$2"
	guest_end "$1" "${3:-60}"
}

# dm_pid DOMID: the device model's process.
dm_pid() {
	xenstore-read "/local/domain/$1/image/device-model-pid"
}

_domain_gone() {
	! xl domid "$1"
}

# guest_gone NAME [SECONDS]: waits until the domain is gone.
guest_gone() {
	wait_for "${2:-60}" _domain_gone "$1"
}

# guest_detach NAME: lets go of its console.
guest_detach() {
	[ -f "$STATE/$1.pid" ] && kill "$(cat "$STATE/$1.pid")" 2>/dev/null
	rm -f "$STATE/$1.pid"
}

# guest_destroy NAME
guest_destroy() {
	timeout 60 xl destroy "$1"
	guest_gone "$1" 20
	guest_detach "$1"
}

_process_gone() {
	! kill -0 "$1" || grep -q '^State:.*Z' "/proc/$1/status"
}

# check_clean TEXT DOMID DM_PID [TAP]: nothing of a domain that is gone is left.
check_clean() {
	wait_for 15 _process_gone "$3" || { fail "$1: the device model still runs"; return 1; }
	_left=$(ls /run/xen/qmp-*-"$2" 2>/dev/null)
	for _n in "/local/domain/$2" "/local/domain/0/device-model/$2" "/libxl/$2" "/local/domain/0/backend/qdisk/$2"; do
		_left="$_left$(xenstore-ls "$_n" 2>/dev/null | head -3)"
	done
	[ -z "$4" ] || _left="$_left$(ip -o link show "$4" 2>/dev/null)"
	check_eq "$1" "$_left" ''
}

# --- a device model started by hand, as a patched toolstack would

# dm_start NAME COMMAND...: runs it, logs to dm-NAME.log; its pid is in $DM_PID. Status 1 when it ended instead of
# announcing itself; then its exit status is in $DM_STATUS.
dm_start() {
	_dm=$1
	shift
	xenstore-write "/local/domain/0/device-model/$DOMID/state" ''
	"$@" >"$LOGS/dm-$_dm.log" 2>&1 </dev/null &
	DM_PID=$!
	echo $DM_PID >"$STATE/dm-$_dm.pid"
	wait_for 30 _dm_settled
	[ "$(xenstore-read "/local/domain/0/device-model/$DOMID/state")" = running ] && return 0
	dm_wait
	return 1
}

_dm_settled() {
	[ "$(xenstore-read "/local/domain/0/device-model/$DOMID/state")" = running ] || _process_gone "$DM_PID"
}

# talk NAME ADDRESS: keeps a connection; what comes is in $TMP/NAME.out, what `say NAME TEXT` says goes out.
talk() {
	mkfifo "$TMP/$1.in"
	socat -t 1 - "$2" <"$TMP/$1.in" >"$TMP/$1.out" 2>>"$LOGS/socat" &
	echo $! >"$STATE/$1.pid"
	sleep 1000 >"$TMP/$1.in" &
	echo $! >"$STATE/$1-open.pid"
}

# talk_qmp: such a connection, "qmp", to the device model of $DOMID, by libxl's second monitor.
talk_qmp() {
	talk qmp "UNIX-CONNECT:/run/xen/qmp-libxenstat-$DOMID"
	say qmp '{"execute": "qmp_capabilities"}'
}

say() {
	printf '%s\n' "$2" >"$TMP/$1.in"
}

# heard NAME PATTERN [SECONDS]: waits until it has come.
heard() {
	wait_for "${3:-30}" grep -q "$2" "$TMP/$1.out"
}

# hush NAME: ends it.
hush() {
	kill "$(cat "$STATE/$1.pid")" "$(cat "$STATE/$1-open.pid")"
	rm -f "$TMP/$1.in" "$TMP/$1.out"
}

# calls_watch: from now on what enters Xen or its event channels through the kernel's files is counted. Status 1: no probes here.
calls_watch() {
	_trace=/sys/kernel/tracing
	mount -t tracefs tracefs $_trace 2>/dev/null
	modprobe xen-privcmd
	modprobe xen-evtchn
	for _probe in privcmd_ioctl evtchn_ioctl evtchn_read evtchn_write; do
		echo "p:rig/$_probe $_probe" >>$_trace/kprobe_events || return 1
		echo 'hist:keys=common_pid' >"$_trace/events/rig/$_probe/trigger" || return 1
	done
}

# calls PID: how many of them the threads of a process have made.
calls() {
	cat /sys/kernel/tracing/events/rig/*/hist | awk -v tasks="$(ls "/proc/$1/task")" '
		BEGIN { n = split(tasks, t); for (i = 1; i <= n; i++) ours[t[i]] = 1 }
		/hitcount/ { gsub(/[{}:,]/, " "); if (ours[$2]) sum += $4 }
		END { print sum + 0 }'
}

# dm_wait: the exit status of the device model, after at most 20 s, in $DM_STATUS.
dm_wait() {
	DM_STATUS=alive
	wait_for 20 _process_gone "$DM_PID" || return 1
	wait "$DM_PID"
	DM_STATUS=$?
}

# full_line MIB: what such a toolstack runs for domain $DOMID, one word a line.
full_line() {
	cat <<-END
		$DM -xen-domid $DOMID -no-shutdown
		-chardev socket,id=libxl-cmd,path=/var/run/xen/qmp-libxl-$DOMID,server=on,wait=off
		-mon chardev=libxl-cmd,mode=control
		-chardev socket,id=libxenstat-cmd,path=/var/run/xen/qmp-libxenstat-$DOMID,server=on,wait=off
		-mon chardev=libxenstat-cmd,mode=control
		-nodefaults -no-user-config -xen-attach -name g0 -vnc none -display none
		-device virtio-net-pci,id=nic0,netdev=net0,mac=00:16:3e:5c:81:78
		-netdev type=tap,id=net0,ifname=vif$DOMID.0-emu,br=xenbr0,script=no,downscript=no
		-smp 4,maxcpus=4 -nographic
		-machine $(full_machine)
		-m $1
	END
}

full_machine() {
	printf 'xenpvh,ram-low-base=0,ram-low-size=2147483648,ram-high-base=4294967296,ram-high-size=2147483648,'
	printf 'pci-ecam-base=824633720832,pci-ecam-size=268435456,pci-mmio-base=4026531840,pci-mmio-size=33554432,'
	printf 'pci-mmio-high-base=824902156288,pci-mmio-high-size=68719476736'
}

# check_ring_above NAME vda|eth0: the first queue's descriptors are above 4 GiB, as the device itself says (its common
# configuration is at the start of BAR 4); the guest must have been booted with iomem=relaxed.
check_ring_above() {
	_ring=$(guest_run "$1" "d=\$(readlink -f /sys/class/*/$2/device)
		bar=\$(sed -n 5p \${d%/virtio*}/resource | cut -d' ' -f1)
		busybox devmem \$((bar + 22)) 16 0
		busybox devmem \$((bar + 36)) 32" | tail -n 1)
	case $_ring in
	0x*) ;;
	*) _ring=0 ;;
	esac
	check "ring of $2 above 4 GiB (upper half $_ring)" [ $((_ring)) -gt 0 ]
}

# domain_create NAME MIB VCPUS: a paused stock domain without a device model; its number is in $DOMID.
domain_create() {
	CFG_TRIGGER='' guest_config "$@"
	_console_mark "$1"
	LD_PRELOAD=$CREATE_PRELOAD xl create -p "$TMP/$1.cfg" >"$LOGS/$1.create" 2>&1 || { fail "xl create -p $1"; return 1; }
	DOMID=$(xl domid "$1")
}

# --- host side of devices

# bridge_create NAME ADDRESS/LEN [MTU]. Its address is fixed: else it would change with the taps, behind the guests' backs.
bridge_create() {
	ip link add "$1" address 02:00:00:00:00:01 type bridge
	: >"$STATE/$1.link"
	[ -z "$3" ] || ip link set "$1" mtu "$3"
	ip addr add "$2" dev "$1"
	ip link set "$1" up
}

# tap_ready TAP BRIDGE: our device model joins the bridge by itself; QEMU leaves that to a script.
tap_ready() {
	[ "$DM_KIND" = qemu ] || return 0
	ip link set "$1" master "$2"
	ip link set "$1" up
}

# tap_joined TAP BRIDGE
tap_joined() {
	ip -o link show "$1" | grep -q "master $2 .*state \(UP\|UNKNOWN\)"
}

# image NAME MIB: a raw image of zeroes without a block allocated; prints its path.
image() {
	truncate -s "$2M" "$TMP/$1.img"
	echo "$TMP/$1.img"
}

# blocks PATH: 512-byte blocks that the host has allocated to it.
blocks() {
	sync
	stat -c %b "$1"
}
