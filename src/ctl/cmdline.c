/* SPDX-License-Identifier: MIT */
/* cmdline.c - see cmdline.h
 *
 * One pass over the arguments fills struct cmdline by the rows of options.c; then come the checks
 * that need the whole line, since options may come in any order.
 *
 * Paths. libxl starts the device model in the directory of the user's shell, but xl starts it again
 * in `/` when the guest reboots. A relative path would work once and then not, so for a domain it
 * is refused; elsewhere it is made absolute.
 */
#include "ctl/cmdline.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "ctl/options.h"

bool word_is_among(const char *word, const char *words)
{
	size_t len = strlen(word);

	for (const char *p = words; p; p = strchr(p, '|')) {
		p += *p == '|';
		if (!strncmp(p, word, len) && (p[len] == '|' || !p[len]))
			return true;
	}
	return false;
}

const struct option_row *option_find(const char *arg)
{
	arg += 1 + (arg[1] == '-');
	for (const struct option_row *o = option_rows; o->name; o++)
		if (o->kind != OPTION_SECTION && !strcmp(o->name, arg))
			return o;
	return NULL;
}

const struct opt *cmdline_group(unsigned i, const char **name)
{
	for (const struct option_row *o = option_rows; o->name; o++)
		if (o->group && !i--) {
			*name = o->group;
			return o->params;
		}
	return NULL;
}

const struct kvs_list *cmdline_list(const struct cmdline *c, const char *option)
{
	static const struct kvs_list none;

	for (const struct option_row *o = option_rows; o->name; o++)
		if (o->kind == OPTION_LIST && !strcmp(o->name, option))
			return (const struct kvs_list *)((const char *)c + o->at);
	return &none;
}

int options_apply_given(const struct opt *rows, struct kvs *k, struct cmdline *c, struct err *e)
{
	for (; rows->name; rows++) {
		const struct opt single[] = {*rows, OPT_END};
		int rc = kvs_get(k, rows->name)
				 ? opts_apply((const struct opt *const[]){single, NULL}, k, c, e)
				 : 0;

		if (rc < 0)
			return rc;
	}
	return 0;
}

/* --- one option --- */

static void *option_field(struct cmdline *c, const struct option_row *o)
{
	return (char *)c + o->at;
}

int options_set_string(char **at, const char *value, struct err *e)
{
	char *copy = strdup(value);

	if (!copy)
		return err_nomem(e);
	free(*at);
	*at = copy;
	return 0;
}

static int check_id(const struct option_row *o, struct kvs_list *list, struct kvs *k, struct err *e)
{
	const char *id = o->id ? kvs_get(k, o->id) : NULL;
	int rc;

	if (!id && !o->id_required)
		return 0;
	rc = id_check(o->id, id, e);
	if (rc < 0)
		return rc;
	for (unsigned i = 0; i < list->n; i++) {
		const char *other = kvs_get(&list->v[i], o->id);

		if (other && !strcmp(id, other))
			return id_taken(id, o->name, e);
	}
	return 0;
}

int options_append(const struct option_row *o, struct kvs_list *list, struct kvs *k, struct err *e)
{
	int rc = check_id(o, list, k, e);
	struct kvs *v = rc < 0 ? NULL : realloc(list->v, (list->n + 1) * sizeof(*v));

	if (!v) {
		kvs_free(k);
		return rc < 0 ? rc : err_nomem(e);
	}
	list->v = v;
	v[list->n++] = *k;
	return 0;
}

/* Does the argument ask for help, as `help`, `?`, `X,help` and `X,?` do? */
static bool keys_ask_for_help(const struct option_row *o, struct kvs *k)
{
	const char *first = o->implied ? kvs_get(k, o->implied) : k->n ? k->v[0].key : NULL;

	return kvs_get(k, "help") || kvs_get(k, "?") ||
	       (first && (!strcmp(first, "help") || !strcmp(first, "?")));
}

int options_parse_keys(const struct option_row *o, const char *arg, struct kvs *k, struct err *e)
{
	char dashed[64];
	int rc;

	snprintf(dashed, sizeof(dashed), "-%s", o->name);
	rc = kvs_parse(k, dashed, arg, o->implied, e);
	if (!rc && keys_ask_for_help(o, k) && help_about(o, k, stdout))
		rc = 1;
	if (rc)
		kvs_free(k);
	return rc;
}

int options_check_unused(struct kvs *k, struct err *e)
{
	const char *key = kvs_unused(k);

	return key ? err_set(e, -EINVAL, "Invalid parameter '%s'", key) : 0;
}

static int keys_apply(struct cmdline *c, const struct option_row *o, const char *arg, struct err *e)
{
	struct kvs k;
	int rc = options_parse_keys(o, arg, &k, e);

	if (rc)
		return rc;
	if (o->kind == OPTION_LIST)
		return options_append(o, option_field(c, o), &k, e);
	rc = options_apply_given(o->params, &k, c, e);
	if (!rc)
		rc = options_check_unused(&k, e);
	kvs_free(&k);
	return rc;
}

static int option_apply(struct cmdline *c, const struct option_row *o, const char *arg,
			struct err *e)
{
	switch (o->kind) {
	case OPTION_FLAG:
		*(bool *)option_field(c, o) = true;
		return 0;
	case OPTION_STRING:
	case OPTION_PATH:
		return options_set_string(option_field(c, o), arg, e);
	case OPTION_LIST:
	case OPTION_PARAMS:
		return keys_apply(c, o, arg, e);
	case OPTION_CALL:
		return o->call(c, o, arg, e);
	case OPTION_ONLY:
		if (word_is_among(arg, o->accepted))
			return 0;
		return err_set(e, -EINVAL, "only '%s' is accepted: %s", o->accepted, o->help);
	case OPTION_REFUSED:
		return err_set(e, -ENOTSUP, "not supported: %s", o->help);
	case OPTION_SECTION:
	case OPTION_IGNORED:
		break;
	}
	return 0;
}

/* --- paths --- */

struct path_rule {
	const char *cwd;
	bool refuse;
};

static int path_resolve(const struct path_rule *rule, char **at, struct err *e)
{
	char *path;

	if (!*at || !**at || **at == '/')
		return 0;
	if (rule->refuse)
		return err_set(
			e, -EINVAL,
			"path '%s' is relative: an absolute one is needed, since xl starts the "
			"device model in another directory when the guest reboots",
			*at);
	if (asprintf(&path, "%s%s%s", rule->cwd, strcmp(rule->cwd, "/") ? "/" : "", *at) < 0)
		return err_nomem(e);
	free(*at);
	*at = path;
	return 0;
}

/* The part of a key behind its last dot: "a.b.path" is the key "path" of a nested object. */
static const char *key_last_part(const char *key)
{
	const char *dot = strrchr(key, '.');

	return dot ? dot + 1 : key;
}

/* Does `name` begin with a protocol ("nbd:...", "nbd://..."), a colon before the first slash? */
static bool name_has_protocol(const char *name)
{
	return name[strcspn(name, ":/")] == ':';
}

static int keys_resolve_paths(const struct path_rule *rule, const struct option_row *o,
			      struct kvs *k, struct err *e)
{
	bool abstract = false;

	for (unsigned i = 0; i < k->n; i++)
		if (!strcmp(key_last_part(k->v[i].key), "abstract"))
			parse_bool(k->v[i].value, &abstract);
	for (unsigned i = 0; i < k->n; i++) {
		const char *key = key_last_part(k->v[i].key), *value = k->v[i].value;
		bool name = word_is_among(key, o->names) && strcmp(value, "no");
		int rc = 0;

		/* "file:NAME" names a local file even if NAME looks like a protocol itself. */
		if (name && !strncmp(value, "file:", 5))
			memmove(k->v[i].value, value + 5, strlen(value + 5) + 1);
		else if (name)
			name = !name_has_protocol(value);
		if (name || (word_is_among(key, o->paths) && !abstract))
			rc = path_resolve(rule, &k->v[i].value, e);
		if (rc < 0) {
			err_prefix(e, "%s", k->origin);
			return rc;
		}
	}
	return 0;
}

/* Make PATH in the value of -qtest, unix:PATH,..., absolute. */
static int qtest_resolve_path(const struct path_rule *rule, char **at, struct err *e)
{
	char *path, *whole = NULL;
	int rc;

	if (!*at || strncmp(*at, "unix:", 5))
		return 0;
	path = strdup(*at + 5);
	if (!path)
		return err_nomem(e);
	rc = path_resolve(rule, &path, e);
	if (!rc && asprintf(&whole, "unix:%s", path) < 0)
		rc = err_nomem(e);
	free(path);
	if (rc < 0)
		return rc;
	free(*at);
	*at = whole;
	return 0;
}

static int cmdline_resolve_paths(struct cmdline *c, struct err *e)
{
	char cwd[4096];
	struct path_rule rule = {.cwd = cwd, .refuse = c->domid >= 0};
	int rc = 0;

	if (!getcwd(cwd, sizeof(cwd)))
		strcpy(cwd, "/");
	for (const struct option_row *o = option_rows; o->name && !rc; o++)
		if (o->kind == OPTION_PATH) {
			rc = path_resolve(&rule, option_field(c, o), e);
			if (rc < 0)
				err_prefix(e, "-%s", o->name);
		} else if (o->kind == OPTION_LIST) {
			struct kvs_list *list = option_field(c, o);

			for (unsigned i = 0; i < list->n && !rc; i++)
				rc = keys_resolve_paths(&rule, o, &list->v[i], e);
		}
	if (!rc)
		rc = qtest_resolve_path(&rule, &c->qtest, e);
	return rc;
}

/* --- the whole line --- */

static int window_check(const char *name, const struct hv_range *r, struct err *e)
{
	if (!r->base || r->size)
		return 0;
	return err_set(e, -EINVAL, "-machine: '%s-base' is given without '%s-size'", name, name);
}

static int cmdline_check(struct cmdline *c, struct err *e)
{
	/* RAM ranges are not checked: toolstacks give a base for the high RAM, with size 0, to
	 * guests that have none. */
	if (window_check("pci-ecam", &c->map.ecam, e) < 0 ||
	    window_check("pci-mmio", &c->map.mmio, e) < 0 ||
	    window_check("pci-mmio-high", &c->map.mmio_high, e) < 0)
		return -EINVAL;
	if (c->max_cpus && c->max_cpus < c->cpus)
		return err_set(
			e, -EINVAL,
			"-smp: Invalid CPU topology: maxcpus (%llu) must be equal to or greater "
			"than cpus (%llu)",
			(unsigned long long)c->max_cpus, (unsigned long long)c->cpus);
	if (c->max_mem && c->max_mem < c->map.mem)
		return err_set(e, -EINVAL, "-m: maxmem must be equal to or greater than size");
	if (c->machine == MACHINE_NONE)
		return 0;
	if (c->accel == ACCEL_XEN && c->domid < 0)
		return err_set(e, -EINVAL,
			       "-xen-domid is missing: the number of the guest's domain is needed");
	if (c->accel == ACCEL_QTEST && c->domid >= 0)
		return err_set(e, -EINVAL, "-xen-domid and -accel qtest exclude each other");
	if (c->accel != ACCEL_QTEST && (c->qtest || c->qtest_log))
		return err_set(e, -EINVAL, "-qtest and -qtest-log need -accel qtest");
	return 0;
}

static int cmdline_set_defaults(struct cmdline *c, struct err *e)
{
	struct kvs none = {0};

	*c = (struct cmdline){.domid = -1, .log_level = LOG_WARN};
	for (const struct option_row *o = option_rows; o->name; o++)
		if (o->params && o->kind != OPTION_LIST) {
			int rc = opts_apply((const struct opt *const[]){o->params, NULL}, &none, c,
					    e);

			if (rc < 0)
				return rc;
		}
	return 0;
}

int cmdline_parse(struct cmdline *c, int argc, char **argv, struct err *e)
{
	int rc = cmdline_set_defaults(c, e);

	for (int i = 1; i < argc && !rc; i++) {
		const char *word = argv[i], *arg = "";
		const struct option_row *o;

		if (word[0] != '-' || !word[1])
			return err_set(
				e, -EINVAL,
				"%s: unexpected argument (disks are given with -drive and -device)",
				word);
		o = option_find(word);
		if (!o)
			return err_set(e, -EINVAL,
				       "%s: invalid option (-help shows those that exist)", word);
		if (o->arg) {
			if (++i == argc)
				return err_set(e, -EINVAL, "%s: requires an argument", word);
			arg = argv[i];
		}
		rc = option_apply(c, o, arg, e);
		if (rc < 0)
			err_prefix(e, "-%s%s%s", o->name, o->arg ? " " : "", arg);
	}
	if (!rc)
		rc = cmdline_check(c, e);
	if (!rc)
		rc = cmdline_resolve_paths(c, e);
	return rc;
}

void cmdline_free(struct cmdline *c)
{
	free(c->uuid);
	c->uuid = NULL;
	for (const struct option_row *o = option_rows; o->name; o++)
		if (o->kind == OPTION_LIST) {
			struct kvs_list *list = option_field(c, o);

			for (unsigned i = 0; i < list->n; i++)
				kvs_free(&list->v[i]);
			free(list->v);
			*list = (struct kvs_list){0};
		} else if (o->kind == OPTION_STRING || o->kind == OPTION_PATH) {
			char **at = option_field(c, o);

			free(*at);
			*at = NULL;
		} else if (o->params) {
			opts_release((const struct opt *const[]){o->params, NULL}, c);
		}
}
