/* SPDX-License-Identifier: MIT */
/* share.c - see share.h */
#include "share.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

int share_teardown(void **state)
{
	struct tb *t = *state;
	char path[64];

	guest_kill(&t->g);
	snprintf(path, sizeof(path), "%s/share", t->dir);
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	snprintf(path, sizeof(path), "%s/elsewhere", t->dir);
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return tb_teardown(state);
}

static void start(struct share *s, const char *fsdev)
{
	tb_arg(s->t, "-fsdev");
	tb_arg(s->t, "%s", fsdev);
	tb_device(s->t, "virtio-9p-pci,fsdev=f0,mount_tag=share");
	tb_start(s->t);
	g9p_open(&s->t->g, &s->p, 0);
	g9p_mount(&s->p, ROOT);
}

void share_start(struct share *s, void **state, const char *options)
{
	char text[512];
	FILE *f;

	memset(s, 0, sizeof(*s));
	s->t = *state;
	snprintf(s->path, sizeof(s->path), "%s/share", s->t->dir);
	snprintf(s->outside, sizeof(s->outside), "%s/outside", s->t->dir);
	assert_int_equal(mkdir(s->path, 0755), 0);
	f = fopen(s->outside, "w");
	assert_non_null(f);
	fputs("secret", f);
	fclose(f);
	snprintf(text, sizeof(text), "local,id=f0,path=%s%s", s->path, options);
	start(s, text);
}

void share_synth(struct share *s, void **state)
{
	memset(s, 0, sizeof(*s));
	s->t = *state;
	tb_skip_qemu("its synth file system is for its own tests");
	start(s, "synth,id=f0");
}

void share_again(struct share *s)
{
	struct g9p_attr a;

	gv_reset(&s->p.v);
	g9p_restart(&s->p);
	g9p_mount(&s->p, ROOT);
	assert_int_equal(g9p_getattr(&s->p, ROOT, &a), 0);
	assert_true(S_ISDIR(a.mode));
	if (!*s->path)
		return;
	share_create(s, "again", "it works");
	assert_int_equal(g9p_walk(&s->p, ROOT, 1, "again"), 0);
	assert_int_equal(g9p_do(&s->p, G9P_REMOVE, "d", 1), 0);
	assert_int_equal(access(share_file(s, "again"), F_OK), -1);
}

const char *share_file(struct share *s, const char *name)
{
	static char buf[4][512];
	static unsigned at;

	at = (at + 1) % 4;
	snprintf(buf[at], sizeof(buf[at]), "%s/%s", s->path, name);
	return buf[at];
}

struct stat share_stat(struct share *s, const char *name)
{
	struct stat st;

	if (lstat(share_file(s, name), &st))
		fail_msg("%s: %s", name, strerror(errno));
	return st;
}

void share_put(struct share *s, const char *name, const char *text)
{
	FILE *f = fopen(share_file(s, name), "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

void share_expect(struct share *s, const char *name, const char *text)
{
	char buf[4096];
	FILE *f = fopen(share_file(s, name), "r");
	size_t len;

	assert_non_null(f);
	len = fread(buf, 1, sizeof(buf) - 1, f);
	buf[len] = '\0';
	fclose(f);
	assert_string_equal(buf, text);
}

void share_create(struct share *s, const char *name, const char *text)
{
	uint32_t len = (uint32_t)strlen(text), count = len;

	assert_int_equal(g9p_walk(&s->p, ROOT, 900, ""), 0);
	assert_int_equal(g9p_lcreate(&s->p, 900, name, O9_RDWR, 0644), 0);
	memcpy(s->p.data, text, len);
	assert_int_equal(g9p_write(&s->p, 900, 0, &count), 0);
	assert_int_equal(count, len);
	assert_int_equal(g9p_clunk(&s->p, 900), 0);
}

unsigned share_list(struct g9p *p, uint32_t fid, uint64_t off, uint32_t count,
		    struct share_entry *e, unsigned max)
{
	unsigned n = 0;

	for (;;) {
		uint32_t end;
		char name[4096];

		assert_int_equal(g9p_do(p, G9P_READDIR, "dqd", fid, off, count), 0);
		end = (uint32_t)g9p_get(p, 4);
		assert_true(end <= count);
		assert_int_equal(end, p->answer_len - 4);
		if (!end)
			return n;
		while (p->answer_at < p->answer_len) {
			assert_true(n < max);
			g9p_get(p, 5);
			e[n].ino = g9p_get(p, 8);
			off = e[n].next = g9p_get(p, 8);
			e[n].type = (uint8_t)g9p_get(p, 1);
			g9p_get_string(p, name);
			strcpy(e[n++].name, name);
		}
	}
}
