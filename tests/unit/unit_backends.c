/* SPDX-License-Identifier: MIT */
/* unit_backends.c - which PV back ends of a configuration are refused, and with what advice */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/util.h"
#include "xen/backends.h"

static void accepted(void **state)
{
	/* As libxl writes the CD-ROM of docs/xl.md, and with less. */
	static const struct pv_backend good[] = {
		{"qdisk", "5696", .dev = "hdd", .device_type = "cdrom", .params = "aio:"},
		{"qdisk", "5696", .dev = "hdd", .device_type = "cdrom", .params = ""},
		{"qdisk", "5696", .dev = "hdd", .device_type = "cdrom"},
		{"console", "0"},
		{"vbd", "51712", .dev = "xvda", .device_type = "disk", .params = "/dev/vg0/g0"},
		{"vkbd", "0", .backend_type = "linux"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(good); i++) {
		struct err e = {0};

		if (pv_backend_check(&good[i], &e))
			fail_msg("%s %s: %s", good[i].kind, good[i].id, e.text);
	}
}

static void refused(void **state)
{
	static const struct {
		struct pv_backend b;
		const char *name, *advice;
	} bad[] = {
		{{"qdisk", "51712", .dev = "xvda", .device_type = "disk", .params = "aio:/d.img"},
		 "qdisk disk 'xvda'",
		 "virtio-blk-pci"},
		/* Without an image, without a type, without a name. */
		{{"qdisk", "51712", .dev = "xvda", .device_type = "disk", .params = "aio:"},
		 "qdisk disk 'xvda'",
		 "backendtype=phy"},
		{{"qdisk", "51712"}, "qdisk disk '51712'", "virtio-blk-pci"},
		{{"qdisk", "5696", .dev = "hdd", .device_type = "cdrom", .params = "aio:/cd.iso"},
		 "CD-ROM 'hdd'",
		 "format=empty"},
		{{"qdisk", "5696", .dev = "hdd", .device_type = "cdrom", .params = "/cd.iso"},
		 "CD-ROM 'hdd'",
		 "format=empty"},
		{{"vfb", "0"}, "a vfb", "no display"},
		{{"vkbd", "0"}, "keyboard 0", "take it away"},
		{{"vkbd", "0", .backend_type = "qemu"}, "keyboard 0", "take it away"},
		{{"9pfs", "0", .path = "/srv"}, "'/srv'", "virtio-9p-pci"},
		{{"9pfs", "0"}, "p9 share", "virtio-9p-pci"},
		{{"qusb", "0"}, "qusb", "type=pv"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct err e = {0};

		assert_int_equal(pv_backend_check(&bad[i].b, &e), -ENOTSUP);
		if (strncmp(e.text, "xl.cfg has ", 11) || !strstr(e.text, bad[i].name) ||
		    !strstr(e.text, bad[i].advice) || strchr(e.text, '\n'))
			fail_msg("%s: %s", bad[i].name, e.text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepted),
		cmocka_unit_test(refused),
	};

	return cmocka_run_group_tests_name("backends", tests, NULL, NULL);
}
