/* SPDX-License-Identifier: MIT */
/* internal.h - what the files of this folder share: the queue's insides and the device's status
 *
 * queue.c owns a queue's life (start, stop, kick, batching), pool.c the memory of its chains,
 * split.c and packed.c the two layouts
 * of a ring (ring.h), vdev.c the device's life (status, features, reset, interrupts), transport.c
 * the registers.
 */
#ifndef VIRTIO_INTERNAL_H
#define VIRTIO_INTERNAL_H

#include "base/loop.h"
#include "mem/gmem.h"
#include "virtio/vdev.h"

#define VIRTIO_NO_VECTOR 0xffff

/* Doorbells that the layout has room for. */
#define VQ_PER_DEVICE_MAX 1024

#define STATUS_ACKNOWLEDGE 0x01
#define STATUS_DRIVER	   0x02
#define STATUS_DRIVER_OK   0x04
#define STATUS_FEATURES_OK 0x08
#define STATUS_NEEDS_RESET 0x40
#define STATUS_FAILED	   0x80

/* One of the three areas of a ring. Elements never cross a page, but the area may lie in several
 * mappings. */
#define RING_SEGMENTS 6
struct ring_area {
	struct iovec seg[RING_SEGMENTS];
	unsigned segs;
};

/* In a chain's own memory; a longer list of segments is borrowed from the queue. */
#define CHAIN_INLINE_IOV 18

struct chain_slot {
	struct vchain c;
	struct chain_slot *free_next;
	struct list order; /* VIRTIO_F_IN_ORDER: by age, until pushed */
	uint32_t written;
	bool done;
	uint16_t at;	 /* where it was in the ring */
	unsigned places; /* packed ring: descriptors taken */
	bool rejected;
	struct iov_block *block;
	struct iovec iov[CHAIN_INLINE_IOV];
};

/* Room for the longest chain: one element per descriptor, and some that a mapping's end splits. */
#define IOV_BLOCK (VQ_SIZE_MAX + 64)
struct iov_block {
	struct iov_block *next;
	struct iovec iov[IOV_BLOCK];
};

/* pool.c */
struct chain_pool {
	struct list by_age; /* chains in flight, oldest first, when in_order */
	struct chain_slot *slots, *free;
	unsigned used; /* of `slots`, in order of first use */
	struct iov_block *free_blocks;
	unsigned blocks, n_free; /* there are so many, and so many are free */
	/* To give back what is not needed: */
	struct loop_timer timer;
	bool trimming;
	unsigned least; /* free blocks at any time since the timer was set */
	uint64_t turn;	/* last turn in which the queue was looked at, then */
};

enum vq_state {
	VQ_STOPPED, /* no ring */
	VQ_RUNNING,
	VQ_PAUSED,   /* nothing is popped; what is in flight is still pushed */
	VQ_STOPPING, /* nothing is popped; what is in flight is forgotten when it ends */
};

/* What the exit loop asked for and a queue's loop has done. */
#define REPORT_STOP  1u
#define REPORT_PAUSE 2u

struct ring_ops;

struct vqueue {
	struct vdev *v;
	struct loop *loop;
	uint16_t index, size_max;
	void *priv;

	/* Exit loop: what the driver programmed. */
	uint16_t size;
	uint64_t desc, avail, used;
	bool enabled;
	bool live;	 /* started, and not reported as stopped since */
	bool resetting;	 /* queue_reset is in progress */
	bool want_stop;	 /* a stop is wanted and has not been reported yet */
	bool stop_asked; /* ... and the queue's loop knows */
	bool want_pause;
	atomic_uint vector;

	/* Queue's loop from here on, but `state`, which any thread may read. */
	atomic_int state;
	const struct ring_ops *ring;
	uint16_t num; /* entries */
	struct ring_area desc_area, avail_area, used_area;
	uint32_t gen;	     /* of guest memory when the areas were pinned; 0: they are not */
	uint16_t last_avail; /* next entry to pop */
	uint16_t avail_idx;  /* last value read */
	uint16_t used_idx;   /* next entry to fill */
	union {
		uint16_t published;   /* split ring: used index the guest sees */
		uint16_t batch_first; /* packed ring: place of the batch's first descriptor */
	};
	bool avail_wrap, used_wrap; /* packed ring, as are the next three */
	uint16_t batch, taken, first_flags;
	bool event_idx, indirect, in_order;
	bool notify_off; /* the NO_NOTIFY flag is set */
	bool drained;	 /* the ring was seen empty, so it may be looked at */
	struct loop_poller poller;
	bool in_kick;	 /* kick() is running: it flushes at its end */
	unsigned report; /* REPORT_*: to be said when nothing is in flight any more */
	unsigned inflight;
	uint64_t turn; /* of the loop, for which `budget` holds */
	unsigned budget;

	struct chain_pool pool;

	struct vq_server *server; /* who is to serve it; NULL: the device */
	bool served;		  /* ... and does */
	atomic_int kick_fd;	  /* while it does, else -1 */

	struct gmem_holder holder;
	struct loop_task kick_task, flush_task, start_task, stop_task, pause_task, resume_task,
		serve_task, stale_task;
	struct loop_task idle_task; /* to the exit loop, with the news: */
	atomic_uint reported;	    /* REPORT_* */
};

struct vdev_state {
	struct vdev *v;
	atomic_uint status;
	bool resetting;
	bool started; /* ops->start() was called */
	uint32_t offered_select, accepted_select;
	uint64_t accepted; /* written by the driver, not yet checked */
	uint16_t queue_select;
	atomic_uint config_vector;
	uint8_t generation;
	atomic_uint isr;

	atomic_bool held; /* paused: a queue that starts now waits too */
	atomic_bool broken;
	char why[160];
	struct loop_task break_task;

	void (*paused)(void *arg);
	void *paused_arg;

	uint8_t cap_pci_cfg; /* offset of the configuration access capability */
	uint64_t notify_stride;
};

/* --- queue.c --- */
struct vqueue *vq_new(struct vdev *v, unsigned index, unsigned size, struct loop *loop);
void vq_free(struct vqueue *vq);
/* Exit loop: the ring addresses are checked and the queue's loop takes over. */
void vq_start(struct vqueue *vq);
/* Exit loop: ask for a stop; vdev_queue_idle() is called there when nothing is in flight any more
 * (perhaps at once). */
void vq_stop(struct vqueue *vq);
void vq_pause(struct vqueue *vq);
void vq_resume(struct vqueue *vq);
/* Exit loop: the driver rang. */
void vq_doorbell(struct vqueue *vq);
/* Exit loop: bus mastering came or went. */
void vq_master_changed(struct vqueue *vq);
/* Are the areas that the driver programmed aligned and in RAM? */
bool vq_areas_ok(const struct vqueue *vq);
/* Its segments are unpinned, and a stop that waits for it is reported. */
void vq_chain_put(struct vchain *c);

/* --- pool.c: all on the queue's loop --- */
void pool_init(struct vqueue *vq);
/* A ring of vq->num entries begins. -1: out of memory. */
int pool_start(struct vqueue *vq);
/* Nothing is in flight: give the memory back, soon. */
void pool_stop(struct vqueue *vq);
void pool_free(struct vqueue *vq);
/* A chain from the queue's pool with room for CHAIN_INLINE_IOV elements; NULL: more are in flight
 * than the ring has entries. */
struct vchain *vq_chain_get(struct vqueue *vq);
/* Room for IOV_BLOCK elements; NULL: out of memory. */
struct iovec *vq_chain_grow(struct vchain *c);
/* It is in flight no more. */
void pool_put(struct vqueue *vq, struct chain_slot *s);

/* --- vdev.c --- */
/* The layout that was negotiated. */
const struct ring_ops *vdev_ring(const struct vdev *v);
/* Exit loop: a queue has become idle after vq_stop() or vq_pause(). */
void vdev_queue_idle(struct vqueue *vq);
void vdev_set_status(struct vdev *v, uint8_t status);
void vdev_reset(struct vdev *v);
void vdev_queue_enable(struct vdev *v, struct vqueue *vq);
void vdev_queue_reset(struct vdev *v, struct vqueue *vq);
/* Any thread. */
void vdev_queue_interrupt(struct vqueue *vq);

/* --- transport.c --- */
/* BARs, capabilities and MSI-X with `vectors` entries (0: none). */
int transport_init(struct vdev *v, unsigned vectors, struct err *e);

#endif
