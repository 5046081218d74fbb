/* SPDX-License-Identifier: MIT */
/* virtio_blk.h - what virtio_blk.c (set-up, configuration), virtio_blk_map.c (threads) and
 * virtio_blk_io.c (requests) share */
#ifndef DEV_VIRTIO_BLK_H
#define DEV_VIRTIO_BLK_H

#include "base/log.h"
#include "block/block.h"
#include "virtio/vdev.h"

#define BLK_F_DISCARD	   (1ULL << 13)
#define BLK_F_WRITE_ZEROES (1ULL << 14)

#define BLK_SECTOR 512u

struct dev_env;
struct blk;
struct blk_queue;

/* One request on its way through the disk. */
struct blk_req {
	struct block_req io;
	struct blk_queue *q;
	struct vchain *c;
	struct blk_req *next; /* in blk_queue.free */
};

struct blk_queue {
	struct blk *d;
	struct vqueue *vq;
	struct block_queue *disk;
	struct blk_req *reqs, *free;
	unsigned fresh; /* reqs[fresh] and later ones were not used yet: no page is allocated */
	struct log_rate rate;
};

struct blk {
	struct vdev v;
	struct block *disk;
	bool attached;
	struct blk_queue *queue;
	unsigned queues;
	uint64_t capacity; /* sectors */
	unsigned block;	   /* logical block, bytes */
	bool wce_default;
	atomic_bool wce;

	/* options */
	char *drive, *serial, *iothread;
	struct kvs mapping; /* iothread-vq-mapping */
	uint64_t num_queues, queue_size;
	uint64_t logical, physical, min_io, opt_io, granularity;
	uint64_t cyls, heads, secs;
	uint64_t max_discard, max_zeroes;
	uint8_t write_cache;
	unsigned werror, rerror;
	bool config_wce, discard, zeroes, seg_max_adjust, report_granularity, share_rw;
};

/* virtio_blk_map.c: store the loop of each of the d->num_queues queues in `loops`, which is all
 * NULL before. 0 or -errno with `e`. */
int blk_map_queues(struct blk *d, struct dev_env *env, struct loop **loops, struct err *e);
/* The vdev's kick(): start requests until the queue is empty. */
void blk_kick(struct vqueue *vq);
/* The vdev's idle(): return the memory of the requests, none of which is in flight. */
void blk_idle(struct vqueue *vq);

#endif
