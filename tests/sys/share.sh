#!/bin/sh
# SPDX-License-Identifier: MIT
# Shared folders: a C project is built in one, POSIX's rules are tried, a file is worked on at random and compared; with
# the guest's owners on the host's files, and with owners beside them. The host sees what it should.
# limit: 2500
# needs: family
. ./lib.sh
TOOLS=family

# Ten minutes of random work each in the long run (rig run --env RIG=full). Through shared mappings no more than 4000 operations:
# with operation 4503 of this seed Linux 6.12 reads what another mapping had written before the last one, and does so with QEMU, too.
seconds=30
[ "$RIG" = full ] && seconds=600

mkdir -p "$TMP/plain" "$TMP/mapped" "$TMP/ro"
cp share_posix.c share_fsx.c "$TMP/plain"
echo 'read only' >"$TMP/ro/file"
guest_create g0 512 2 \
	-fsdev "local,id=f0,path=$TMP/plain,security_model=passthrough" -device virtio-9p-pci,fsdev=f0,mount_tag=plain \
	-fsdev "local,id=f1,path=$TMP/mapped,security_model=mapped-file" -device virtio-9p-pci,fsdev=f1,mount_tag=mapped \
	-virtfs "local,path=$TMP/ro,mount_tag=ro,security_model=none,readonly=on" || exit 1
pid=$(dm_pid "$DOMID")

check 'the driver and the mounts' guest_run g0 'modprobe 9p
	modprobe 9pnet_virtio
	mkdir -p /mnt/plain /mnt/mapped /mnt/ro
	o=trans=virtio,version=9p2000.L
	mount -t 9p -o $o,msize=512000,cache=mmap plain /mnt/plain &&
	mount -t 9p -o $o,msize=131072 mapped /mnt/mapped &&
	mount -t 9p -o $o,msize=8192 ro /mnt/ro'

# The device model holds no more descriptors than without a guest's files.
few_files() {
	[ "$(ls "/proc/$pid/fd" | wc -l)" -lt 80 ]
}

# A small project: built by make, and again after a change.
check 'a project is built' guest_run g0 'set -e
	mkdir /mnt/plain/project
	cd /mnt/plain/project
	printf "int twice(int);\n" >twice.h
	printf "#include \"twice.h\"\nint twice(int n) { return 2 * n; }\n" >twice.c
	printf "#include <stdio.h>\n#include \"twice.h\"\nint main(void) { printf(\"%%d\\\\n\", twice(21)); return 0; }\n" >main.c
	printf "answer: main.o twice.o\n\ttcc -o \$@ main.o twice.o\n%%.o: %%.c twice.h\n\ttcc -c -o \$@ \$<\n" >Makefile
	make >/tmp/make.log 2>&1 || { cat /tmp/make.log; exit 1; }
	[ "$(./answer)" = 42 ]
	sleep 1
	sed -i "s/2 \* n/3 * n/" twice.c
	make 2>&1 | tee /tmp/make.log | grep -q twice.o
	! grep -q "main.c" /tmp/make.log
	[ "$(./answer)" = 63 ]' 120
check 'the host sees the program' [ -x "$TMP/plain/project/answer" ]

check 'the test programs' guest_run g0 'cd /mnt/plain && tcc -o /tmp/posix share_posix.c && tcc -o /tmp/fsx share_fsx.c' 60
for m in plain mapped; do
	guest_run g0 "mkdir /mnt/$m/posix && cd /mnt/$m/posix && /tmp/posix" 240 >"$TMP/posix.out"
	check_eq "$m: POSIX's rules" "$(grep -v ' 0 wrong$' "$TMP/posix.out")" ''
	note "$m: $(tail -n 1 "$TMP/posix.out")"
	check_eq "$m: nothing is left" "$(ls "$TMP/$m/posix")" ''
done
guest_begin g0 "/tmp/fsx /mnt/plain/fsx $seconds 1 mmap 4000 && /tmp/fsx /mnt/plain/fsx $seconds 1 && /tmp/fsx /mnt/mapped/fsx $seconds 2"
if guest_end g0 $((3 * seconds + 60)) >"$TMP/fsx.out"; then
	ok "random work, $seconds s each ($(tr '\n' ' ' <"$TMP/fsx.out"))"
else
	fail 'random work'
	sed 's/^/#   /' "$TMP/fsx.out"
fi

# Both sides see what the other does.
echo 'from the host' >"$TMP/plain/host"
check_eq 'the guest reads what the host wrote' "$(guest_run g0 'cat /mnt/plain/host')" 'from the host'
guest_run g0 'echo guest >/mnt/plain/guest; chown 12:34 /mnt/plain/guest; chmod 640 /mnt/plain/guest
	echo guest >/mnt/mapped/guest; chown 12:34 /mnt/mapped/guest; chmod 640 /mnt/mapped/guest; sync'
check_eq 'the guest owns its file on the host' "$(stat -c '%u %g %a' "$TMP/plain/guest")" '12 34 640'
check_eq 'mapped, it does not' "$(stat -c '%u %g %a' "$TMP/mapped/guest")" '0 0 600'
check_eq 'and in the guest it does' "$(guest_run g0 "stat -c '%u %g %a' /mnt/mapped/guest")" '12 34 640'
check_eq 'read only' "$(guest_run g0 'cat /mnt/ro/file; echo x 2>/dev/null >/mnt/ro/file || echo refused')" "$(printf 'read only\nrefused')"
check_eq 'a link out of the export leads nowhere else' "$(guest_run g0 'ln -s /etc/hostname /mnt/plain/out
	mkdir -p /etc; echo in-the-guest >/etc/hostname; cat /mnt/plain/out')" in-the-guest
check 'tar, many small files and their removal' guest_run g0 'set -e
	cd /mnt/mapped
	mkdir many
	for i in $(seq 1 200); do echo $i >many/$i; done
	[ $(ls many | wc -l) = 200 ]
	[ $(cat many/* | wc -l) = 200 ]
	rm -r many
	[ ! -e many ]' 120
check 'unmounted and mounted again' guest_run g0 'umount /mnt/plain && mount -t 9p -o trans=virtio,version=9p2000.L plain /mnt/plain &&
	[ "$(/mnt/plain/project/answer)" = 63 ]'
check_eq 'descriptors are given back' "$(guest_run g0 'umount /mnt/plain /mnt/mapped /mnt/ro' >/dev/null; wait_for 5 few_files; few_files && echo yes)" yes
guest_destroy g0
check_clean 'nothing is left' "$DOMID" "$pid"
