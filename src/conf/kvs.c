/* SPDX-License-Identifier: MIT */
/* kvs.c - see kvs.h
 *
 * The text comes from the command line or from a monitor, so it may be wrong but is not hostile.
 * The limits below keep a mistake from making the parser slow or its result huge. Error messages do
 * not say which option they are about; the caller puts `origin` before them.
 */
#include "conf/kvs.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX  65536 /* bytes of one option */
#define PAIRS_MAX 1024	/* keys of one option */
#define DEPTH_MAX 16	/* levels of nested JSON objects and arrays */
#define KEY_MAX	  256	/* bytes of a dotted key, with the null byte */

static int error_too_long(struct err *e)
{
	return err_set(e, -E2BIG, "Too long: at most %d bytes and %d parameters are accepted",
		       TEXT_MAX, PAIRS_MAX);
}

static int kvs_add_owned(struct kvs *k, char *key, char *value)
{
	struct kv *v = NULL;

	if (key && value && k->n < PAIRS_MAX)
		v = realloc(k->v, (k->n + 1) * sizeof(*v));
	if (!v) {
		free(key);
		free(value);
		return k->n < PAIRS_MAX ? -ENOMEM : -E2BIG;
	}
	k->v = v;
	v[k->n++] = (struct kv){.key = key, .value = value};
	return 0;
}

int kvs_add(struct kvs *k, const char *key, const char *value)
{
	return kvs_add_owned(k, strdup(key), strdup(value));
}

/* Returns a copy of the value at `*text`, which ends at a single comma or the end of the text; `,,`
 * stands for a comma in it. Moves `*text` behind the value and its comma. NULL: out of memory. */
static char *text_cut_value(const char **text)
{
	const char *p = *text;
	char *value = malloc(strlen(p) + 1), *out = value;

	if (!value)
		return NULL;
	for (; *p; p++) {
		if (*p == ',' && *++p != ',')
			break;
		*out++ = *p;
	}
	*out = '\0';
	*text = p;
	return value;
}

static int kvs_parse_plain(struct kvs *k, const char *text, const char *implied, struct err *e)
{
	const char *p = text;

	while (*p) {
		size_t len = strcspn(p, "=,");
		char *key, *value;
		int rc;

		if (p[len] == '=') {
			key = strndup(p, len);
			p += len + 1;
			value = text_cut_value(&p);
		} else if (p == text && implied) {
			key = strdup(implied);
			value = text_cut_value(&p);
		} else {
			bool off = len > 2 && !strncmp(p, "no", 2);

			key = off ? strndup(p + 2, len - 2) : strndup(p, len);
			value = strdup(off ? "off" : "on");
			p += len + (p[len] == ',');
		}
		if (key && !*key) {
			free(key);
			free(value);
			return err_set(e, -EINVAL, "Invalid parameter '': expected key=value,...");
		}
		rc = kvs_add_owned(k, key, value);
		if (rc == -E2BIG)
			return error_too_long(e);
		if (rc < 0)
			return err_set(e, rc, "%s", strerror(-rc));
	}
	return 0;
}

static int json_flatten(struct kvs *k, const char *path, const json_t *node, unsigned depth,
			struct err *e);

/* Add a member of an object or array, whose key is `path`.`name`. */
static int json_flatten_member(struct kvs *k, const char *path, const char *name,
			       const json_t *node, unsigned depth, struct err *e)
{
	char key[KEY_MAX];
	int len = snprintf(key, sizeof(key), "%s%s%s", path, *path ? "." : "", name);

	if (!*name)
		return err_set(e, -EINVAL, "Invalid parameter ''");
	if (len >= KEY_MAX)
		return err_set(e, -E2BIG, "Parameter name '%.64s...' is too long", key);
	return json_flatten(k, key, node, depth + 1, e);
}

static int json_flatten(struct kvs *k, const char *path, const json_t *node, unsigned depth,
			struct err *e)
{
	char number[64];
	const char *value = number;
	int rc = 0;

	if (depth > DEPTH_MAX)
		return err_set(e, -E2BIG, "JSON nesting depth limit exceeded (%d)", DEPTH_MAX);
	switch (json_typeof(node)) {
	case JSON_OBJECT: {
		const char *name;
		json_t *child;

		json_object_foreach ((json_t *)node, name, child) {
			rc = json_flatten_member(k, path, name, child, depth, e);
			if (rc < 0)
				return rc;
		}
		return 0;
	}
	case JSON_ARRAY: {
		size_t i;
		json_t *child;

		json_array_foreach (node, i, child) {
			snprintf(number, sizeof(number), "%zu", i);
			rc = json_flatten_member(k, path, number, child, depth, e);
			if (rc < 0)
				return rc;
		}
		return 0;
	}
	case JSON_STRING:
		value = json_string_value(node);
		break;
	case JSON_INTEGER:
		snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, json_integer_value(node));
		break;
	case JSON_REAL:
		snprintf(number, sizeof(number), "%.17g", json_real_value(node));
		break;
	case JSON_TRUE:
		value = "on";
		break;
	case JSON_FALSE:
		value = "off";
		break;
	case JSON_NULL:
		return err_set(e, -EINVAL, "Parameter '%s' does not accept value 'null'", path);
	}
	rc = kvs_add(k, path, value);
	if (rc == -E2BIG)
		return error_too_long(e);
	return rc < 0 ? err_set(e, rc, "%s", strerror(-rc)) : 0;
}

static int kvs_parse_json(struct kvs *k, const char *text, struct err *e)
{
	json_error_t je;
	json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &je);
	int rc;

	if (!root)
		return err_set(e, -EINVAL, "JSON parse error, %s at column %d", je.text, je.column);
	rc = json_flatten(k, "", root, 0, e);
	json_decref(root);
	return rc;
}

int kvs_parse(struct kvs *k, const char *option, const char *text, const char *implied,
	      struct err *e)
{
	*k = (struct kvs){0};
	if (strlen(text) > TEXT_MAX)
		return error_too_long(e);
	if (asprintf(&k->origin, "%s %s", option, text) < 0) {
		k->origin = NULL;
		return err_nomem(e);
	}
	return *text == '{' ? kvs_parse_json(k, text, e) : kvs_parse_plain(k, text, implied, e);
}

void kvs_free(struct kvs *k)
{
	for (unsigned i = 0; i < k->n; i++) {
		free(k->v[i].key);
		free(k->v[i].value);
	}
	free(k->v);
	free(k->origin);
	*k = (struct kvs){0};
}

const char *kvs_get(struct kvs *k, const char *key)
{
	const char *value = NULL;

	for (unsigned i = 0; i < k->n; i++)
		if (!strcmp(k->v[i].key, key)) {
			k->v[i].used = true;
			value = k->v[i].value;
		}
	return value;
}

int kvs_take(struct kvs *k, const char *prefix, struct kvs *out)
{
	size_t len = strlen(prefix);

	for (unsigned i = 0; i < k->n; i++) {
		if (strncmp(k->v[i].key, prefix, len))
			continue;
		k->v[i].used = true;
		if (kvs_add(out, k->v[i].key + len, k->v[i].value) < 0)
			return -ENOMEM;
	}
	return 0;
}

const char *kvs_unused(const struct kvs *k)
{
	for (unsigned i = 0; i < k->n; i++)
		if (!k->v[i].used)
			return k->v[i].key;
	return NULL;
}
