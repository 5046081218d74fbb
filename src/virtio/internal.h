/* SPDX-License-Identifier: MIT */
/* internal.h - what the files of this folder share: the queue's insides and the device's status
 *
 * queue.c owns a queue's life (start, stop, kick, batching), pool.c the memory of its chains,
 * split.c and packed.c the two layouts of a ring (ring.h), vdev.c the device's life (status,
 * features, reset, interrupts), transport.c the registers.
 */
#ifndef VIRTIO_INTERNAL_H
#define VIRTIO_INTERNAL_H

#include "base/loop.h"
#include "mem/gmem.h"
#include "virtio/vdev.h"

#define VIRTIO_NO_VECTOR 0xffff

/* Doorbells that the notification region of the BAR has room for. */
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

/* Segments that fit into a chain's own slot; a chain with more borrows an iov_block. */
#define CHAIN_INLINE_IOV 18

struct chain_slot {
	struct vchain c;
	struct chain_slot *free_next;
	struct list order; /* VIRTIO_F_IN_ORDER: in chain_pool.by_age until it is pushed */
	uint32_t written;  /* VIRTIO_F_IN_ORDER: completed early with this length, ... */
	bool done;	   /* ... and waiting for older chains */
	uint16_t at;	   /* position in the ring from which it was popped */
	unsigned places;   /* packed ring: descriptors that it occupies in the ring */
	bool rejected;	   /* packed ring: has a bad buffer, is completed with nothing written */
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
	struct list by_age; /* VIRTIO_F_IN_ORDER: chains in flight, oldest first */
	struct chain_slot *slots, *free;
	unsigned used; /* of `slots`, in order of first use */
	struct iov_block *free_blocks;
	unsigned blocks, n_free; /* iov_blocks allocated, and how many of them are free */
	/* The timer that frees unused memory (pool.c): */
	struct loop_timer timer;
	bool trimming;	/* the timer is set */
	unsigned least; /* smallest n_free since the timer was set */
	uint64_t turn;	/* vqueue.turn when the timer was set */
};

enum vq_state {
	VQ_STOPPED, /* no ring */
	VQ_RUNNING,
	VQ_PAUSED,   /* nothing is popped; what is in flight is still pushed */
	VQ_STOPPING, /* nothing is popped; what is in flight is forgotten when it ends */
};

/* Bits of vqueue.report and .reported: what the exit loop asked for. */
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
	bool notify_off; /* the driver was told by a flag not to notify */
	bool drained;	 /* the last vq_pop() found the ring empty: it may be polled */
	struct loop_poller poller;
	bool in_kick;	 /* kick() is running: completions are published at its end */
	unsigned report; /* REPORT_*: to report once no chain is in flight */
	unsigned inflight;
	uint64_t turn;	 /* of the loop in which vq_pop() was last called ... */
	unsigned budget; /* ... and the chains that it may still pop in that turn */

	struct chain_pool pool;

	struct vq_server *server; /* vhost back end that is to serve the queue; NULL: the device */
	bool served;		  /* `server` serves it now */
	atomic_int kick_fd;	  /* server->kick_fd while `served`, else -1 */

	struct gmem_holder holder;
	struct loop_task kick_task, flush_task, start_task, stop_task, pause_task, resume_task,
		serve_task, stale_task;
	struct loop_task idle_task; /* runs on the exit loop and reads ... */
	atomic_uint reported;	    /* ... the REPORT_* bits that are done */
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

	atomic_bool held;   /* paused: a queue that is started now is paused, too */
	atomic_bool broken; /* vdev_break() was called, and no reset since */
	char why[160];	    /* ... its message */
	struct loop_task break_task;

	void (*paused)(void *arg); /* vdev_pause(): to call when all queues are paused */
	void *paused_arg;

	uint8_t cap_pci_cfg; /* offset of the configuration access capability */
	uint64_t notify_stride;
};

/* --- queue.c --- */
struct vqueue *vq_new(struct vdev *v, unsigned index, unsigned size, struct loop *loop);
void vq_free(struct vqueue *vq);
/* Exit loop: have the queue's loop pin the ring and serve it. The caller has checked the addresses
 * (vq_areas_ok()). */
void vq_start(struct vqueue *vq);
/* Exit loop: ask for a stop; vdev_queue_idle() is called there when nothing is in flight any more
 * (perhaps at once). */
void vq_stop(struct vqueue *vq);
void vq_pause(struct vqueue *vq);
void vq_resume(struct vqueue *vq);
/* Exit loop: the driver has written to the queue's doorbell. */
void vq_doorbell(struct vqueue *vq);
/* Exit loop: the driver has switched bus mastering on or off. */
void vq_master_changed(struct vqueue *vq);
/* Are the areas that the driver programmed aligned and in RAM? */
bool vq_areas_ok(const struct vqueue *vq);
/* Unpin the chain's segments and free it. Reports a stop or pause that has waited for it. */
void vq_chain_put(struct vchain *c);

/* --- pool.c: all on the queue's loop --- */
void pool_init(struct vqueue *vq);
/* Allocate slots for a ring of vq->num entries. -1: out of memory. */
int pool_start(struct vqueue *vq);
/* The queue was stopped with no chain in flight: free the memory, within a second or two. */
void pool_stop(struct vqueue *vq);
void pool_free(struct vqueue *vq);
/* Take a chain from the queue's pool, with room for CHAIN_INLINE_IOV segments. NULL: as many chains
 * are in flight as the ring has entries. */
struct vchain *vq_chain_get(struct vqueue *vq);
/* Move the chain's segments to a block with room for IOV_BLOCK of them. NULL: out of memory. */
struct iovec *vq_chain_grow(struct vchain *c);
/* Return a chain's slot, and its block if it has one, to the pool. */
void pool_put(struct vqueue *vq, struct chain_slot *s);

/* --- vdev.c --- */
/* The functions of the ring layout that was negotiated. */
const struct ring_ops *vdev_ring(const struct vdev *v);
/* Exit loop: a queue has become idle after vq_stop() or vq_pause(). */
void vdev_queue_idle(struct vqueue *vq);
void vdev_set_status(struct vdev *v, uint8_t status);
void vdev_reset(struct vdev *v);
void vdev_queue_enable(struct vdev *v, struct vqueue *vq);
void vdev_queue_reset(struct vdev *v, struct vqueue *vq);
/* Any thread: send the interrupt that the driver has programmed for `vq`. */
void vdev_queue_interrupt(struct vqueue *vq);

/* --- transport.c --- */
/* Add BARs, capabilities and an MSI-X table with `vectors` entries (0: none). */
int transport_init(struct vdev *v, unsigned vectors, struct err *e);

#endif
