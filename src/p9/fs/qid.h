/* SPDX-License-Identifier: MIT */
/* qid.h - the guest's 64-bit number of a file, from device and inode number
 *
 * An export may span several file systems of the host, whose inode numbers may be the same.
 * multidevs= says what is done then. `warn` logs that once and uses the inode numbers as they are.
 * `forbid` hides files that are on another file system than the export's root. `remap` replaces the
 * device and the upper 16 bits of the inode number by a 16-bit number, which is counted up for each
 * new combination.
 */
#ifndef P9_FS_QID_H
#define P9_FS_QID_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

/* The bits of a file's type (the manual page intro(5) of Plan 9; what else there is, Linux does not
 * look at). */
#define P9_QID_DIR     0x80
#define P9_QID_SYMLINK 0x02

struct p9_qid {
	uint8_t type;
	uint32_t version; /* changes with the file */
	uint64_t path;	  /* as a file's inode number, but of the whole export */
};

enum p9_multidevs { P9_DEVS_WARN, P9_DEVS_REMAP, P9_DEVS_FORBID };

struct p9_qids {
	enum p9_multidevs mode;
	dev_t root;
	const char *path; /* of the export, for the warning; NULL: all files are on one device */
	pthread_mutex_t lock;
	bool warned;
	struct p9_prefix {
		dev_t dev;
		uint16_t high;
	} * prefix;
	unsigned n;
};

void p9_qids_init(struct p9_qids *q);
void p9_qids_fini(struct p9_qids *q);
/* Any thread. 0, -ENODEV where it is forbidden, -ENFILE when there are too many prefixes. */
int p9_qid_path(struct p9_qids *q, dev_t dev, uint64_t ino, uint64_t *path);
/* The qid of a file with these attributes. Returns as p9_qid_path(). */
int p9_qid_of(struct p9_qids *q, const struct stat *st, struct p9_qid *out);

#endif
