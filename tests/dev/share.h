/* SPDX-License-Identifier: MIT */
/* share.h - what the tests of virtio-9p have in common: a folder to share, and its driver */
#ifndef DEV_SHARE_H
#define DEV_SHARE_H

#include <sys/stat.h>

#include "g9p.h"
#include "tb.h"

#define ROOT 0u /* the fid that share_mount() attaches */

/* The flags of Tlopen and Tlcreate. */
#define O9_RDONLY 0u
#define O9_WRONLY 1u
#define O9_RDWR	  2u
#define O9_CREAT  00100u
#define O9_EXCL	  00200u
#define O9_TRUNC  01000u
#define O9_APPEND 02000u

struct share {
	struct tb *t;
	struct g9p p;
	char path[64];	  /* the folder */
	char outside[64]; /* a file beside it, with "secret" in it */
};

/* A test whose folder is removed afterwards, whatever is in it. */
int share_teardown(void **state);
#define share_test(f) cmocka_unit_test_setup_teardown(f, tb_setup, share_teardown)

/* Make the folder, start a machine that shares it with `options` (beginning with a comma; with its
 * security_model), mount it. NULL: options of -fsdev synth. */
void share_start(struct share *s, void **state, const char *options);
void share_synth(struct share *s, void **state);
/* Ordinary use of the device, after anything hostile: it is reset before. */
void share_again(struct share *s);

/* The path of a file in the folder, in a buffer that four calls share. */
const char *share_file(struct share *s, const char *name);
/* stat() of it, which must succeed. */
struct stat share_stat(struct share *s, const char *name);
/* Write or compare a host's file in the folder. */
void share_put(struct share *s, const char *name, const char *text);
void share_expect(struct share *s, const char *name, const char *text);
/* Make `name` in the root with `text` in it, as the guest. */
void share_create(struct share *s, const char *name, const char *text);

struct share_entry {
	uint64_t ino, next;
	uint8_t type;
	char name[256];
};

/* The entries of the open directory `fid` from `off` on, in answers of at most `count` bytes; how
 * many there are, at most `max`. */
unsigned share_list(struct g9p *p, uint32_t fid, uint64_t off, uint32_t count,
		    struct share_entry *e, unsigned max);

#endif
