/* SPDX-License-Identifier: MIT */
/* virtio_blk.c - virtio-blk-pci: a disk; its options, its configuration space, its write cache
 *
 * Owns one attachment to a disk of src/block and, for each virtqueue, a queue on that disk and a
 * fixed set of requests, so that nothing is allocated while the guest runs. virtio_blk_io.c
 * processes the requests.
 *
 * The set-up runs on the control thread; the write cache is switched on the exit loop.
 *
 * Virtio 1.3 §5.2.
 */
#include "dev/virtio_blk.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"
#include "dev/dev.h"
#include "dev/env.h"

#define F_SEG_MAX    (1ULL << 2)
#define F_GEOMETRY   (1ULL << 4)
#define F_RO	     (1ULL << 5)
#define F_BLK_SIZE   (1ULL << 6)
#define F_FLUSH	     (1ULL << 9)
#define F_TOPOLOGY   (1ULL << 10)
#define F_CONFIG_WCE (1ULL << 11)
#define F_MQ	     (1ULL << 12)

/* struct virtio_blk_config, little endian */
#define CFG_CAPACITY	     0
#define CFG_SEG_MAX	     12
#define CFG_CYLINDERS	     16
#define CFG_HEADS	     18
#define CFG_SECTORS	     19
#define CFG_BLK_SIZE	     20
#define CFG_PHYSICAL_EXP     24
#define CFG_MIN_IO	     26
#define CFG_OPT_IO	     28
#define CFG_WCE		     32
#define CFG_NUM_QUEUES	     34
#define CFG_LEN		     36 /* without discard and write-zeroes */
#define CFG_MAX_DISCARD	     36
#define CFG_MAX_DISCARD_SEG  40
#define CFG_DISCARD_ALIGN    44
#define CFG_DISCARD_LEN	     48
#define CFG_MAX_ZEROES	     48
#define CFG_MAX_ZEROES_SEG   52
#define CFG_ZEROES_MAY_UNMAP 56
#define CFG_ZEROES_LEN	     57

#define SECTORS_MAX 4194303 /* of a discard or write-zeroes: less than 2 GiB */
#define QUEUES_AUTO 65535
#define UNSET	    UINT32_MAX

/* --- write cache --- */

static void set_wce(struct blk *d, bool on)
{
	d->v.config[CFG_WCE] = on;
	atomic_store(&d->wce, on);
	block_set_write_cache(d->disk, on);
}

/* If the driver did not accept VIRTIO_BLK_F_FLUSH, every write must be on stable storage when it
 * is completed (§5.2.6.2). */
static void blk_start(struct vdev *v)
{
	struct blk *d = (struct blk *)v;

	if (!vdev_has(v, F_CONFIG_WCE))
		set_wce(d, d->wce_default && vdev_has(v, F_FLUSH));
}

static void blk_reset(struct vdev *v)
{
	struct blk *d = (struct blk *)v;

	set_wce(d, d->wce_default);
}

static void blk_config_written(struct vdev *v, unsigned off, unsigned len)
{
	struct blk *d = (struct blk *)v;

	if (off <= CFG_WCE && CFG_WCE < off + len)
		set_wce(d, v->config[CFG_WCE] & 1);
}

/* --- set-up --- */

static int check_block_sizes(struct blk *d, struct err *e)
{
	const struct {
		const char *name;
		uint64_t value;
	} io[] = {{"min_io_size", d->min_io},
		  {"opt_io_size", d->opt_io},
		  {"discard_granularity", d->granularity == UNSET ? 0 : d->granularity}};

	/* Defaults: 512 for the logical block, and the logical block for the physical one. */
	if (!d->logical)
		d->logical = BLK_SECTOR;
	if (!d->physical)
		d->physical = d->logical;
	if (d->logical < BLK_SECTOR || d->logical > 2 * MiB || !is_pow2(d->logical))
		return err_set(e, -EINVAL,
			       "parameter logical_block_size must be a power of 2 between 512 and "
			       "2097152");
	if (d->physical < BLK_SECTOR || d->physical > 2 * MiB || !is_pow2(d->physical))
		return err_set(e, -EINVAL,
			       "parameter physical_block_size must be a power of 2 between 512 and "
			       "2097152");
	if (d->logical > d->physical)
		return err_set(e, -EINVAL,
			       "logical_block_size > physical_block_size not supported");
	for (unsigned i = 0; i < ARRAY_SIZE(io); i++)
		if (io[i].value % d->logical)
			return err_set(e, -EINVAL, "%s must be a multiple of logical_block_size",
				       io[i].name);
	if (d->min_io / d->logical > UINT16_MAX)
		return err_set(e, -EINVAL, "min_io_size must not exceed %llu",
			       (unsigned long long)(UINT16_MAX * d->logical));
	return 0;
}

static int check_limits(struct blk *d, struct err *e)
{
	if (!d->num_queues)
		return err_set(e, -EINVAL, "num-queues property must be larger than 0");
	if (d->num_queues > VQ_SIZE_MAX)
		return err_set(e, -EINVAL, "invalid num-queues property (%llu), must be at most %d",
			       (unsigned long long)d->num_queues, VQ_SIZE_MAX);
	if (d->queue_size <= 2)
		return err_set(e, -EINVAL, "invalid queue-size property (%llu), must be > 2",
			       (unsigned long long)d->queue_size);
	if (!is_pow2(d->queue_size) || d->queue_size > VQ_SIZE_MAX)
		return err_set(e, -EINVAL,
			       "invalid queue-size property (%llu), must be a power of 2 (max %d)",
			       (unsigned long long)d->queue_size, VQ_SIZE_MAX);
	if (d->discard && (!d->max_discard || d->max_discard > SECTORS_MAX))
		return err_set(
			e, -EINVAL,
			"invalid max-discard-sectors property (%llu), must be between 1 and %d",
			(unsigned long long)d->max_discard, SECTORS_MAX);
	if (d->zeroes && (!d->max_zeroes || d->max_zeroes > SECTORS_MAX))
		return err_set(
			e, -EINVAL,
			"invalid max-write-zeroes-sectors property (%llu), must be between 1 "
			"and %d",
			(unsigned long long)d->max_zeroes, SECTORS_MAX);
	return 0;
}

/* Without cyls, heads and secs, use the geometry that QEMU assumes for a disk without a DOS
 * partition table. If only some of the three are given, the missing ones are refused. */
static int set_geometry(struct blk *d, struct err *e)
{
	if (!d->cyls && !d->heads && !d->secs) {
		d->heads = 16;
		d->secs = 63;
		d->cyls = MIN(MAX(d->capacity / (16 * 63), 2ULL), 16383ULL);
	}
	if (!d->cyls || d->cyls > 65535)
		return err_set(e, -EINVAL, "cyls must be between 1 and 65535");
	if (!d->heads || d->heads > 255)
		return err_set(e, -EINVAL, "heads must be between 1 and 255");
	if (!d->secs || d->secs > 255)
		return err_set(e, -EINVAL, "secs must be between 1 and 255");
	return 0;
}

static unsigned log2_of(uint64_t x)
{
	return 63 - (unsigned)__builtin_clzll(x);
}

static int fill_config(struct blk *d, struct err *e)
{
	unsigned len = d->zeroes ? CFG_ZEROES_LEN : d->discard ? CFG_DISCARD_LEN : CFG_LEN;
	uint64_t granularity =
		d->report_granularity && d->granularity != UNSET ? d->granularity : 0;
	int rc = vdev_config_init(&d->v, len, e);
	uint8_t *c = d->v.config;

	if (rc < 0)
		return rc;
	put_le64(c + CFG_CAPACITY, d->capacity);
	put_le32(c + CFG_SEG_MAX, (uint32_t)(d->seg_max_adjust ? d->queue_size - 2 : 128 - 2));
	put_le16(c + CFG_CYLINDERS, (uint16_t)d->cyls);
	c[CFG_HEADS] = (uint8_t)d->heads;
	c[CFG_SECTORS] = (uint8_t)d->secs;
	put_le32(c + CFG_BLK_SIZE, d->block);
	c[CFG_PHYSICAL_EXP] = (uint8_t)log2_of(d->physical / d->logical);
	put_le16(c + CFG_MIN_IO, (uint16_t)(d->min_io / d->logical));
	put_le32(c + CFG_OPT_IO, (uint32_t)(d->opt_io / d->logical));
	put_le16(c + CFG_NUM_QUEUES, (uint16_t)d->num_queues);
	if (d->config_wce)
		d->v.config_wmask[CFG_WCE] = 1;
	set_wce(d, d->wce_default);
	if (len > CFG_LEN) {
		put_le32(c + CFG_MAX_DISCARD, d->discard ? (uint32_t)d->max_discard : 0);
		put_le32(c + CFG_MAX_DISCARD_SEG, d->discard);
		put_le32(c + CFG_DISCARD_ALIGN,
			 (uint32_t)((granularity ? granularity : d->block) / BLK_SECTOR));
	}
	if (d->zeroes) {
		put_le32(c + CFG_MAX_ZEROES, (uint32_t)d->max_zeroes);
		put_le32(c + CFG_MAX_ZEROES_SEG, 1);
		c[CFG_ZEROES_MAY_UNMAP] = 1;
	}
	return 0;
}

static uint64_t blk_features(const struct blk *d)
{
	uint64_t f = F_SEG_MAX | F_GEOMETRY | F_BLK_SIZE | F_TOPOLOGY;

	if (block_read_only(d->disk))
		f |= F_RO;
	if (d->wce_default || d->config_wce)
		f |= F_FLUSH;
	if (d->config_wce)
		f |= F_CONFIG_WCE;
	if (d->num_queues > 1)
		f |= F_MQ;
	if (d->discard)
		f |= BLK_F_DISCARD;
	if (d->zeroes)
		f |= BLK_F_WRITE_ZEROES;
	return f;
}

static int add_queue(struct blk *d, struct loop *l, struct err *e)
{
	struct blk_queue *q = &d->queue[d->queues];

	q->d = d;
	q->reqs = calloc(d->queue_size, sizeof(*q->reqs));
	q->vq = q->reqs ? vdev_queue_add(&d->v, (unsigned)d->queue_size, l) : NULL;
	d->queues++;
	if (!q->vq)
		return err_nomem(e);
	vq_set_priv(q->vq, q);
	q->disk = block_queue_new(d->disk, l, e);
	return q->disk ? 0 : -ENOMEM;
}

static int add_queues(struct blk *d, struct dev_env *env, struct err *e)
{
	struct loop **loops = calloc(d->num_queues, sizeof(struct loop *));
	int rc;

	d->queue = calloc(d->num_queues, sizeof(*d->queue));
	if (!loops || !d->queue) {
		free(loops);
		return err_nomem(e);
	}
	rc = blk_map_queues(d, env, loops, e);
	while (!rc && d->queues < d->num_queues)
		rc = add_queue(d, loops[d->queues], e);
	free(loops);
	return rc;
}

static int find_drive(struct blk *d, struct dev_env *env, struct err *e)
{
	struct block_use use = {.user = vdev_name(&d->v),
				.share_rw = d->share_rw,
				.block_size = (unsigned)d->logical};
	int rc;

	if (!d->drive)
		return err_set(e, -EINVAL, "drive property not set");
	d->disk = block_find(env->blocks, d->drive);
	if (!d->disk)
		return err_set(e, -ENOENT,
			       "Property 'virtio-blk-device.drive' can't find value '%s'",
			       d->drive);
	rc = block_attach(d->disk, &use, e);
	d->attached = !rc;
	return rc;
}

static int blk_realize(struct vdev *v, struct dev_env *env, struct err *e)
{
	struct blk *d = (struct blk *)v;
	int rc;

	if (d->num_queues == QUEUES_AUTO)
		d->num_queues = MIN(MAX(env->hv->vcpus, 1u), (unsigned)VQ_SIZE_MAX);
	rc = check_block_sizes(d, e);
	if (!rc)
		rc = check_limits(d, e);
	if (!rc)
		rc = find_drive(d, env, e);
	if (rc < 0)
		return rc;
	d->block = (unsigned)d->logical;
	d->capacity = block_size(d->disk) / BLK_SECTOR;
	d->wce_default =
		d->write_cache == OPT_AUTO ? block_write_cache(d->disk) : d->write_cache == OPT_ON;
	rc = set_geometry(d, e);
	if (!rc)
		rc = fill_config(d, e);
	if (!rc)
		rc = add_queues(d, env, e);
	v->offered |= blk_features(d);
	return rc;
}

static void blk_unrealize(struct vdev *v)
{
	struct blk *d = (struct blk *)v;

	for (unsigned i = 0; i < d->queues; i++) {
		block_queue_free(d->queue[i].disk);
		free(d->queue[i].reqs);
	}
	free(d->queue);
	d->queue = NULL;
	d->queues = 0;
	if (d->attached)
		block_detach(d->disk);
	d->attached = false;
}

static const struct vdev_ops blk_ops = {
	.virtio_id = 2,
	.pci_class = 0x010000,
	.realize = blk_realize,
	.unrealize = blk_unrealize,
	.start = blk_start,
	.reset = blk_reset,
	.config_written = blk_config_written,
	.kick = blk_kick,
	.idle = blk_idle,
};

static const char *const on_error[] = {"auto", "report", "ignore", "enospc", "stop", NULL};

#define AT(field) offsetof(struct blk, field)

/* clang-format off */
static const struct opt blk_options[] = {
	{.name = "drive", .type = OPT_STRING, .at = AT(drive),
	 .help = "id of a -drive or node-name of a -blockdev"},
	{.name = "serial", .type = OPT_STRING, .at = AT(serial),
	 .help = "what the guest reads as the disk's serial number, 20 bytes"},
	{.name = "num-queues", .type = OPT_UINT, .at = AT(num_queues), .def = "65535",
	 .help = "queues; 65535: one for each vCPU"},
	{.name = "queue-size", .type = OPT_UINT, .at = AT(queue_size), .def = "256",
	 .help = "entries of a queue, a power of 2 up to 1024"},
	{.name = "iothread", .type = OPT_STRING, .at = AT(iothread),
	 .help = "id of the -object iothread that serves all queues"},
	{.name = "iothread-vq-mapping", .type = OPT_TREE, .at = AT(mapping),
	 .help = "[{\"iothread\": ID, \"vqs\": [QUEUE...]}...]: a thread for each queue; without vqs they go round"},
	{.name = "seg-max-adjust", .type = OPT_BOOL, .at = AT(seg_max_adjust), .def = "on",
	 .help = "segments of a request follow queue-size"},
	{.name = "logical_block_size", .type = OPT_SIZE, .at = AT(logical), .def = "0",
	 .help = "block of the guest, 512 to 2M"},
	{.name = "physical_block_size", .type = OPT_SIZE, .at = AT(physical), .def = "0",
	 .help = "block that the guest should prefer, 512 to 2M"},
	{.name = "min_io_size", .type = OPT_SIZE, .at = AT(min_io), .def = "0",
	 .help = "smallest I/O the guest should prefer"},
	{.name = "opt_io_size", .type = OPT_SIZE, .at = AT(opt_io), .def = "0",
	 .help = "best I/O size for the guest"},
	{.name = "discard_granularity", .type = OPT_SIZE, .at = AT(granularity), .def = "4294967295",
	 .help = "bytes; 4294967295: a logical block"},
	{.name = "report-discard-granularity", .type = OPT_BOOL, .at = AT(report_granularity), .def = "on",
	 .help = "tell the guest discard_granularity"},
	{.name = "write-cache", .type = OPT_ONOFFAUTO, .at = AT(write_cache), .def = "auto",
	 .help = "the guest sees a write cache; auto: as cache= of the drive says"},
	{.name = "config-wce", .type = OPT_BOOL, .at = AT(config_wce), .def = "on",
	 .help = "the guest may switch its write cache"},
	{.name = "discard", .type = OPT_BOOL, .at = AT(discard), .def = "on",
	 .help = "offer discard"},
	{.name = "write-zeroes", .type = OPT_BOOL, .at = AT(zeroes), .def = "on",
	 .help = "offer write-zeroes"},
	{.name = "max-discard-sectors", .type = OPT_UINT, .at = AT(max_discard), .def = "4194303",
	 .help = "sectors of one discard, 1 to 4194303"},
	{.name = "max-write-zeroes-sectors", .type = OPT_UINT, .at = AT(max_zeroes), .def = "4194303",
	 .help = "sectors of one write-zeroes, 1 to 4194303"},
	{.name = "share-rw", .type = OPT_BOOL, .at = AT(share_rw), .def = "off",
	 .help = "others may write to the image too"},
	{.name = "cyls", .type = OPT_UINT, .at = AT(cyls), .def = "0",
	 .help = "geometry: cylinders"},
	{.name = "heads", .type = OPT_UINT, .at = AT(heads), .def = "0", .help = "geometry: heads"},
	{.name = "secs", .type = OPT_UINT, .at = AT(secs), .def = "0",
	 .help = "geometry: sectors of a track"},
	{.name = "werror", .type = OPT_ENUM, .at = AT(werror), .values = on_error, .def = "auto",
	 .help = "accepted; errors are reported to the guest"},
	{.name = "rerror", .type = OPT_ENUM, .at = AT(rerror), .values = on_error, .def = "auto",
	 .help = "accepted; errors are reported to the guest"},
	/* Accepted as QEMU does: they name things that this machine does not have or does by itself. */
	{.name = "bootindex", .type = OPT_IGNORED},
	{.name = "request-merging", .type = OPT_IGNORED},
	{.name = "account-invalid", .type = OPT_IGNORED},
	{.name = "account-failed", .type = OPT_IGNORED},
	{.name = "backend_defaults", .type = OPT_IGNORED},
	{.name = "lcyls", .type = OPT_IGNORED},
	{.name = "lheads", .type = OPT_IGNORED},
	{.name = "lsecs", .type = OPT_IGNORED},
	{.name = "scsi", .type = OPT_IGNORED},
	{.name = "x-enable-wce-if-config-wce", .type = OPT_IGNORED},
	OPT_END,
};
/* clang-format on */

/* The configuration space, which includes the write cache's switch, is saved by the core; requests
 * in flight are completed before a state is saved. */
static const struct field blk_fields[] = {
	FIELD_BOOL(struct blk, wce),
	FIELD_END,
};

const struct dev_class dev_virtio_blk = {
	.name = "virtio-blk-pci",
	.alias = "virtio-blk",
	.desc = "disk",
	.size = sizeof(struct blk),
	.options = blk_options,
	.saved = blk_fields,
	.virtio = &blk_ops,
};
