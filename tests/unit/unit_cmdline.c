/* SPDX-License-Identifier: MIT */
/* unit_cmdline.c - command lines that must be understood, as data */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/util.h"
#include "ctl/cmdline.h"

/* Split at blanks and parse. */
static int parse(struct cmdline *c, const char *line, struct err *e)
{
	char *text = strdup(line), *argv[128] = {(char *)"xenpvh"}, *save = NULL;
	int argc = 1, rc;

	for (char *w = strtok_r(text, " ", &save); w; w = strtok_r(NULL, " ", &save))
		argv[argc++] = w;
	memset(e, 0, sizeof(*e));
	rc = cmdline_parse(c, argc, argv, e);
	free(text);
	return rc;
}

static void accept(struct cmdline *c, const char *line)
{
	struct err e;

	if (parse(c, line, &e))
		fail_msg("'%s': %s", line, e.text);
}

static void refuse(const char *line, const char *want)
{
	struct cmdline c;
	struct err e;

	if (parse(&c, line, &e) >= 0)
		fail_msg("'%s' was accepted", line);
	if (!strstr(e.text, want))
		fail_msg("'%s' gave '%s', wanted '%s'", line, e.text, want);
	cmdline_free(&c);
}

static const char *value(struct kvs_list *list, unsigned i, const char *key)
{
	const char *v;

	assert_true(i < list->n);
	v = kvs_get(&list->v[i], key);
	return v ? v : "(none)";
}

static const char patched_line[] =
	"-xen-domid 3 -no-shutdown "
	"-chardev socket,id=libxl-cmd,path=/var/run/xen/qmp-libxl-3,server=on,wait=off "
	"-mon chardev=libxl-cmd,mode=control "
	"-chardev socket,id=libxenstat-cmd,path=/var/run/xen/qmp-libxenstat-3,server=on,wait=off "
	"-mon chardev=libxenstat-cmd,mode=control "
	"-nodefaults -no-user-config -xen-attach -name g0 -vnc none -display none "
	"-device virtio-net-pci,id=nic0,netdev=net0,mac=00:16:3e:5c:81:78 "
	"-netdev type=tap,id=net0,ifname=vif3.0-emu,br=xenbr0,script=no,downscript=no "
	"-smp 4,maxcpus=4 -nographic "
	"-machine xenpvh,ram-low-base=0,ram-low-size=2147483648,ram-high-base=4294967296,"
	"ram-high-size=2147483648,pci-ecam-base=824633720832,pci-ecam-size=268435456,"
	"pci-mmio-base=4026531840,pci-mmio-size=33554432,pci-mmio-high-base=824902156288,"
	"pci-mmio-high-size=68719476736 "
	"-m 4096";

static void line_of_a_patched_toolstack(void **state)
{
	struct cmdline c;

	accept(&c, patched_line);
	assert_int_equal(c.machine, MACHINE_XENPVH);
	assert_int_equal(c.accel, ACCEL_XEN);
	assert_int_equal(c.domid, 3);
	assert_string_equal(c.name, "g0");
	assert_int_equal(c.cpus, 4);
	assert_int_equal(c.max_cpus, 4);
	assert_int_equal(c.map.mem, 4 * GiB);
	assert_int_equal(c.map.ram_low.base, 0);
	assert_int_equal(c.map.ram_low.size, 2 * GiB);
	assert_int_equal(c.map.ram_high.base, 4 * GiB);
	assert_int_equal(c.map.ram_high.size, 2 * GiB);
	assert_int_equal(c.map.ecam.base, 0xc000000000);
	assert_int_equal(c.map.ecam.size, 256 * MiB);
	assert_int_equal(c.map.mmio.base, 0xf0000000);
	assert_int_equal(c.map.mmio.size, 32 * MiB);
	assert_int_equal(c.map.mmio_high.base, 0xc010000000);
	assert_int_equal(c.map.mmio_high.size, 64 * GiB);
	assert_int_equal(c.intx_irq_base, 16);
	assert_int_equal(c.acpi, ACPI_AUTO);
	assert_false(c.paused);
	assert_int_equal(c.chardevs.n, 2);
	assert_string_equal(value(&c.chardevs, 0, "path"), "/var/run/xen/qmp-libxl-3");
	assert_string_equal(value(&c.chardevs, 1, "id"), "libxenstat-cmd");
	assert_int_equal(c.mons.n, 2);
	assert_string_equal(value(&c.mons, 1, "chardev"), "libxenstat-cmd");
	assert_int_equal(c.devices.n, 1);
	assert_string_equal(value(&c.devices, 0, "driver"), "virtio-net-pci");
	assert_string_equal(value(&c.devices, 0, "netdev"), "net0");
	assert_int_equal(c.netdevs.n, 1);
	assert_string_equal(value(&c.netdevs, 0, "type"), "tap");
	assert_string_equal(value(&c.netdevs, 0, "script"), "no");
	cmdline_free(&c);
}

static void line_of_the_probe(void **state)
{
	struct cmdline c;

	accept(&c, "-S -no-user-config -nodefaults -nographic -machine none,accel=xen "
		   "-chardev socket,id=libxl-cmd,fd=16,server=on,wait=off "
		   "-mon chardev=libxl-cmd,mode=control");
	assert_int_equal(c.machine, MACHINE_NONE);
	assert_int_equal(c.domid, -1);
	assert_true(c.paused);
	assert_string_equal(value(&c.chardevs, 0, "fd"), "16");
	cmdline_free(&c);
}

static void line_of_stock_libxl(void **state)
{
	struct cmdline c;

	accept(&c, "-xen-domid 1 -no-shutdown -chardev "
		   "socket,id=libxl-cmd,path=/var/run/xen/qmp-libxl-1,server=on,wait=off "
		   "-mon chardev=libxl-cmd,mode=control -chardev "
		   "socket,id=libxenstat-cmd,path=/var/run/xen/qmp-libxenstat-1,server=on,wait=off "
		   "-mon chardev=libxenstat-cmd,mode=control "
		   "-chardev socket,id=libxl-channel1,path=/tmp/channel,server=on,wait=off "
		   "-nodefaults -no-user-config -xen-attach -name g1 -vnc none -display none "
		   "-nographic "
		   "-device virtio-rng-pci -drive if=none,id=d0,file=/srv/d0.img,format=raw "
		   "-device virtio-blk-pci,drive=d0 -machine xenpv -m 256");
	assert_int_equal(c.machine, MACHINE_XENPVH);
	assert_int_equal(c.domid, 1);
	assert_int_equal(c.cpus, 0);
	assert_int_equal(c.map.mem, 256 * MiB);
	assert_int_equal(c.map.ecam.size, 0);
	assert_int_equal(c.chardevs.n, 3);
	assert_int_equal(c.devices.n, 2);
	assert_string_equal(value(&c.devices, 1, "drive"), "d0");
	assert_string_equal(value(&c.drives, 0, "file"), "/srv/d0.img");
	cmdline_free(&c);
}

static void later_options_win_and_merge(void **state)
{
	struct cmdline c;

	accept(&c, "--xen-domid 1 --xen-domid 2 -machine xenpv,acpi=off -machine xenpvh,acpi=on "
		   "-machine pci-ecam-base=0xe0000000,pci-ecam-size=16M -run-with chroot=/a "
		   "-run-with user=nobody -name guest=a -name b -m 1.5G -smp cpus=2");
	assert_int_equal(c.domid, 2);
	assert_int_equal(c.acpi, ACPI_ON);
	assert_int_equal(c.map.ecam.base, 0xe0000000);
	assert_int_equal(c.map.ecam.size, 16 * MiB);
	assert_string_equal(c.chroot, "/a");
	assert_string_equal(c.user, "nobody");
	assert_string_equal(c.name, "b");
	assert_int_equal(c.map.mem, 3 * GiB / 2);
	assert_int_equal(c.cpus, 2);
	cmdline_free(&c);
}

static void accel_in_any_place(void **state)
{
	static const char *const lines[] = {
		"-accel qtest -machine xenpvh -qtest unix:/t",
		"-machine xenpvh -qtest unix:/t -accel qtest",
		"-machine xenpvh,accel=qtest -qtest unix:/t",
		"-qtest unix:/t -accel accel=qtest",
	};

	for (unsigned i = 0; i < ARRAY_SIZE(lines); i++) {
		struct cmdline c;

		accept(&c, lines[i]);
		assert_int_equal(c.accel, ACCEL_QTEST);
		assert_string_equal(c.qtest, "unix:/t");
		cmdline_free(&c);
	}
}

static void json_is_the_same(void **state)
{
	struct kvs plain, json;
	struct cmdline c;
	struct err e;
	char *argv[] = {
		(char *)"xenpvh",
		(char *)"-machine",
		(char *)"none",
		(char *)"-device",
		(char *)"virtio-blk-pci,drive=d0,num-queues=4",
		(char *)"-device",
		(char *)"{\"driver\": \"virtio-blk-pci\", \"drive\": \"d0\", \"num-queues\": 4}",
		(char *)"-blockdev",
		(char *)"{\"driver\":\"raw\",\"node-name\":\"n\",\"file\":{\"driver\":\"file\","
			"\"filename\":\"/a,b\"}}"};

	assert_int_equal(cmdline_parse(&c, ARRAY_SIZE(argv), argv, &e), 0);
	plain = c.devices.v[0];
	json = c.devices.v[1];
	assert_int_equal(plain.n, json.n);
	for (unsigned i = 0; i < plain.n; i++) {
		assert_string_equal(plain.v[i].key, json.v[i].key);
		assert_string_equal(plain.v[i].value, json.v[i].value);
	}
	assert_string_equal(value(&c.blockdevs, 0, "file.filename"), "/a,b");
	cmdline_free(&c);
}

static void qmp_shorthand(void **state)
{
	struct cmdline c;

	accept(&c, "-machine none -qmp unix:/q,server,nowait -qmp none -monitor none "
		   "-chardev stdio,id=s -qmp-pretty chardev:s");
	assert_int_equal(c.chardevs.n, 2);
	assert_string_equal(value(&c.chardevs, 0, "backend"), "socket");
	assert_string_equal(value(&c.chardevs, 0, "path"), "/q");
	assert_string_equal(value(&c.chardevs, 0, "server"), "on");
	assert_string_equal(value(&c.chardevs, 0, "wait"), "off");
	assert_int_equal(c.mons.n, 2);
	assert_string_equal(value(&c.mons, 0, "chardev"), value(&c.chardevs, 0, "id"));
	assert_string_equal(value(&c.mons, 1, "chardev"), "s");
	assert_string_equal(value(&c.mons, 1, "pretty"), "on");
	cmdline_free(&c);

	accept(&c,
	       "-machine none -qmp tcp:localhost:4444,server=on,wait=off -qmp tcp:[::1]:5,nodelay "
	       "-qmp tcp::6,server");
	assert_int_equal(c.chardevs.n, 3);
	assert_string_equal(value(&c.chardevs, 0, "backend"), "socket");
	assert_string_equal(value(&c.chardevs, 0, "host"), "localhost");
	assert_string_equal(value(&c.chardevs, 0, "port"), "4444");
	assert_string_equal(value(&c.chardevs, 0, "wait"), "off");
	assert_string_equal(value(&c.chardevs, 1, "host"), "::1");
	assert_string_equal(value(&c.chardevs, 1, "port"), "5");
	assert_string_equal(value(&c.chardevs, 1, "delay"), "off");
	assert_string_equal(value(&c.chardevs, 2, "host"), "");
	assert_string_equal(value(&c.chardevs, 2, "port"), "6");
	cmdline_free(&c);
}

static void relative_paths(void **state)
{
	struct cmdline c;

	assert_int_equal(chdir("/usr"), 0);
	accept(&c, "-machine none -drive file=a.img,id=a -drive file=nbd:h:1,id=b "
		   "-chardev socket,path=s,server=on,id=c -D log "
		   "-blockdev driver=file,node-name=n,filename=b.img "
		   "-netdev tap,id=t,script=up,downscript=no "
		   "-netdev stream,id=u,addr.type=unix,addr.path=sock "
		   "-object rng-random,id=r,filename=dev/random");
	assert_string_equal(value(&c.drives, 0, "file"), "/usr/a.img");
	assert_string_equal(value(&c.drives, 1, "file"), "nbd:h:1");
	assert_string_equal(value(&c.chardevs, 0, "path"), "/usr/s");
	assert_string_equal(value(&c.blockdevs, 0, "filename"), "/usr/b.img");
	assert_string_equal(value(&c.netdevs, 0, "script"), "/usr/up");
	assert_string_equal(value(&c.netdevs, 0, "downscript"), "no");
	assert_string_equal(value(&c.netdevs, 1, "addr.path"), "/usr/sock");
	assert_string_equal(value(&c.objects, 0, "filename"), "/usr/dev/random");
	assert_string_equal(c.log_file, "/usr/log");
	cmdline_free(&c);
	accept(&c, "-accel qtest -qtest unix:t.sock,server=on");
	assert_string_equal(c.qtest, "unix:/usr/t.sock,server=on");
	cmdline_free(&c);
	refuse("-drive file=a.img,id=a -xen-domid 1", "path 'a.img' is relative");
	refuse("-xen-domid 1 -D log", "path 'log' is relative");
}

static void harmless_options(void **state)
{
	struct cmdline c;

	accept(&c, "-xen-domid 1 -boot d -k de -cpu host -net none -nic none -serial none "
		   "-parallel none "
		   "-vga none -usb -usbdevice tablet -rtc base=utc -sandbox on,obsolete=deny "
		   "-msg timestamp=on,guest-name=off -monitor null -name x,debug-threads=on "
		   "-run-with async-teardown=on -d guest_errors,info -no-reboot "
		   "-uuid 6BA7B810-9dad-11d1-80b4-00c04fd430c8 -smp 2,sockets=1,cores=2");
	assert_true(c.log_stamp);
	assert_int_equal(c.log_level, LOG_INFO);
	assert_string_equal(c.uuid, "6ba7b810-9dad-11d1-80b4-00c04fd430c8");
	cmdline_free(&c);
}

static void contradictions(void **state)
{
	struct cmdline c;

	accept(&c,
	       "-xen-domid 1 -machine xenpvh,ram-low-size=256M,ram-high-base=4G,ram-high-size=0");
	cmdline_free(&c);
	refuse("", "-xen-domid is missing");
	refuse("-xen-domid 1 -accel qtest", "exclude each other");
	refuse("-xen-domid 1 -qtest unix:/t", "need -accel qtest");
	refuse("-xen-domid 1 -smp 4,maxcpus=2", "Invalid CPU topology");
	refuse("-xen-domid 1 -m 4G,maxmem=2G", "maxmem");
	refuse("-xen-domid 1 -machine xenpvh,pci-ecam-base=1G", "without 'pci-ecam-size'");
	refuse("-machine none -netdev tap,id=a -netdev tap,id=a", "Duplicate ID 'a' for netdev");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(line_of_a_patched_toolstack),
		cmocka_unit_test(line_of_the_probe),
		cmocka_unit_test(line_of_stock_libxl),
		cmocka_unit_test(later_options_win_and_merge),
		cmocka_unit_test(accel_in_any_place),
		cmocka_unit_test(json_is_the_same),
		cmocka_unit_test(qmp_shorthand),
		cmocka_unit_test(relative_paths),
		cmocka_unit_test(harmless_options),
		cmocka_unit_test(contradictions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
