/* SPDX-License-Identifier: MIT */
/* unit_p9.c - the 9P server without virtio: readers and writers, limits, qids, and a flood of
 * messages that were made wrong in every place */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <errno.h>
#include <ftw.h>
#include <sys/stat.h>

#include "base/util.h"
#include "p9/fid.h"
#include "p9/p9.h"
#include "p9/fs/qid.h"
#include "p9/fs/synth.h"
#include "p9/fs/throttle.h"
#include "p9/wire.h"

/* --- wire --- */

static void readers(void **state)
{
	const uint8_t text[] = {3, 0, 'a', 'b', 'c', 2, 0, 'x', 0, 9, 0, 'y'};
	struct p9_reader r = {text, sizeof(text), 0, 0};
	char buf[P9_NAME_MAX + 1];

	p9_get_name(&r, buf);
	assert_string_equal(buf, "abc");
	assert_int_equal(r.err, 0);
	p9_get_name(&r, buf); /* with a NUL in it */
	assert_string_equal(buf, "");
	assert_int_equal(r.err, -EINVAL);
	/* The first error stays, and all else is zero. */
	assert_int_equal(p9_get64(&r), 0);
	assert_int_equal(r.err, -EINVAL);
	r = (struct p9_reader){text + 9, 3, 0, 0};
	p9_get_name(&r, buf);
	assert_int_equal(r.err, -EPROTO);
	/* It is there, but beyond what was copied. */
	r = (struct p9_reader){text + 9, 3, 8, 0};
	p9_get_name(&r, buf);
	assert_int_equal(r.err, -ENAMETOOLONG);
	r = (struct p9_reader){text, 5, 0, 0};
	p9_get_string(&r, buf, 2);
	assert_int_equal(r.err, -ENAMETOOLONG);
	r = (struct p9_reader){text, 3, 0, 0};
	assert_int_equal(p9_get32(&r), 0);
	assert_int_equal(r.err, -EPROTO);
}

static void writers(void **state)
{
	uint8_t buf[8] = {0};
	struct p9_writer w = {buf, 0, 7};

	p9_put16(&w, 0x1234);
	p9_put_string(&w, "abc", 3);
	assert_int_equal(w.len, 7);
	assert_memory_equal(buf,
			    "\x34\x12\x03\x00"
			    "abc",
			    7);
	p9_put8(&w, 0xff);
	assert_int_equal(w.len, 8);
	assert_int_equal(buf[7], 0);
}

/* --- limits --- */

static void throttle(void **state)
{
	struct p9_throttle t = {.rate = {[P9_BPS_WRITE] = 1000, [P9_IOPS_TOTAL] = 10}};
	uint64_t now = 1000000000;

	pthread_mutex_init(&t.lock, NULL);
	/* The first goes whatever it costs; the second waits until it is paid for. */
	assert_int_equal(p9_throttle_take(&t, now, true, 500), 0);
	assert_int_equal((p9_throttle_take(&t, now, true, 1) + 500) / 1000, 500000);
	/* A read counts as a request only: that of the first left one tenth of a second to wait. */
	assert_int_equal((p9_throttle_take(&t, now, false, 1 << 20) + 500) / 1000, 100000);
	now += 100000001;
	assert_int_equal(p9_throttle_take(&t, now, false, 1 << 20), 0);
	assert_true(p9_throttle_take(&t, now, true, 1) > 0);
	now += 500000000;
	assert_int_equal(p9_throttle_take(&t, now, true, 1), 0);
	/* Long debts are looked at again after a while. */
	assert_int_equal(p9_throttle_take(&t, now + 1000000000, true, 1 << 30), 0);
	assert_int_equal(p9_throttle_take(&t, now + 1200000000, true, 1), 1000000000);
	pthread_mutex_destroy(&t.lock);
}

/* --- qids --- */

static void qids(void **state)
{
	struct p9_qids q = {.mode = P9_DEVS_REMAP, .root = 1, .path = "/x"};
	uint64_t a, b, c, d;

	p9_qids_init(&q);
	assert_int_equal(p9_qid_path(&q, 1, 77, &a), 0);
	assert_int_equal(p9_qid_path(&q, 2, 77, &b), 0);
	assert_int_equal(p9_qid_path(&q, 1, 77, &c), 0);
	assert_int_equal(p9_qid_path(&q, 1, 77 | 5ULL << 48, &d), 0);
	assert_int_equal(a, c);
	assert_true(a != b && a != d && b != d);
	for (unsigned i = 3; i < 1024; i++)
		assert_int_equal(p9_qid_path(&q, i, 77, &d), 0);
	assert_int_equal(p9_qid_path(&q, 5000, 77, &d), -ENFILE);
	assert_int_equal(p9_qid_path(&q, 2, 77, &d), 0);
	assert_int_equal(d, b);
	q.mode = P9_DEVS_FORBID;
	assert_int_equal(p9_qid_path(&q, 1, 77, &d), 0);
	assert_int_equal(d, 77);
	assert_int_equal(p9_qid_path(&q, 2, 77, &d), -ENODEV);
	p9_qids_fini(&q);
}

/* --- the server --- */

#define REQUESTS 32
#define ROOM	 4096

static struct flood {
	struct fsdevs *all;
	struct loop *loop;
	struct p9_server *server;
	struct slot {
		struct p9_request r;
		uint8_t out[512], in[ROOM], message[P9_MESSAGE_MAX];
		struct iovec iov[4];
		bool busy;
		uint32_t written;
	} slot[REQUESTS];
	char dir[32];
	unsigned good[128]; /* by type of message */
} flood;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static void done(struct p9_request *r, uint32_t written)
{
	struct slot *s = container_of(r, struct slot, r);

	assert_true(s->busy);
	s->busy = false;
	s->written = written;
	if (written == P9_DROPPED || !written)
		return;
	assert_in_range(written, 7, r->in_len);
	assert_int_equal(get_le32(s->in), written);
	assert_int_equal(get_le16(s->in + 5), r->tag);
	assert_true(s->in[4] == r->type + 1 || (s->in[4] == P9_RLERROR && written == 11));
	if (s->in[4] != P9_RLERROR)
		flood.good[r->type]++;
}

static void begin(const char *options)
{
	struct err e = {0};
	char text[200];
	struct kvs k;

	memset(&flood, 0, sizeof(flood));
	strcpy(flood.dir, "/tmp/xenpvh-p9-XXXXXX");
	assert_non_null(mkdtemp(flood.dir));
	snprintf(text, sizeof(text), "local,id=f,path=%s%s", flood.dir, options);
	flood.all = fsdevs_new();
	flood.loop = loop_new("test");
	assert_int_equal(kvs_parse(&k, "-fsdev", text, "fsdriver", &e), 0);
	if (fsdev_add(flood.all, &k, &e))
		fail_msg("%s", e.text);
	kvs_free(&k);
	flood.server = p9_server_new(fsdev_find(flood.all, "f"), flood.loop);
}

static void wait_all(void)
{
	for (unsigned i = 0; i < REQUESTS; i++)
		while (flood.slot[i].busy)
			loop_turn(flood.loop, 100);
}

static void end(void)
{
	wait_all();
	p9_server_free(flood.server);
	fsdevs_free(flood.all);
	loop_free(flood.loop);
	nftw(flood.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static uint64_t seed = 42;

static unsigned rnd(unsigned below)
{
	seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned)(seed >> 33) % below;
}

/* The message of `len` bytes in `s`, in pieces. */
static void cut_it(struct slot *s, unsigned len, unsigned room)
{
	unsigned cut = rnd(len + 1), cut_in = rnd(room + 1);

	s->iov[0] = (struct iovec){s->out, cut};
	s->iov[1] = (struct iovec){s->out + cut, len - cut};
	s->iov[2] = (struct iovec){s->in, cut_in};
	s->iov[3] = (struct iovec){s->in + cut_in, room - cut_in};
	s->r.out = s->iov;
	s->r.n_out = 2;
	s->r.out_len = len;
	s->r.in = s->iov + 2;
	s->r.n_in = 2;
	s->r.in_len = room;
	s->r.message = s->message;
	s->r.done = done;
}

static void send_it(struct slot *s, unsigned len, unsigned room)
{
	uint64_t wait;

	cut_it(s, len, room);
	s->busy = true;
	if (p9_request_start(flood.server, &s->r, &wait) < 0) {
		assert_true(len < 7 || room < 11);
		s->busy = false;
	}
}

static struct slot *idle(void)
{
	for (;;) {
		for (unsigned i = 0; i < REQUESTS; i++)
			if (!flood.slot[i].busy)
				return &flood.slot[i];
		p9_server_submit(flood.server);
		loop_turn(flood.loop, 100);
	}
}

static unsigned put_string(uint8_t *at)
{
	static const char *const names[] = {"a",   "b",	      "c",	"..",
					    ".",   "",	      "d",	"/a",
					    "a/b", "../../x", "user.x", ".virtfs_metadata"};
	const char *s = names[rnd(ARRAY_SIZE(names))];

	put_le16(at, (uint16_t)strlen(s));
	memcpy(at + 2, s, strlen(s));
	return 2 + (unsigned)strlen(s);
}

/* Would it change or end the fid? */
static bool changes_fid(uint8_t type)
{
	return type == P9_TCLUNK || type == P9_TREMOVE || type == P9_TLCREATE ||
	       type == P9_TLOPEN || type == P9_TXATTRCREATE;
}

/* A message of any type whose fields are of the right shape more often than not. */
static unsigned make_message(uint8_t *out, unsigned tag)
{
	static const struct {
		uint8_t type;
		const char *format; /* f: fid, d, q: small numbers, s: string */
	} shapes[] = {
		{P9_TSTATFS, "f"},	{P9_TLOPEN, "fd"},	   {P9_TLCREATE, "fsddd"},
		{P9_TSYMLINK, "fssd"},	{P9_TMKNOD, "fsdddd"},	   {P9_TRENAME, "ffs"},
		{P9_TREADLINK, "f"},	{P9_TGETATTR, "fq"},	   {P9_TSETATTR, "fddddqqqqq"},
		{P9_TXATTRWALK, "ffs"}, {P9_TXATTRCREATE, "fsqd"}, {P9_TREADDIR, "fqd"},
		{P9_TFSYNC, "fd"},	{P9_TLOCK, "fbdqqds"},	   {P9_TGETLOCK, "fbqqds"},
		{P9_TLINK, "ffs"},	{P9_TMKDIR, "fsdd"},	   {P9_TRENAMEAT, "fsfs"},
		{P9_TUNLINKAT, "fsd"},	{P9_TWALK, "ffw"},	   {P9_TWALK, "ffws"},
		{P9_TWALK, "ffwss"},	{P9_TREAD, "fqd"},	   {P9_TWRITE, "fqdqqq"},
		{P9_TCLUNK, "f"},	{P9_TREMOVE, "f"},	   {P9_TATTACH, "fdssd"},
		{P9_TFLUSH, "w"},
	};
	unsigned n = rnd(ARRAY_SIZE(shapes)), strings = 0;
	uint8_t *at = out + 7;

	for (const char *f = shapes[n].format; *f; f++)
		strings += *f == 's';
	for (const char *f = shapes[n].format; *f; f++) {
		if (*f == 's') {
			at += put_string(at);
		} else if (*f == 'q') {
			put_le64(at, rnd(8) ? rnd(2000) : ~0ULL >> rnd(64));
			at += 8;
		} else if (*f == 'w') {
			put_le16(at,
				 (uint16_t)(shapes[n].type == P9_TWALK ? strings : rnd(REQUESTS)));
			at += 2;
		} else if (*f == 'b') {
			*at++ = (uint8_t)rnd(4);
		} else {
			put_le32(at, *f == 'f' ? rnd(12) : rnd(8) ? 1u << rnd(12) : ~0u);
			at += 4;
		}
	}
	/* The first three fids stay what they are, mostly. */
	if (changes_fid(shapes[n].type) && rnd(500) && out[7] < 3)
		out[7] += 3;
	if (shapes[n].type == P9_TWALK && rnd(500))
		out[11] = (uint8_t)(3 + rnd(9));
	if (shapes[n].type == P9_TWRITE && rnd(8))
		put_le32(out + 19, rnd(25));
	put_le32(out, (uint32_t)(at - out));
	out[4] = shapes[n].type;
	put_le16(out + 5, (uint16_t)tag);
	return (unsigned)(at - out);
}

static void version(void)
{
	struct slot *s = idle();

	memcpy(s->out,
	       "\x15\0\0\0\x64\xff\xff\0\x20\0\0\x08\0"
	       "9P2000.L",
	       21);
	send_it(s, 21, ROOM);
	for (unsigned fid = 0; fid < 3; fid++) {
		s = idle();
		memcpy(s->out, "\x17\0\0\0\x68\x63\0\0\0\0\0\xff\xff\xff\xff\0\0\0\0\0\0\0\0", 23);
		s->out[5] = (uint8_t)(0x60 + fid);
		s->out[7] = (uint8_t)fid;
		send_it(s, 23, ROOM);
	}
	p9_server_submit(flood.server);
}

/* Start it, and wait: 0 or the error of the answer. */
static int have_served(struct slot *s, unsigned len)
{
	send_it(s, len, ROOM);
	p9_server_submit(flood.server);
	wait_all();
	return s->in[4] == P9_RLERROR ? (int)get_le32(s->in + 7) : 0;
}

#define IO_LEN 63

/* A read, or a write with 40 bytes of data, of the fid 3. */
static void put_io(struct slot *s, uint8_t type, uint32_t count)
{
	memset(s->out, 0, IO_LEN);
	s->out[0] = IO_LEN;
	s->out[4] = type;
	s->out[7] = 3;
	put_le32(s->out + 19, count);
}

/* Start one message and put another in its place: the bytes that it says were moved, or -errno. */
static int exchange(uint8_t type, uint32_t count, uint8_t type_then, uint32_t count_then)
{
	struct slot *s = idle();
	uint64_t wait;

	put_io(s, type, count);
	cut_it(s, IO_LEN, ROOM);
	s->busy = true;
	assert_int_equal(p9_request_start(flood.server, &s->r, &wait), 0);
	put_io(s, type_then, count_then);
	p9_server_submit(flood.server);
	while (s->busy)
		loop_turn(flood.loop, 100);
	if (s->in[4] == P9_RLERROR)
		return -(int)get_le32(s->in + 7);
	assert_int_equal(s->in[4], type + 1);
	return (int)get_le32(s->in + 7);
}

/* A message is served as what it was when it was taken, whatever the guest has made of it since. */
static void check_rewritten(const char *options)
{
	struct slot *s;

	begin(options);
	version();
	wait_all();
	s = idle();
	memcpy(s->out, "\x11\0\0\0\x6e\0\0\0\0\0\0\x03\0\0\0\0\0", 17);
	assert_int_equal(have_served(s, 17), 0);
	s = idle();
	memcpy(s->out, "\x1a\0\0\0\x0e\0\0\x03\0\0\0\x01\0f\x02\0\0\0\x80\x01\0\0\0\0\0\0", 26);
	assert_int_equal(have_served(s, 26), 0);
	assert_int_equal(exchange(P9_TWRITE, 40, P9_TWRITE, 40), 40);
	assert_int_equal(exchange(P9_TWRITE, 7, P9_TWRITE, 40), 7);
	assert_int_equal(exchange(P9_TWRITE, 40, P9_TWRITE, 7), 40);
	assert_int_equal(exchange(P9_TREAD, 40, P9_TREAD, 50), 40);
	assert_int_equal(exchange(P9_TREAD, 5, P9_TREAD, 40), 5);
	assert_int_equal(exchange(P9_TREAD, 40, P9_TWRITE, 9), 40);
	/* Too much was said, and is not taken back. */
	assert_int_equal(exchange(P9_TWRITE, 41, P9_TWRITE, 40), -EPROTO);
	end();
}

static void rewritten(void **state)
{
	check_rewritten(",security_model=none");
	check_rewritten(",security_model=none,throttling.bps-total=1000M");
}

/* The longest chain of 32,768 fids that the guest has numbered as it likes. A random hash has
 * chains of more than 16 less than once in 10^9 tables. */
static size_t longest_chain(uint32_t (*number)(uint32_t i))
{
	struct p9_fs *fs = fsdev_find(flood.all, "f");
	struct p9_session *s = p9_session_new(fs, 4096);
	struct p9_node *root;
	size_t longest;

	assert_int_equal(fs->ops->root(fs, &root), 0);
	for (uint32_t i = 0; i < 32768; i++) {
		struct p9_fid *f = p9_fid_new(s, number(i), 0, root);

		assert_int_equal(p9_fid_insert(f), 0);
		assert_int_equal(p9_fid_insert(f), -EINVAL);
		p9_fid_put(f);
	}
	longest = hash_table_longest(&s->fids);
	p9_node_put(root);
	p9_session_put(s);
	return longest;
}

static uint32_t number_dense(uint32_t i)
{
	return i;
}

/* One chain, where the halves of the number are combined and no more. */
static uint32_t number_equal_halves(uint32_t i)
{
	return i << 16 | i;
}

static uint32_t number_high_bits(uint32_t i)
{
	return i << 17;
}

static void fid_chains(void **state)
{
	begin(",security_model=none");
	assert_in_range(longest_chain(number_dense), 1, 16);
	assert_in_range(longest_chain(number_equal_halves), 1, 16);
	assert_in_range(longest_chain(number_high_bits), 1, 16);
	end();
}

/* What is known of the places of nodes follows renames and removals; to find those of one place
 * costs what there is at this place, not what the guest has found elsewhere. */
static void places(void **state)
{
	enum { FILES = 1000, SAME = 50 };
	struct p9_fs *fs = p9_synth_new();
	struct p9_node *root, *dir, *file[FILES], *same[SAME];
	atomic_int budget = 10;

	fs->files = &budget;
	assert_int_equal(fs->ops->root(fs, &root), 0);
	assert_int_equal(fs->ops->walk(root, "READDIR", &dir), 0);
	for (unsigned i = 0; i < FILES; i++) {
		char name[16];

		snprintf(name, sizeof(name), "FILE%u", i);
		assert_int_equal(fs->ops->walk(dir, name, &file[i]), 0);
	}
	assert_int_equal(fs->places.n, FILES + 1);
	assert_in_range(hash_table_longest(&fs->places), 1, 16);
	for (unsigned i = 0; i < SAME; i++)
		assert_int_equal(fs->ops->walk(dir, "FILE7", &same[i]), 0);
	p9_tree_renamed(dir, "FILE7", root, "moved");
	p9_tree_removed(dir, "FILE8");
	p9_tree_removed(dir, "FILE7");
	/* FILE9 takes the place of FILE10. */
	p9_tree_renamed(dir, "FILE9", dir, "FILE10");
	for (unsigned i = 0; i < SAME; i++) {
		assert_string_equal(same[i]->name, "moved");
		assert_ptr_equal(same[i]->parent, root);
	}
	assert_string_equal(file[7]->name, "moved");
	assert_null(file[8]->name);
	assert_string_equal(file[9]->name, "FILE10");
	assert_null(file[10]->name);
	assert_string_equal(file[11]->name, "FILE11");
	assert_int_equal(fs->places.n, FILES + 1 - 2 + SAME);
	p9_tree_removed(root, "moved");
	assert_null(same[0]->name);
	assert_int_equal(fs->places.n, FILES + 1 - 3);
	for (unsigned i = 0; i < SAME; i++)
		p9_node_put(same[i]);
	for (unsigned i = 0; i < FILES; i++)
		p9_node_put(file[i]);
	p9_node_put(dir);
	p9_node_put(root);
	assert_int_equal(fs->places.n, 0);
	fs->ops->free(fs);
}

/* A file that is removed while it is held keeps its owner, also when no descriptor is left to hold
 * its metadata by. */
static void held_beyond_budget(void **state)
{
	struct p9_new what = {.mode = S_IFREG | 0640, .uid = 1000, .gid = 5};
	struct p9_attr owner = {.valid = P9_SET_UID, .uid = 1001};
	struct p9_node *root, *file;
	struct p9_fs *fs;
	struct stat st;
	int before;

	begin(",security_model=mapped-file");
	fs = fsdev_find(flood.all, "f");
	before = atomic_load(fs->files);
	assert_int_equal(fs->ops->root(fs, &root), 0);
	assert_int_equal(fs->ops->make(root, "file", &what, 0, &file, NULL), 0);
	atomic_fetch_sub(fs->files, before - 2);
	assert_int_equal(fs->ops->unlink(root, "file", false), 0);
	p9_tree_removed(root, "file");
	assert_int_equal(fs->ops->getattr(file, &st), 0);
	assert_int_equal(st.st_uid, 1000);
	assert_int_equal(st.st_mode, S_IFREG | 0640);
	assert_int_equal(fs->ops->setattr(file, -1, &owner), 0);
	assert_int_equal(fs->ops->getattr(file, &st), 0);
	assert_int_equal(st.st_uid, 1001);
	assert_int_equal(st.st_gid, 5);
	p9_node_put(file);
	p9_node_put(root);
	atomic_fetch_add(fs->files, before - 2);
	assert_int_equal(atomic_load(fs->files), before);
	end();
}

static void pour(const char *options, unsigned messages)
{
	static const uint8_t always[] = {P9_TWALK,  P9_TLOPEN,	 P9_TLCREATE, P9_TMKDIR,
					 P9_TCLUNK, P9_TREADDIR, P9_TSETATTR, P9_TRENAMEAT};

	begin(options);
	version();
	for (unsigned i = 0; i < messages; i++) {
		struct slot *s = idle();
		unsigned len = make_message(s->out, (unsigned)(s - flood.slot)), room = ROOM;

		if (!rnd(10))
			s->out[rnd(len)] = (uint8_t)rnd(256);
		if (!rnd(20))
			len = rnd(len + 1);
		if (!rnd(20))
			room = rnd(200);
		send_it(s, len, room);
		if (!rnd(8))
			p9_server_submit(flood.server);
		if (!rnd(2000))
			version();
		if (!rnd(5000)) {
			p9_server_cancel(flood.server);
			p9_server_reset(flood.server);
			version();
		}
		loop_turn(flood.loop, 0);
	}
	p9_server_submit(flood.server);
	end();
	/* It has been at work. */
	for (unsigned i = 0; i < ARRAY_SIZE(always); i++)
		if (flood.good[always[i]] < 10)
			fail_msg("message %u: good %u times only", always[i],
				 flood.good[always[i]]);
}

static void flood_passthrough(void **state)
{
	pour(",security_model=none", 100000);
}

static void flood_mapped(void **state)
{
	pour(",security_model=mapped-file", 100000);
}

static void flood_xattr(void **state)
{
	pour(",security_model=mapped-xattr", 100000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(readers),
		cmocka_unit_test(writers),
		cmocka_unit_test(throttle),
		cmocka_unit_test(qids),
		cmocka_unit_test(rewritten),
		cmocka_unit_test(fid_chains),
		cmocka_unit_test(places),
		cmocka_unit_test(held_beyond_budget),
		cmocka_unit_test(flood_passthrough),
		cmocka_unit_test(flood_mapped),
		cmocka_unit_test(flood_xattr),
	};

	return cmocka_run_group_tests_name("p9", tests, NULL, NULL);
}
