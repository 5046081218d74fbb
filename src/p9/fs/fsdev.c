/* SPDX-License-Identifier: MIT */
/* fsdev.c - see fsdev.h */
#include "p9/fs/fsdev.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/util.h"
#include "p9/fs/local.h"
#include "p9/fs/synth.h"
#include "p9/fs/throttle.h"

/* Descriptors that all exports together may open: this many, and at most half of what the process
 * may have; the other half is for the rest of the program. */
#define FILES_MAX (1 << 20)

struct fsdevs {
	struct list all; /* struct p9_fs */
	atomic_int files;
	uint64_t capabilities;
};

enum driver { DRIVER_LOCAL, DRIVER_SYNTH };

struct conf {
	unsigned driver;
	char *id, *path, *model, *fmode, *dmode;
	bool read_only;
	unsigned multidevs, writeout;
	uint64_t limit[P9_LIMITS];
};

static const char *const drivers[] = {[DRIVER_LOCAL] = "local", [DRIVER_SYNTH] = "synth", NULL};
static const char *const multidevs[] = {
	[P9_DEVS_WARN] = "warn", [P9_DEVS_REMAP] = "remap", [P9_DEVS_FORBID] = "forbid", NULL};
static const char *const writeouts[] = {"immediate", NULL};
static const char *const models[] = {
	[P9_MODEL_NONE] = "none",
	[P9_MODEL_PASSTHROUGH] = "passthrough",
	[P9_MODEL_XATTR] = "mapped-xattr",
	[P9_MODEL_FILE] = "mapped-file",
};

#define AT(member) offsetof(struct conf, member)

const struct opt fsdev_options[] = {
	{.name = "fsdriver",
	 .type = OPT_ENUM,
	 .at = AT(driver),
	 .values = drivers,
	 .required = true,
	 .help = "a folder of the host, or made-up files for tests"},
	{.name = "id",
	 .type = OPT_STRING,
	 .at = AT(id),
	 .required = true,
	 .help = "name of the export"},
	{.name = "path", .type = OPT_STRING, .at = AT(path), .help = "the folder (local)"},
	{.name = "security_model",
	 .type = OPT_STRING,
	 .at = AT(model),
	 .help = "passthrough, mapped-xattr, mapped-file or none: whose the guest's files are "
		 "(local)"},
	{.name = "readonly",
	 .type = OPT_BOOL,
	 .at = AT(read_only),
	 .help = "the guest may only read"},
	{.name = "fmode",
	 .type = OPT_STRING,
	 .at = AT(fmode),
	 .help = "mode of new files on the host, where it is not the guest's (default: 0600)"},
	{.name = "dmode",
	 .type = OPT_STRING,
	 .at = AT(dmode),
	 .help = "the same for directories (default: 0700)"},
	{.name = "multidevs",
	 .type = OPT_ENUM,
	 .at = AT(multidevs),
	 .values = multidevs,
	 .def = "warn",
	 .help = "when the folder spans several file systems, whose inode numbers may collide"},
	{.name = "writeout",
	 .type = OPT_ENUM,
	 .at = AT(writeout),
	 .values = writeouts,
	 .help = "accepted: the guest's syncs are the host's in any case"},
	{.name = "throttling.bps-total",
	 .type = OPT_SIZE,
	 .at = AT(limit[P9_BPS_TOTAL]),
	 .help = "bytes per second"},
	{.name = "throttling.bps-read",
	 .type = OPT_SIZE,
	 .at = AT(limit[P9_BPS_READ]),
	 .help = "bytes read per second"},
	{.name = "throttling.bps-write",
	 .type = OPT_SIZE,
	 .at = AT(limit[P9_BPS_WRITE]),
	 .help = "bytes written per second"},
	{.name = "throttling.iops-total",
	 .type = OPT_UINT,
	 .at = AT(limit[P9_IOPS_TOTAL]),
	 .help = "reads and writes per second"},
	{.name = "throttling.iops-read",
	 .type = OPT_UINT,
	 .at = AT(limit[P9_IOPS_READ]),
	 .help = "reads per second"},
	{.name = "throttling.iops-write",
	 .type = OPT_UINT,
	 .at = AT(limit[P9_IOPS_WRITE]),
	 .help = "writes per second"},
	OPT_END,
};
static const struct opt *const tables[] = {fsdev_options, NULL};

struct fsdevs *fsdevs_new(void)
{
	struct fsdevs *all = calloc(1, sizeof(*all));
	struct rlimit r;

	if (!all)
		return NULL;
	list_init(&all->all);
	atomic_init(&all->files, FILES_MAX);
	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur / 2 < FILES_MAX)
		atomic_init(&all->files, (int)(r.rlim_cur / 2));
	return all;
}

void fsdevs_free(struct fsdevs *all)
{
	struct list *it;

	if (!all)
		return;
	while ((it = list_pop(&all->all))) {
		struct p9_fs *fs = list_entry(it, struct p9_fs, link);

		fs->ops->free(fs);
	}
	free(all);
}

struct p9_fs *fsdev_find(struct fsdevs *all, const char *id)
{
	list_for_each (it, &all->all) {
		struct p9_fs *fs = list_entry(it, struct p9_fs, link);

		if (!strcmp(fs->id, id))
			return fs;
	}
	return NULL;
}

uint64_t fsdevs_capabilities(const struct fsdevs *all)
{
	return all ? all->capabilities : 0;
}

/* --- opening --- */

static int parse_model(const struct conf *c, enum p9_model *out, struct err *e)
{
	if (!c->model)
		return err_set(e, -EINVAL,
			       "security_model property not set (passthrough, mapped-xattr, "
			       "mapped-file or none)");
	for (unsigned i = 0; i < ARRAY_SIZE(models); i++)
		if (!strcmp(c->model, models[i])) {
			*out = i;
			return 0;
		}
	if (strcmp(c->model, "mapped"))
		return err_set(e, -EINVAL,
			       "invalid security_model property '%s' (passthrough, mapped-xattr, "
			       "mapped-file or none)",
			       c->model);
	*out = P9_MODEL_XATTR;
	return 0;
}

/* Parse a mode such as 0644, in the notation of C. */
static int parse_mode(const char *name, const char *text, bool mapped, mode_t *out, struct err *e)
{
	unsigned long v;
	char *end;

	if (!text)
		return 0;
	if (!mapped)
		return err_set(e, -EINVAL, "%s is only valid for the mapped security models", name);
	v = strtoul(text, &end, 0);
	if (!*text || *text == '-' || *end || v > 0777)
		return err_set(e, -EINVAL, "%s expects a mode of files from 0 to 0777, not '%s'",
			       name, text);
	*out = (mode_t)v;
	return 0;
}

static uint64_t capability_bit(unsigned n)
{
	return 1ULL << n;
}

/* The capabilities by which a process of root's may do with the export what root may. */
static uint64_t capabilities_of(enum p9_model model, bool read_only)
{
	uint64_t caps = capability_bit(CAP_DAC_OVERRIDE) | capability_bit(CAP_FOWNER);

	if (read_only)
		return capability_bit(CAP_DAC_READ_SEARCH);
	if (model == P9_MODEL_PASSTHROUGH || model == P9_MODEL_NONE)
		caps |= capability_bit(CAP_CHOWN) | capability_bit(CAP_FSETID) |
			capability_bit(CAP_MKNOD);
	return caps;
}

static struct p9_fs *open_local(struct fsdevs *all, const struct conf *c, struct err *e)
{
	struct local_conf lc = {
		.path = c->path, .fmode = 0600, .dmode = 0700, .multidevs = c->multidevs};
	struct p9_fs *fs;
	bool mapped;

	if (!c->path) {
		err_set(e, -EINVAL, "path property not set");
		return NULL;
	}
	if (parse_model(c, &lc.model, e) < 0)
		return NULL;
	mapped = lc.model == P9_MODEL_XATTR || lc.model == P9_MODEL_FILE;
	if (parse_mode("fmode", c->fmode, mapped, &lc.fmode, e) < 0 ||
	    parse_mode("dmode", c->dmode, mapped, &lc.dmode, e) < 0)
		return NULL;
	fs = p9_local_new(&lc, e);
	if (fs)
		all->capabilities |= capabilities_of(lc.model, c->read_only);
	return fs;
}

static int set_limits(struct p9_fs *fs, const struct conf *c)
{
	bool any = false;

	for (unsigned l = 0; l < P9_LIMITS; l++)
		any |= c->limit[l] > 0;
	if (!any)
		return 0;
	fs->throttle = calloc(1, sizeof(*fs->throttle));
	if (!fs->throttle)
		return -ENOMEM;
	pthread_mutex_init(&fs->throttle->lock, NULL);
	memcpy(fs->throttle->rate, c->limit, sizeof(c->limit));
	return 0;
}

static int open_fs(struct fsdevs *all, const struct conf *c, struct err *e)
{
	struct p9_fs *fs;
	int rc = -EINVAL;

	if (fsdev_find(all, c->id))
		return id_taken(c->id, "fsdev", e);
	err_nomem(e);
	fs = c->driver == DRIVER_LOCAL ? open_local(all, c, e) : p9_synth_new();
	if (fs) {
		fs->id = strdup(c->id);
		rc = fs->id ? set_limits(fs, c) : -ENOMEM;
	}
	if (rc < 0) {
		if (fs)
			fs->ops->free(fs);
		err_prefix(e, "cannot initialize fsdev '%s'", c->id);
		return rc;
	}
	fs->read_only = c->read_only;
	fs->files = &all->files;
	list_add_tail(&all->all, &fs->link);
	return 0;
}

int fsdev_add(struct fsdevs *all, struct kvs *k, struct err *e)
{
	struct conf c = {0};
	int rc = opts_apply(tables, k, &c, e);
	const char *unused = rc == 0 ? kvs_unused(k) : NULL;

	if (unused)
		rc = err_set(e, -EINVAL, "Invalid parameter '%s'", unused);
	if (rc == 0)
		rc = open_fs(all, &c, e);
	opts_release(tables, &c);
	return rc;
}
