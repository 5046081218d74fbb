/* SPDX-License-Identifier: MIT */
/* server.c - requests in, answers out: tags, flushes, sessions; see p9.h
 *
 * On the loop a message is copied out of the guest's memory (but for the data of a write), and
 * everything after reads the copy: what a guest makes of its message meanwhile changes nothing.
 * Its header is checked, Tversion and Tflush are answered right there, everything else goes to the
 * workers. A worker serves the message by the table below, writes the answer into the chain and
 * posts the request back to the loop, which alone knows which tags are in flight.
 *
 * Some types of message (`nowait` in the table) can often be served from the host's memory, without
 * waiting for a disk. The loop tries these itself, up to LOOP_BYTES in a batch: to wake a worker
 * and to be woken by it costs more than the copy. It first gives the other requests of the batch to
 * the workers, so that both work at the same time; as soon as one of its own would have to sleep,
 * it gives them that one and all that follow.
 *
 * A Tflush cancels the request that it names, when no worker has begun that; else it waits until
 * the request is done. Either way the request is done before the Tflush is answered.
 */
#include "p9/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/iov.h"
#include "base/util.h"
#include "p9/fs/throttle.h"

#define THREADS	   8
#define VERSION	   "9P2000.L"
#define LOOP_BYTES (2560 * KiB) /* what the loop copies in a batch at most: 250 to 500 us */
#define LOOP_EACH  (64 * KiB)	/* what a request counts for, beside its data */
#define LOOP_PART  (256 * KiB)	/* after so many bytes the answers so far are published */

struct p9_server {
	struct p9_fs *fs;
	struct loop *loop;
	struct workers *workers;
	struct p9_session *session; /* NULL: before Tversion */
	struct list active;	    /* every struct p9_request that is not done */
	/* What was started since the last p9_server_submit(): a list for the workers, and one of
	 * requests that the loop tries to serve itself. */
	struct work *first, *last;
	unsigned started;
	struct p9_request *loop_first, *loop_last;
	uint32_t budget;  /* what is left of LOOP_BYTES for more of the latter */
	struct mpsc done; /* by workers */
	struct loop_task done_task;
};

static const struct p9_operation operations[] = {
	[P9_TSTATFS] = {p9_statfs, 67, false},
	[P9_TLOPEN] = {p9_lopen, 24, false},
	[P9_TLCREATE] = {p9_lcreate, 24, true},
	[P9_TSYMLINK] = {p9_symlink, 20, true},
	[P9_TMKNOD] = {p9_mknod, 20, true},
	[P9_TRENAME] = {p9_rename, 7, true},
	[P9_TREADLINK] = {p9_readlink, 9, false},
	[P9_TGETATTR] = {p9_getattr, 160, false, true},
	[P9_TSETATTR] = {p9_setattr, 7, true},
	[P9_TXATTRWALK] = {p9_xattrwalk, 15, false},
	[P9_TXATTRCREATE] = {p9_xattrcreate, 7, true},
	[P9_TREADDIR] = {p9_readdir, 11, false},
	[P9_TFSYNC] = {p9_fsync, 7, false},
	[P9_TLOCK] = {p9_lock, 8, false},
	[P9_TGETLOCK] = {p9_getlock, 30, false},
	[P9_TLINK] = {p9_link, 7, true},
	[P9_TMKDIR] = {p9_mkdir, 20, true},
	[P9_TRENAMEAT] = {p9_renameat, 7, true},
	[P9_TUNLINKAT] = {p9_unlinkat, 7, true},
	[P9_TATTACH] = {p9_attach, 20, false},
	[P9_TWALK] = {p9_walk, 9, false, true},
	[P9_TREAD] = {p9_read, 11, false, true},
	[P9_TWRITE] = {p9_write, 11, true, true},
	[P9_TCLUNK] = {p9_clunk, 7, false, true},
	/* Tremove clunks the fid also on a read-only export, so p9_remove() itself refuses. */
	[P9_TREMOVE] = {p9_remove, 7, false},
};

const struct p9_operation *p9_operation(uint8_t type)
{
	return type < ARRAY_SIZE(operations) && operations[type].serve ? &operations[type] : NULL;
}

/* --- messages --- */

/* Copy the message from the guest, each byte once, and take its header apart. */
static void read_message(struct p9_request *r)
{
	/* The header, and what stands before the data of a Twrite. */
	size_t len = MIN(r->out_len, P9_WRITE_AT), whole;

	iov_to_buf(r->out, r->n_out, 0, r->message, len);
	r->size = get_le32(r->message);
	r->type = r->message[4];
	r->tag = get_le16(r->message + 5);
	whole = MIN(r->size, r->out_len);
	if (r->type == P9_TWRITE || whole <= len)
		return;
	iov_to_buf(r->out, r->n_out, len, r->message + len, MIN(whole, P9_MESSAGE_MAX) - len);
}

/* A reader of what follows the header. The size of the message was checked. */
static struct p9_reader read_body(const struct p9_request *r)
{
	size_t max = r->type == P9_TWRITE ? P9_WRITE_AT : P9_MESSAGE_MAX;
	size_t len = MIN(r->size, max);

	return (struct p9_reader){r->message + P9_HEADER, len - P9_HEADER, r->size - len, 0};
}

/* The number of bytes that a Tread or Twrite asks for; 0 for other messages. */
static uint32_t data_count(const struct p9_request *r)
{
	if ((r->type != P9_TREAD && r->type != P9_TWRITE) || MIN(r->size, r->out_len) < P9_WRITE_AT)
		return 0;
	return MIN(get_le32(r->message + P9_WRITE_AT - 4), P9_MSIZE_MAX);
}

/* --- answers --- */

static void put_header(uint8_t *p, uint32_t size, uint8_t type, uint16_t tag)
{
	put_le32(p, size);
	p[4] = type;
	put_le16(p + 5, tag);
}

/* Answer with an Rlerror, for which p9_request_start() has checked that there is room. */
static void write_error(struct p9_request *r, int error)
{
	uint8_t p[P9_ERROR_LEN];

	put_header(p, sizeof(p), P9_RLERROR, r->tag);
	put_le32(p + P9_HEADER, (uint32_t)-error);
	iov_from_buf(r->in, r->n_in, 0, p, sizeof(p));
	r->written = sizeof(p);
}

/* Answer a request that has succeeded: with `len` bytes from `body`, and `data` bytes that already
 * stand in the answer behind them. */
static void write_answer(struct p9_request *r, const uint8_t *body, size_t len, uint64_t data)
{
	uint64_t size = P9_HEADER + len + data;
	uint8_t p[P9_HEADER];

	if (size > r->in_len) {
		write_error(r, -EMSGSIZE);
		return;
	}
	put_header(p, (uint32_t)size, (uint8_t)(r->type + 1), r->tag);
	iov_from_buf(r->in, r->n_in, 0, p, sizeof(p));
	iov_from_buf(r->in, r->n_in, P9_HEADER, body, len);
	r->written = (uint32_t)size;
}

/* --- workers --- */

/* Check what is the same for all messages: 0 or the error to answer with. */
static int check_call(const struct p9_call *c, const struct p9_operation *op)
{
	if (!c->s)
		return -EPROTO; /* no Tversion yet */
	if (c->r->type == P9_TAUTH || !op)
		return -EOPNOTSUPP;
	if (op->answer > c->r->in_len)
		return -EMSGSIZE;
	return op->changes && c->fs->read_only ? -EROFS : 0;
}

static void begin_call(struct p9_call *c, struct p9_request *r, struct p9_session *session,
		       bool nowait)
{
	c->r = r;
	c->s = session;
	c->fs = r->server->fs;
	c->data = 0;
	c->nowait = nowait;
	c->would_block = false;
	c->in = read_body(r);
	c->out = (struct p9_writer){c->answer, 0, sizeof(c->answer)};
}

static void post_done(struct p9_request *r)
{
	struct p9_server *s = r->server;

	/* As soon as it is in the list, the loop may finish and free it. */
	mpsc_push(&s->done, &r->done_link);
	loop_post(s->loop, &s->done_task);
}

/* Serve the message and write its answer. Returns false, with `nowait` only, when a worker has to
 * serve it. */
static bool serve_request(struct p9_request *r, struct p9_session *session, bool nowait)
{
	const struct p9_operation *op = p9_operation(r->type);
	struct p9_call c;
	int rc;

	begin_call(&c, r, session, nowait);
	rc = check_call(&c, op);
	if (rc == 0)
		rc = op->serve(&c);
	if (c.would_block)
		return false;
	if (rc < 0)
		write_error(r, rc);
	else
		write_answer(r, c.answer, c.out.len, c.data);
	return true;
}

static void run_request(struct work *w)
{
	struct p9_request *r = container_of(w, struct p9_request, work);

	serve_request(r, r->session, false);
	if (r->session)
		p9_session_put(r->session);
	r->session = NULL;
	post_done(r);
}

static void end_session(struct work *w)
{
	p9_session_put(container_of(w, struct p9_session, work));
}

void p9_server_give(struct p9_server *s, struct work *w)
{
	workers_submit(s->workers, w, w, 1);
}

/* --- the loop --- */

static void finish_request(struct p9_request *r, uint32_t written)
{
	struct p9_request *waiting = r->flushers;

	list_del(&r->link);
	r->done(r, written);
	/* Answer those that have flushed it in the order in which they came (flush(5)). A Tflush
	 * may have been flushed itself. */
	while (waiting) {
		struct p9_request *f = waiting;

		waiting = f->next;
		if (written != P9_DROPPED)
			write_answer(f, NULL, 0, 0);
		finish_request(f, written == P9_DROPPED ? P9_DROPPED : f->written);
	}
}

/* Append it to the requests that submit_queued() gives to the workers. */
static void queue_request(struct p9_server *s, struct p9_request *r)
{
	r->session = p9_session_get(s->session);
	r->work.fn = run_request;
	r->work.next = NULL;
	if (s->last)
		s->last->next = &r->work;
	else
		s->first = &r->work;
	s->last = &r->work;
	s->started++;
}

static void submit_queued(struct p9_server *s)
{
	struct work *first = s->first;
	unsigned n = s->started;

	s->started = 0;
	s->first = NULL;
	if (first)
		workers_submit(s->workers, first, s->last, n);
	s->last = NULL;
}

static struct p9_request *take_for_loop(struct p9_server *s)
{
	struct p9_request *r = s->loop_first;

	if (r) {
		s->loop_first = r->next;
		r->next = NULL;
	}
	return r;
}

/* Decide whether the loop tries a request or the workers get it. */
static void route_request(struct p9_server *s, struct p9_request *r)
{
	const struct p9_operation *op = p9_operation(r->type);
	uint32_t cost = LOOP_EACH + data_count(r);

	if (!op || !op->nowait || cost > s->budget) {
		queue_request(s, r);
		return;
	}
	s->budget -= cost;
	if (s->loop_first)
		s->loop_last->next = r;
	else
		s->loop_first = r;
	s->loop_last = r;
}

bool p9_server_submit(struct p9_server *s)
{
	struct p9_request *r;
	uint64_t moved = 0;

	submit_queued(s);
	while (moved < LOOP_PART && (r = take_for_loop(s))) {
		if (!serve_request(r, s->session, true)) {
			/* The requests behind it would probably block too. */
			do
				queue_request(s, r);
			while ((r = take_for_loop(s)));
			submit_queued(s);
			break;
		}
		moved += r->size + r->written;
		finish_request(r, r->written);
	}
	if (s->loop_first)
		return true;
	s->budget = LOOP_BYTES;
	return false;
}

static void submit_all(struct p9_server *s)
{
	while (p9_server_submit(s)) {}
}

/* End the present session, after giving to the workers what was started in it. A worker drops the
 * session, as closing its files may take time. */
static void leave_session(struct p9_server *s)
{
	struct p9_session *old = s->session;

	submit_all(s);
	s->session = NULL;
	if (!old)
		return;
	old->work.fn = end_session;
	p9_server_give(s, &old->work);
}

static void finish_served(struct loop_task *t)
{
	struct p9_server *s = container_of(t, struct p9_server, done_task);
	struct mpsc_node *n = mpsc_take(&s->done);

	while (n) {
		struct p9_request *r = container_of(n, struct p9_request, done_link);

		n = n->next;
		finish_request(r, r->written);
	}
}

/* The request in flight of this tag, other than `except`. There are no more than the caller has
 * room for, which for virtio is the size of the queue. */
static struct p9_request *find_tag(struct p9_server *s, uint16_t tag,
				   const struct p9_request *except)
{
	list_for_each (it, &s->active) {
		struct p9_request *r = list_entry(it, struct p9_request, link);

		if (r != except && r->tag == tag)
			return r;
	}
	return NULL;
}

static void start_version(struct p9_server *s, struct p9_request *r, struct p9_reader *in)
{
	char version[P9_NAME_MAX + 1];
	uint8_t body[32];
	struct p9_writer out = {body, 0, sizeof(body)};
	uint32_t msize = p9_get32(in);
	bool known;

	p9_get_name(in, version);
	msize = MIN(msize, P9_MSIZE_MAX);
	if (in->err) {
		write_error(r, in->err);
		return;
	}
	if (msize < P9_MSIZE_MIN) {
		write_error(r, -EMSGSIZE);
		return;
	}
	leave_session(s);
	known = !strcmp(version, VERSION);
	if (known)
		s->session = p9_session_new(s->fs, msize);
	if (known && !s->session) {
		write_error(r, -ENOMEM);
		return;
	}
	p9_put32(&out, msize);
	if (known)
		p9_put_string(&out, VERSION, strlen(VERSION));
	else
		p9_put_string(&out, "unknown", 7);
	write_answer(r, body, out.len, 0);
}

/* Returns true when the Tflush is answered, false when it waits for its target. */
static bool start_flush(struct p9_server *s, struct p9_request *r, struct p9_reader *in)
{
	uint16_t tag = p9_get16(in);
	struct p9_request *target;

	if (in->err) {
		write_error(r, in->err);
		return true;
	}
	/* The target may have come just before, and be with neither the loop nor a worker yet. */
	submit_all(s);
	target = find_tag(s, tag, r);
	if (target && workers_cancel(s->workers, &target->work)) {
		p9_session_put(target->session);
		target->session = NULL;
		finish_request(target, 0);
		target = NULL;
	}
	if (target) {
		struct p9_request **at = &target->flushers;

		while (*at)
			at = &(*at)->next;
		*at = r;
		return false;
	}
	write_answer(r, NULL, 0, 0);
	return true;
}

/* Check the header: 0, or the error to answer with. */
static int check_request(struct p9_server *s, struct p9_request *r)
{
	if (r->size < P9_HEADER || r->size > r->out_len)
		return -EPROTO;
	if (r->type == P9_TVERSION)
		return 0;
	if (!s->session)
		return -EPROTO;
	if (r->size > s->session->msize)
		return -EMSGSIZE;
	return find_tag(s, r->tag, r) ? -EINVAL : 0;
}

/* Ask the limits of the export about the message. Returns how many ns it has to wait, or 0 when it
 * may go and was charged. */
static uint64_t ask_limits(struct p9_server *s, const struct p9_request *r)
{
	if (!s->fs->throttle || (r->type != P9_TREAD && r->type != P9_TWRITE))
		return 0;
	return p9_throttle_take(s->fs->throttle, now_ns(), r->type == P9_TWRITE, data_count(r));
}

int p9_request_start(struct p9_server *s, struct p9_request *r, uint64_t *wait)
{
	struct p9_reader in;
	bool answered = true;
	int rc;

	if (r->out_len < P9_HEADER || r->in_len < P9_ERROR_LEN)
		return -EPROTO;
	read_message(r);
	*wait = ask_limits(s, r);
	if (*wait)
		return -EAGAIN;
	r->server = s;
	r->session = NULL;
	r->flushers = r->next = NULL;
	r->work.fn = NULL;
	list_add_tail(&s->active, &r->link);
	rc = check_request(s, r);
	if (rc < 0) {
		write_error(r, rc);
		finish_request(r, r->written);
		return 0;
	}
	in = read_body(r);
	if (r->type == P9_TVERSION)
		start_version(s, r, &in);
	else if (r->type == P9_TFLUSH)
		answered = start_flush(s, r, &in);
	else
		answered = false;
	if (answered)
		finish_request(r, r->written);
	else if (r->type != P9_TFLUSH)
		route_request(s, r);
	return 0;
}

void p9_server_cancel(struct p9_server *s)
{
	submit_all(s);
	/* finish_request() may also remove flushers from the list: begin anew after each. */
	for (bool again = true; again;) {
		again = false;
		list_for_each (it, &s->active) {
			struct p9_request *r = list_entry(it, struct p9_request, link);

			if (!r->work.fn || !workers_cancel(s->workers, &r->work))
				continue;
			p9_session_put(r->session);
			r->session = NULL;
			finish_request(r, P9_DROPPED);
			again = true;
			break;
		}
	}
}

void p9_server_reset(struct p9_server *s)
{
	leave_session(s);
}

static void begin_worker(void *arg)
{
	struct p9_fs *fs = arg;

	if (fs->ops->begin)
		fs->ops->begin(fs);
}

struct p9_server *p9_server_new(struct p9_fs *fs, struct loop *loop)
{
	struct p9_server *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->fs = fs;
	s->loop = loop;
	s->done_task.fn = finish_served;
	s->budget = LOOP_BYTES;
	list_init(&s->active);
	s->workers = workers_new("xenpvh/9p", THREADS, begin_worker, fs);
	if (!s->workers) {
		free(s);
		return NULL;
	}
	return s;
}

void p9_server_free(struct p9_server *s)
{
	if (!s)
		return;
	workers_free(s->workers);
	if (s->session)
		p9_session_put(s->session);
	free(s);
}
