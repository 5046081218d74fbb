/* SPDX-License-Identifier: MIT */
/* options.c - from -drive and -blockdev to open disks
 *
 * A node of QEMU's block graph is either a protocol (file, host_device, null-co), which holds the
 * image, or the format `raw` with another node as its child. Here both are a `struct block`; a raw
 * node shares the image of its child. -drive describes at most one raw node and its protocol node
 * in one flat list. -blockdev describes one node, whose `file` is the name of an existing node or
 * an inline child (`file.driver`, ...).
 *
 * Images are raw and their format is never probed: a guest could write the header of another format
 * into its disk, and so name any file of the host as a backing file.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/util.h"
#include "block/internal.h"

#define NULL_SIZE (1 * GiB)

enum cache {
	CACHE_WRITEBACK,
	CACHE_NONE,
	CACHE_OFF,
	CACHE_WRITETHROUGH,
	CACHE_DIRECTSYNC,
	CACHE_UNSAFE
};
enum media { MEDIA_DISK, MEDIA_CDROM };
enum discard { DISCARD_IGNORE, DISCARD_OFF, DISCARD_UNMAP, DISCARD_ON };

/* The options of one node, raw or protocol. */
struct layer {
	char *driver, *filename, *node_name;
	unsigned aio, discard, detect;
	uint8_t locking, direct, no_flush;
	bool read_only, force_share, read_zeroes;
	uint64_t size;
};

struct node_opts {
	struct layer top, file;
	char *below; /* file=: a path in -drive, a node-name in -blockdev */
	uint64_t offset;
	/* -drive */
	char *format, *id, *iface;
	unsigned cache, media, werror, rerror;
	uint8_t writeback;
	bool readonly, snapshot, copy_on_read;
};

static const char *const aio_names[] = {"auto", "threads", "native", "io_uring", NULL};
static const char *const cache_names[] = {"writeback",	"none",	  "off", "writethrough",
					  "directsync", "unsafe", NULL};
static const char *const discard_names[] = {"ignore", "off", "unmap", "on", NULL};
static const char *const detect_names[] = {"off", "on", "unmap", NULL};
static const char *const media_names[] = {"disk", "cdrom", NULL};
static const char *const error_names[] = {"auto", "report", "ignore", "enospc", "stop", NULL};

#define AT(field) offsetof(struct node_opts, field)

/* The rows of one layer; P is "" or "file.". */
/* clang-format off */
#define LAYER(P, L)                                                                                  \
	{.name = P "driver", .type = OPT_STRING, .at = AT(L.driver),                                 \
	 .help = "raw, file, host_device, null-co or null-aio"},                                     \
	{.name = P "filename", .type = OPT_STRING, .at = AT(L.filename), .help = "image or device"}, \
	{.name = P "node-name", .type = OPT_STRING, .at = AT(L.node_name), .help = "name of the node"}, \
	{.name = P "aio", .type = OPT_ENUM, .at = AT(L.aio), .values = aio_names, .def = "auto",     \
	 .help = "how I/O reaches the kernel; auto: io_uring where there is one, else threads"},     \
	{.name = P "cache.direct", .type = OPT_ONOFFAUTO, .at = AT(L.direct), .def = "auto",         \
	 .help = "bypass the page cache (O_DIRECT)"},                                                \
	{.name = P "cache.no-flush", .type = OPT_ONOFFAUTO, .at = AT(L.no_flush), .def = "auto",     \
	 .help = "ignore flushes: data is lost when the host fails"},                                \
	{.name = P "read-only", .type = OPT_BOOL, .at = AT(L.read_only), .def = "off",               \
	 .help = "the guest cannot write"},                                                          \
	{.name = P "auto-read-only", .type = OPT_IGNORED},                                           \
	{.name = P "force-share", .type = OPT_BOOL, .at = AT(L.force_share), .def = "off",           \
	 .help = "read even what others write; only with read-only=on"},                             \
	{.name = P "discard", .type = OPT_ENUM, .at = AT(L.discard), .values = discard_names,        \
	 .def = "ignore", .help = "unmap (on): a guest's discard frees space on the host"},          \
	{.name = P "detect-zeroes", .type = OPT_ENUM, .at = AT(L.detect), .values = detect_names,    \
	 .def = "off", .help = "turn writes of zeroes into write-zeroes"},                           \
	{.name = P "locking", .type = OPT_ONOFFAUTO, .at = AT(L.locking), .def = "auto",             \
	 .help = "lock the image as QEMU does"},                                                     \
	{.name = P "size", .type = OPT_SIZE, .at = AT(L.size), .def = "0",                           \
	 .help = "bytes used from the offset on (raw) or size of the disk (null-co)"},               \
	{.name = P "read-zeroes", .type = OPT_BOOL, .at = AT(L.read_zeroes), .def = "off",           \
	 .help = "null-co: reads fill the buffer"},                                                  \
	{.name = P "drop-cache", .type = OPT_IGNORED}, {.name = P "x-check-cache-dropped", .type = OPT_IGNORED}

const struct opt block_node_options[] = {
	LAYER("", top),
	{.name = "file", .type = OPT_STRING, .at = AT(below),
	 .help = "-drive: image or device; -blockdev: node-name of the node below"},
	{.name = "offset", .type = OPT_SIZE, .at = AT(offset), .def = "0",
	 .help = "first byte of the image that is used, a multiple of 512"},
	LAYER("file.", file),
	OPT_END,
};

const struct opt block_drive_options[] = {
	{.name = "if", .type = OPT_STRING, .at = AT(iface), .help = "none: a device names the drive by its id"},
	{.name = "id", .type = OPT_STRING, .at = AT(id), .help = "name of the drive"},
	{.name = "format", .type = OPT_STRING, .at = AT(format), .help = "raw, the only one"},
	{.name = "cache", .type = OPT_ENUM, .at = AT(cache), .values = cache_names, .def = "writeback",
	 .help = "page cache of the host and the write cache that the guest sees"},
	{.name = "media", .type = OPT_ENUM, .at = AT(media), .values = media_names, .def = "disk",
	 .help = "cdrom: read-only"},
	{.name = "readonly", .type = OPT_BOOL, .at = AT(readonly), .def = "off", .help = "as read-only"},
	{.name = "snapshot", .type = OPT_BOOL, .at = AT(snapshot), .def = "off", .help = "only off"},
	{.name = "copy-on-read", .type = OPT_BOOL, .at = AT(copy_on_read), .def = "off", .help = "only off"},
	{.name = "werror", .type = OPT_ENUM, .at = AT(werror), .values = error_names, .def = "auto",
	 .help = "accepted; errors are reported to the guest"},
	{.name = "rerror", .type = OPT_ENUM, .at = AT(rerror), .values = error_names, .def = "auto",
	 .help = "accepted; errors are reported to the guest"},
	{.name = "cache.writeback", .type = OPT_ONOFFAUTO, .at = AT(writeback), .def = "auto",
	 .help = "the guest sees a write cache"},
	{.name = "index", .type = OPT_IGNORED},
	{.name = "bus", .type = OPT_IGNORED},
	{.name = "unit", .type = OPT_IGNORED},
	{.name = "stats-account-invalid", .type = OPT_IGNORED},
	{.name = "stats-account-failed", .type = OPT_IGNORED},
	OPT_END,
};
/* clang-format on */

static const struct opt *const drive_tables[] = {block_drive_options, block_node_options, NULL};
static const struct opt *const node_tables[] = {block_node_options, NULL};

static bool string_equals(const char *s, const char *what)
{
	return s && !strcmp(s, what);
}

static bool driver_is_null(const char *driver)
{
	return string_equals(driver, "null-co") || string_equals(driver, "null-aio");
}

/* Returns the name as a constant, which block_info() can return later, or NULL if the driver is
 * unknown. */
static const char *driver_find(const char *name)
{
	static const char *const known[] = {"raw", "file", "host_device", "null-co", "null-aio"};

	for (unsigned i = 0; i < ARRAY_SIZE(known); i++)
		if (string_equals(name, known[i]))
			return known[i];
	return NULL;
}

/* Returns the protocol driver of an image that was opened without naming one. */
static const char *image_driver(const struct image *img)
{
	return img->kind == IMAGE_FILE ? "file" : "host_device";
}

static int error_unknown_driver(const char *name, struct err *e)
{
	return err_set(e, -ENOTSUP, "Unknown driver '%s': images are raw here (format=raw)", name);
}

/* Skip the protocol "file:" before a path; refuse any other. */
static int path_strip_protocol(const char **path, struct err *e)
{
	size_t len = strcspn(*path, ":/");

	if ((*path)[len] != ':')
		return 0;
	if (strncmp(*path, "file:", 5))
		return err_set(e, -ENOTSUP,
			       "Unknown protocol '%.*s': an image is a file or a block device "
			       "(a name with a colon is written ./name)",
			       (int)len, *path);
	*path += 5;
	return 0;
}

static int layer_check_policy(const struct layer *l, struct err *e)
{
	if (l->detect == DETECT_UNMAP && l->discard < DISCARD_UNMAP)
		return err_set(e, -EINVAL,
			       "setting detect-zeroes to unmap is not allowed without setting "
			       "discard operation to unmap");
	return 0;
}

static int layer_check(const struct layer *l, struct err *e)
{
	if (l->aio == AIO_NATIVE && l->direct != OPT_ON)
		return err_set(e, -EINVAL,
			       "aio=native was specified, but it requires cache.direct=on, which "
			       "was not specified (cache=none or directsync says it too)");
	if (l->force_share && !l->read_only)
		return err_set(e, -EINVAL, "force-share=on can only be used with read-only images");
	return 0;
}

/* Open the image that `l` describes. `path` is its file. `driver` is NULL if a regular file and a
 * block device are both accepted. Returns 0, or -errno with `e`. */
static int layer_open(struct image **img, const struct layer *l, const char *driver,
		      const char *path, struct err *e)
{
	struct image_opts o = {
		.kind = string_equals(driver, "host_device") ? IMAGE_DEVICE : IMAGE_FILE,
		.any_kind = !driver,
		.filename = path,
		.read_only = l->read_only,
		.direct = l->direct == OPT_ON,
		.no_flush = l->no_flush == OPT_ON,
		.read_zeroes = l->read_zeroes,
		.aio = l->aio,
		.locking = l->force_share ? OPT_OFF : l->locking,
		.size = l->size ? l->size : NULL_SIZE,
	};
	int rc = layer_check(l, e);

	if (rc < 0)
		return rc;
	if (driver_is_null(driver)) {
		o.kind = IMAGE_NULL;
	} else {
		if (!path)
			return err_set(e, -EINVAL, "Parameter 'filename' is missing");
		rc = path_strip_protocol(&o.filename, e);
		if (rc < 0)
			return rc;
	}
	return image_open(img, &o, e);
}

/* An inline child takes over the options of its parent that it does not set itself. */
static void layer_inherit(struct layer *child, const struct layer *parent)
{
	if (child->direct == OPT_AUTO)
		child->direct = parent->direct;
	if (child->no_flush == OPT_AUTO)
		child->no_flush = parent->no_flush;
	if (child->aio == AIO_AUTO)
		child->aio = parent->aio;
	if (child->locking == OPT_AUTO)
		child->locking = parent->locking;
	child->read_only |= parent->read_only;
	child->force_share |= parent->force_share;
}

static int block_set_names(struct block *b, const char *id, const char *node_name, struct err *e)
{
	int rc = 0;

	if (id)
		b->id = strdup(id);
	if (node_name)
		b->node_name = strdup(node_name);
	else
		rc = asprintf(&b->node_name, "#block%u", b->bs->made_up++);
	if (rc < 0 || !b->node_name || (id && !b->id))
		return err_nomem(e);
	return 0;
}

static int node_check_name(struct blocks *bs, const char *name, struct err *e)
{
	struct block *b;

	if (!name)
		return 0;
	if (!id_wellformed(name) || strlen(name) > 31)
		return err_set(e, -EINVAL,
			       "Invalid node-name: '%s' (a letter, then letters, digits, '-', '.', "
			       "'_'; at most 31)",
			       name);
	b = block_find(bs, name);
	if (b && string_equals(b->id, name))
		return err_set(e, -EEXIST, "node-name=%s is conflicting with a device id", name);
	if (b)
		return err_set(e, -EEXIST, "Duplicate nodes with node-name='%s'", name);
	return 0;
}

static int block_set_range(struct block *b, uint64_t offset, uint64_t size, struct err *e)
{
	if (offset % SECTOR)
		return err_set(e, -EINVAL, "Specified offset is not multiple of %d", SECTOR);
	if (size % SECTOR)
		return err_set(e, -EINVAL, "Specified size is not multiple of %d", SECTOR);
	if (!range_ok(offset, size, b->size))
		return err_set(
			e, -EINVAL,
			"The offset and size do not fit into the image, which has %llu bytes",
			(unsigned long long)b->size);
	b->base += offset;
	b->size = size ? size : b->size - offset;
	return 0;
}

static void block_set_policy(struct block *b, const struct layer *l)
{
	b->discard = l->discard >= DISCARD_UNMAP;
	b->detect = l->detect;
	b->read_only |= l->read_only;
}

static int block_create(struct blocks *bs, struct image *img, const char *driver,
			struct block **out, struct err *e)
{
	*out = block_new(bs, img, driver);
	if (*out)
		return 0;
	return err_nomem(e);
}

/* Create a protocol node of its own if `file.node-name` asks for one. */
static int block_add_protocol(struct blocks *bs, struct image *img, const struct layer *l,
			      const char *driver, struct block **child, struct err *e)
{
	int rc;

	if (!l->node_name)
		return 0;
	rc = block_create(bs, img, driver, child, e);
	if (rc < 0)
		return rc;
	block_set_policy(*child, l);
	return block_set_names(*child, NULL, l->node_name, e);
}

/* Set the names, range and policy of the node that `o` describes. `child` may be NULL. */
static int block_finish(struct block *b, struct block *child, const struct node_opts *o,
			struct err *e)
{
	int rc = block_set_names(b, o->id, o->top.node_name, e);

	if (!rc && string_equals(b->driver, "raw"))
		rc = block_set_range(b, o->offset, o->top.size, e);
	if (rc < 0)
		return rc;
	block_set_policy(b, &o->top);
	if (child) {
		b->child = child;
		child->parents++;
	}
	return 0;
}

/* Open the image that `o` describes and create its nodes. `path` is the image file as it stands in
 * the option, or NULL. */
static int nodes_build(struct blocks *bs, struct node_opts *o, const char *driver, const char *path,
		       struct block **out, struct err *e)
{
	bool raw = string_equals(driver, "raw");
	const char *protocol = raw ? o->file.driver : driver;
	struct layer *l = raw ? &o->file : &o->top;
	struct block *b = NULL, *child = NULL;
	struct image *img = NULL;
	int rc;

	if (string_equals(path, "null-co://") || string_equals(path, "null-aio://"))
		protocol = string_equals(path, "null-co://") ? "null-co" : "null-aio";
	if (protocol && (!driver_find(protocol) || string_equals(protocol, "raw")))
		return error_unknown_driver(protocol, e);
	if (raw)
		layer_inherit(l, &o->top);
	rc = layer_open(&img, l, protocol, path, e);
	if (!rc && raw)
		rc = block_add_protocol(bs, img, l,
					protocol ? driver_find(protocol) : image_driver(img),
					&child, e);
	if (!rc)
		rc = block_create(bs, img, driver_find(driver), &b, e);
	if (!rc)
		rc = block_finish(b, child, o, e);
	if (rc < 0) {
		block_free(b);
		block_free(child);
	}
	image_unref(img); /* the nodes have references of their own */
	*out = b;
	return rc;
}

/* --- -drive --- */

static int drive_check_interface(const struct node_opts *o, struct err *e)
{
	static const char *const qemu[] = {"virtio", "ide", "scsi", "floppy",
					   "pflash", "mtd", "sd",   "xen"};

	if (string_equals(o->iface, "none"))
		return 0;
	if (!o->iface)
		return err_set(e, -EINVAL,
			       "Parameter 'if' is missing: say if=none,id=ID here and -device "
			       "virtio-blk-pci,drive=ID");
	for (unsigned i = 0; i < ARRAY_SIZE(qemu); i++)
		if (string_equals(o->iface, qemu[i]))
			return err_set(
				e, -ENOTSUP,
				"machine type does not support if=%s: say if=none,id=ID here "
				"and -device virtio-blk-pci,drive=ID",
				o->iface);
	return err_set(e, -EINVAL, "unsupported bus type '%s' (accepted: none)", o->iface);
}

static int drive_check(struct blocks *bs, const struct node_opts *o, struct err *e)
{
	struct block *other = o->id ? block_find(bs, o->id) : NULL;
	int rc = o->id ? id_check("id", o->id, e) : 0;

	if (rc < 0)
		return rc;
	if (other && string_equals(other->id, o->id))
		return id_taken(o->id, "drive", e);
	if (other)
		return err_set(e, -EEXIST, "Device with id '%s' conflicts with a node-name", o->id);
	if (o->format && o->top.driver)
		return err_set(e, -EINVAL, "Cannot specify both 'driver' and 'format'");
	if (o->below && o->top.filename)
		return err_set(e, -EINVAL, "Cannot specify both 'file' and 'filename'");
	if (o->snapshot)
		return err_set(e, -ENOTSUP,
			       "snapshot=on is not supported: raw images have no overlay");
	if (o->copy_on_read)
		return err_set(e, -ENOTSUP,
			       "copy-on-read=on is not supported: raw images have no backing file");
	return drive_check_interface(o, e);
}

/* cache= sets three options at once. One that is also given by itself has that value. */
static void cache_apply(struct node_opts *o, bool *write_cache)
{
	bool direct =
		o->cache == CACHE_NONE || o->cache == CACHE_OFF || o->cache == CACHE_DIRECTSYNC;
	bool through = o->cache == CACHE_WRITETHROUGH || o->cache == CACHE_DIRECTSYNC;

	if (o->top.direct == OPT_AUTO)
		o->top.direct = direct ? OPT_ON : OPT_OFF;
	if (o->top.no_flush == OPT_AUTO)
		o->top.no_flush = o->cache == CACHE_UNSAFE ? OPT_ON : OPT_OFF;
	*write_cache = o->writeback == OPT_AUTO ? !through : o->writeback == OPT_ON;
}

static int drive_add(struct blocks *bs, struct kvs *k, struct node_opts *o, struct err *e)
{
	const char *driver, *path, *unused;
	bool write_cache;
	struct block *b;
	int rc = opts_apply(drive_tables, k, o, e);

	if (!rc)
		rc = layer_check_policy(&o->top, e);
	if (!rc)
		rc = drive_check(bs, o, e);
	if (!rc)
		rc = node_check_name(bs, o->top.node_name, e);
	if (!rc)
		rc = node_check_name(bs, o->file.node_name, e);
	if (rc < 0)
		return rc;
	driver = o->format ? o->format : o->top.driver;
	if (driver && !driver_find(driver))
		return error_unknown_driver(driver, e);
	unused = kvs_unused(k);
	if (unused)
		return err_set(
			e, -EINVAL, "Block format 'raw' does not support the option '%s'%s", unused,
			string_equals(unused, "serial") ? " (say serial= in -device virtio-blk-pci)"
							: "");
	path = o->below ? o->below : o->top.filename ? o->top.filename : o->file.filename;
	cache_apply(o, &write_cache);
	o->top.read_only |= o->readonly || o->media == MEDIA_CDROM;
	if (!path && !driver_is_null(driver) && !driver_is_null(o->file.driver)) {
		if (driver)
			return err_set(e, -EINVAL, "A block device must be specified for \"file\"");
		rc = block_create(bs, NULL, "raw", &b, e);
		if (rc < 0)
			return rc;
		rc = block_set_names(b, o->id, o->top.node_name, e);
		if (rc < 0)
			block_free(b);
		return rc;
	}
	rc = nodes_build(bs, o, driver ? driver : "raw", path, &b, e);
	if (rc < 0)
		return rc;
	if (!driver && path)
		log_warn(
			"%s: image format not given: '%s' is taken as raw (format=raw), images are "
			"not probed",
			k->origin, path);
	block_set_write_cache(b, write_cache);
	return 0;
}

int blocks_add_drive(struct blocks *bs, struct kvs *k, struct err *e)
{
	struct node_opts o = {0};
	int rc = drive_add(bs, k, &o, e);

	opts_release(drive_tables, &o);
	return rc;
}

/* --- -blockdev --- */

/* Create a raw node whose child is an existing node. */
static int node_add_above(struct blocks *bs, const struct node_opts *o, struct err *e)
{
	struct block *below = block_find(bs, o->below), *b;
	int rc;

	if (!below)
		return err_set(e, -ENOENT, "Cannot find device='%s' nor node-name='%s'", o->below,
			       o->below);
	if (!below->img)
		return err_set(e, -ENOMEDIUM, "Drive '%s' is empty", o->below);
	rc = block_create(bs, below->img, "raw", &b, e);
	if (rc < 0)
		return rc;
	b->base = below->base;
	b->size = below->size;
	b->read_only = below->read_only;
	rc = block_set_range(b, o->offset, o->top.size, e);
	if (!rc)
		rc = block_set_names(b, NULL, o->top.node_name, e);
	if (rc < 0) {
		block_free(b);
		return rc;
	}
	block_set_policy(b, &o->top);
	b->discard &= below->discard;
	b->child = below;
	below->parents++;
	return 0;
}

static int node_add(struct blocks *bs, struct kvs *k, struct node_opts *o, struct err *e)
{
	const char *driver, *unused;
	struct block *b;
	int rc = opts_apply(node_tables, k, o, e);

	if (rc < 0)
		return rc;
	driver = o->top.driver;
	if (!driver)
		return err_set(e, -EINVAL, "Parameter 'driver' is missing");
	if (!driver_find(driver))
		return error_unknown_driver(driver, e);
	unused = kvs_unused(k);
	if (unused)
		return err_set(e, -EINVAL, "Parameter '%s' is unexpected", unused);
	if (!o->top.node_name)
		return err_set(e, -EINVAL, "'node-name' must be specified for the root node");
	rc = layer_check_policy(&o->top, e);
	if (!rc)
		rc = node_check_name(bs, o->top.node_name, e);
	if (!rc)
		rc = node_check_name(bs, o->file.node_name, e);
	if (rc < 0)
		return rc;
	if (!string_equals(driver, "raw")) {
		if (o->below || o->file.driver || o->file.filename)
			return err_set(e, -EINVAL,
				       "Parameter 'file' is unexpected: '%s' has 'filename'",
				       driver);
		return nodes_build(bs, o, driver, o->top.filename, &b, e);
	}
	if (o->top.filename)
		return err_set(e, -EINVAL, "Parameter 'filename' is unexpected: 'raw' has 'file'");
	if (o->below)
		return node_add_above(bs, o, e);
	if (!o->file.driver)
		return err_set(e, -EINVAL, "Parameter '%s' is missing",
			       o->file.filename ? "file.driver" : "file");
	return nodes_build(bs, o, driver, o->file.filename, &b, e);
}

int blocks_add_node(struct blocks *bs, struct kvs *k, struct err *e)
{
	struct node_opts o = {0};
	int rc = node_add(bs, k, &o, e);

	opts_release(node_tables, &o);
	return rc;
}
