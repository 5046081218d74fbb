# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# What scenarios are written with. A scenario sources this file first. It runs as root in the control
# domain of the rig, in /rig/tests, and reports with ok, fail, check and skip; whatever it does not clean
# up (guests, taps, processes) is removed when it ends.
#
# Guests: guest_create NAME MIB VCPUS [DM ARGUMENT]... boots the stock kernel with the rig's initramfs, and
# guest_run NAME COMMAND runs a command in it, through its Xen console. $DOMID is that of the last create.

. /rig/env
TMP=/scratch/$(basename "$0" .sh)
STATE=/run/rig
mkdir -p "$TMP" "$STATE" "$LOGS"
rm -f "$STATE"/*
DM=/rig/xenpvh
[ "$DM_KIND" = qemu ] && DM=/usr/libexec/xen-qemu-system-i386
PS4='+ $(cut -d" " -f1 /proc/uptime) '
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

# check TEXT COMMAND...: the verdict is the command's status.
check() {
	_text=$1
	shift
	if "$@" >"$STATE/check.out" 2>&1; then
		ok "$_text"
	else
		fail "$_text"
		head -c 600 "$STATE/check.out" | sed 's/^/#   /' | tr -d '\r'
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
	for _d in $(xl list 2>/dev/null | awk 'NR > 1 && $2 != 0 { print $2 }'); do
		xl destroy "$_d" >/dev/null 2>&1
	done
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
set -x

_quote_list() {
	_sep=
	for _a in "$@"; do
		printf '%s"%s"' "$_sep" "$_a"
		_sep=,
	done
}

_guest_initrd() {
	_i=/run/guest$1.initrd
	if [ ! -f "$_i" ]; then
		_parts=/guest/base.cpio
		[ "$DM_KIND" = qemu ] && _parts="/rig/guest/acpi.cpio $_parts"
		[ -f /rig/guest/tools.cpio ] && _parts="$_parts /rig/guest/tools.cpio"
		cat $_parts /rig/guest/init.cpio >"$_i"
	fi
	echo "$_i"
}

# guest_config NAME MIB VCPUS [DM ARGUMENT]...: writes $TMP/NAME.cfg. $CFG_EXTRA is appended; $CFG_TRIGGER, when
# set, takes the place of the line that makes libxl start a device model; $CMDLINE goes to the guest's kernel.
guest_config() {
	_name=$1 _mem=$2 _cpus=$3
	shift 3
	cat >"$TMP/$_name.cfg" <<-END
		name="$_name"
		type="pvh"
		kernel="/guest/vmlinux"
		ramdisk="$(_guest_initrd)"
		cmdline="console=hvc0 loglevel=4 mitigations=off nokaslr tsc=reliable $CMDLINE"
		memory=$_mem
		maxmem=$_mem
		vcpus=$_cpus
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
		tail -5 "$LOGS/$1.create" "/var/log/xen/qemu-dm-$1.log" 2>/dev/null | sed 's/^/#   /'
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

# guest_ready NAME [SECONDS]: waits until its init serves.
guest_ready() {
	wait_for "${2:-90}" _console_has "$1" '^@@READY' && return 0
	fail "$1 is not up after ${2:-90} s"
	console_text "$1" | tail -15 | sed 's/^/#   /'
	return 1
}

_sequence=0
# guest_begin NAME COMMAND: starts a command in the guest; its number is in $_sequence.
guest_begin() {
	_sequence=$((_sequence + 1))
	_console_mark "$1"
	printf '%s %s\n' $_sequence "$(printf '%s' "$2" | base64 -w0)" >"$(cat "$STATE/$1.tty")"
}

# guest_end NAME SECONDS: waits for the command begun last, prints its output; its status, 124 when time is up.
guest_end() {
	wait_for "$2" _console_has "$1" "^@@E $_sequence " || {
		echo "# $1: no answer after $2 s" >&2
		console_text "$1" | tail -20 >&2
		return 124
	}
	console_text "$1" | sed -n "/^@@B $_sequence\$/,/^@@E $_sequence /p" | sed '1d;$d'
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

# guest_destroy NAME
guest_destroy() {
	timeout 60 xl destroy "$1"
	guest_gone "$1" 20
	[ -f "$STATE/$1.pid" ] && kill "$(cat "$STATE/$1.pid")" 2>/dev/null
	rm -f "$STATE/$1.pid"
}

# --- host side of devices

# bridge_create NAME ADDRESS/LEN [MTU]
bridge_create() {
	ip link add "$1" type bridge
	: >"$STATE/$1.link"
	[ -z "$3" ] || ip link set "$1" mtu "$3"
	ip addr add "$2" dev "$1"
	ip link set "$1" up
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
