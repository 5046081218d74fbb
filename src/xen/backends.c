/* SPDX-License-Identifier: MIT */
/* backends.c - refuse PV devices for which libxl expects a back end in the device model
 *
 * For a qdisk, a vfb, a p9 or a qusb in xl.cfg, libxl starts a device model and writes a node under
 * backend/ to which the device model is to connect. This one connects to none of them, and the
 * driver in the guest would wait for the back end for minutes. So the nodes are read once, at the
 * start, and the first one that nothing will serve ends the program before the guest runs.
 *
 * Two kinds are allowed: the empty CD-ROM that docs/xl.md recommends (no driver of a PVH guest uses
 * it), and consoles, which xenconsoled serves. Devices that libxl attaches later, while the device
 * model runs, are not checked.
 *
 * Paths are relative to the home of our own domain in xenstore.
 */
#include "xen/backends.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "xen/xs.h"

#define DIR_MAX_LEN  64
#define PATH_MAX_LEN (DIR_MAX_LEN + 32)

static const char *text_or_empty(const char *s)
{
	return s ? s : "";
}

static int check_disk(const struct pv_backend *b, struct err *e)
{
	const char *file = b->params ? strchr(b->params, ':') : NULL;
	bool cdrom = !strcmp(text_or_empty(b->device_type), "cdrom");
	const char *name = b->dev ? b->dev : b->id;

	/* The value is "aio:/path"; without a path there is no image. */
	if (cdrom && !*(file ? file + 1 : text_or_empty(b->params)))
		return 0;
	if (cdrom)
		return err_set(e, -ENOTSUP,
			       "xl.cfg has an image in the CD-ROM '%s', which a PVH guest cannot "
			       "see: write format=empty and no target, and "
			       "-drive/-device virtio-blk-pci in device_model_args",
			       name);
	return err_set(e, -ENOTSUP,
		       "xl.cfg has a qdisk disk '%s': this device model serves virtio disks only; "
		       "write -drive/-device virtio-blk-pci in device_model_args, or "
		       "backendtype=phy",
		       name);
}

static int check_display(const struct pv_backend *b, struct err *e)
{
	return err_set(e, -ENOTSUP,
		       "xl.cfg has a vfb: this device model has no display; take it away and use "
		       "the console, or a display that the guest itself serves");
}

static int check_keyboard(const struct pv_backend *b, struct err *e)
{
	if (b->backend_type && strcmp(b->backend_type, "qemu"))
		return 0; /* another program serves it */
	return err_set(e, -ENOTSUP,
		       "xl.cfg has a vkb (keyboard %s): this device model has no display and no "
		       "keyboard; take it away",
		       b->id);
}

static int check_9pfs(const struct pv_backend *b, struct err *e)
{
	return err_set(e, -ENOTSUP,
		       "xl.cfg has a p9 share of '%s': this device model serves virtio devices "
		       "only; write -device virtio-9p-pci in device_model_args, or "
		       "type=xen_9pfsd (Xen 4.19 or newer)",
		       text_or_empty(b->path));
}

static int check_usb(const struct pv_backend *b, struct err *e)
{
	return err_set(e, -ENOTSUP,
		       "xl.cfg has a usbctrl of type qusb (%s): this device model serves no USB; "
		       "write type=pv",
		       b->id);
}

static const struct {
	const char *kind;
	int (*check)(const struct pv_backend *b, struct err *e);
} kinds[] = {
	{"qdisk", check_disk}, {"vfb", check_display}, {"vkbd", check_keyboard},
	{"9pfs", check_9pfs},  {"qusb", check_usb},
};

int pv_backend_check(const struct pv_backend *b, struct err *e)
{
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
		if (!strcmp(kinds[i].kind, b->kind))
			return kinds[i].check(b, e);
	return 0;
}

static char *read_node(struct xs *xs, const char *dir, const char *node)
{
	char path[PATH_MAX_LEN];

	snprintf(path, sizeof(path), "%s/%s", dir, node);
	return xs_get(xs, path);
}

static int backend_check(struct xs *xs, const char *kind, unsigned domid, const char *id,
			 struct err *e)
{
	bool disk = !strcmp(kind, "qdisk");
	struct pv_backend b = {.kind = kind, .id = id};
	char dir[DIR_MAX_LEN], *text[3];
	int rc;

	/* Each node costs a request to xenstored, so only those that are needed are read. */
	snprintf(dir, sizeof(dir), "backend/%s/%u/%s", kind, domid, id);
	b.device_type = text[0] = read_node(xs, dir, disk ? "device-type" : "backend-type");
	b.params = text[1] = read_node(xs, dir, disk ? "params" : "path");
	b.dev = text[2] = disk ? read_node(xs, dir, "dev") : NULL;
	if (!disk) {
		b.backend_type = text[0];
		b.path = text[1];
	}
	rc = pv_backend_check(&b, e);
	for (unsigned i = 0; i < ARRAY_SIZE(text); i++)
		free(text[i]);
	return rc;
}

static bool has_name(const char *names, unsigned len, const char *name)
{
	for (const char *n = names; n && n < names + len; n += strlen(n) + 1)
		if (!strcmp(n, name))
			return true;
	return false;
}

int pv_backends_check(struct xs *xs, unsigned domid, const char *there, unsigned there_len,
		      struct err *e)
{
	int rc = 0;

	for (unsigned k = 0; rc == 0 && k < ARRAY_SIZE(kinds); k++) {
		char dir[DIR_MAX_LEN], *ids;
		unsigned len = 0;

		if (!has_name(there, there_len, kinds[k].kind))
			continue;
		snprintf(dir, sizeof(dir), "backend/%s/%u", kinds[k].kind, domid);
		ids = xs_list(xs, dir, &len);
		for (char *id = ids; ids && rc == 0 && id < ids + len; id += strlen(id) + 1)
			rc = backend_check(xs, kinds[k].kind, domid, id, e);
		free(ids);
	}
	return rc;
}
