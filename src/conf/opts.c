/* SPDX-License-Identifier: MIT */
/* opts.c - see opts.h
 *
 * Error messages begin as QEMU's do ("Parameter 'x' expects ...") and end with what is accepted.
 * They do not say which option they are about; the caller puts the origin of the `struct kvs`
 * before them.
 */
#include "conf/opts.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

static const char *const onoffauto[] = {"off", "on", "auto", NULL};

int parse_uint(const char *s, uint64_t *out)
{
	bool hex = s[0] == '0' && (s[1] == 'x' || s[1] == 'X');
	char *end;

	/* strtoull() would also accept leading blanks and a sign. */
	if (!isxdigit((unsigned char)s[hex ? 2 : 0]))
		return -EINVAL;
	errno = 0;
	*out = strtoull(s, &end, hex ? 16 : 10);
	return *end || errno ? -EINVAL : 0;
}

static int parse_int(const char *s, int64_t *out)
{
	bool negative = *s == '-';
	uint64_t u;

	if (parse_uint(s + negative, &u) < 0 || u > (uint64_t)INT64_MAX + negative)
		return -EINVAL;
	*out = (int64_t)(negative ? -u : u);
	return 0;
}

/* Returns the factor of a size suffix, or 0 if `c` is not one. */
static uint64_t size_unit_factor(char c)
{
	static const char units[] = "bkmgtpe";
	const char *p = c ? strchr(units, tolower((unsigned char)c)) : NULL;

	return p ? 1ULL << (10 * (p - units)) : 0;
}

int parse_size(const char *s, uint64_t default_unit, uint64_t *out)
{
	uint64_t whole = 0, unit = default_unit, extra;
	long double part = 0, place = 1;

	if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X')) {
		if (parse_uint(s, &whole) < 0 || !mul_ok(whole, default_unit, out))
			return -EINVAL;
		return 0;
	}
	if (!isdigit((unsigned char)*s))
		return -EINVAL;
	for (; isdigit((unsigned char)*s); s++)
		if (!mul_ok(whole, 10u, &whole) || !add_ok(whole, (uint64_t)(*s - '0'), &whole))
			return -EINVAL;
	if (*s == '.')
		for (s++; isdigit((unsigned char)*s); s++)
			part += (*s - '0') * (place /= 10);
	if (*s) {
		unit = size_unit_factor(*s);
		if (!unit || s[1])
			return -EINVAL;
	}
	if (part > 0 && unit == 1)
		return -EINVAL; /* a fraction of a byte */
	extra = (uint64_t)(part * unit + 0.5L);
	return mul_ok(whole, unit, out) && add_ok(*out, extra, out) ? 0 : -EINVAL;
}

int parse_bool(const char *s, bool *out)
{
	static const char *const words[] = {"off", "on", "no", "yes", "false", "true", "n", "y"};

	for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
		if (!strcmp(s, words[i])) {
			*out = i & 1;
			return 0;
		}
	return -EINVAL;
}

bool id_wellformed(const char *id)
{
	if (!isalpha((unsigned char)*id))
		return false;
	for (id++; *id; id++)
		if (!isalnum((unsigned char)*id) && !strchr("-._", *id))
			return false;
	return true;
}

int id_check(const char *name, const char *id, struct err *e)
{
	if (!id)
		return err_set(e, -EINVAL, "Parameter '%s' is missing", name);
	if (!id_wellformed(id))
		return err_set(e, -EINVAL,
			       "Parameter '%s' expects an identifier (a letter, then letters, "
			       "digits, '-', '.', '_'), not '%s'",
			       name, id);
	return 0;
}

int id_taken(const char *id, const char *what, struct err *e)
{
	return err_set(e, -EEXIST, "Duplicate ID '%s' for %s", id, what);
}

static int parse_enum(const char *s, const char *const *values, unsigned *out)
{
	for (unsigned i = 0; values[i]; i++)
		if (!strcmp(s, values[i])) {
			*out = i;
			return 0;
		}
	return -EINVAL;
}

static int parse_onoffauto(const char *s, uint8_t *out)
{
	unsigned i;
	bool b;

	if (!parse_enum(s, onoffauto, &i))
		*out = i;
	else if (!parse_bool(s, &b))
		*out = b ? OPT_ON : OPT_OFF;
	else
		return -EINVAL;
	return 0;
}

static int parse_mac(const char *s, uint8_t mac[6])
{
	for (unsigned i = 0; i < 6; i++, s += 3) {
		char digits[3] = {s[0], s[0] ? s[1] : '\0'};

		if (!isxdigit((unsigned char)digits[0]) || !isxdigit((unsigned char)digits[1]))
			return -EINVAL;
		if (i < 5 ? s[2] != ':' && s[2] != '-' : s[2] != '\0')
			return -EINVAL;
		mac[i] = strtoul(digits, NULL, 16);
	}
	return 0;
}

static int parse_pci_addr(const char *s, int *devfn)
{
	unsigned long slot, fn = 0;
	char *end;

	if (!strcmp(s, "-1")) {
		*devfn = -1;
		return 0;
	}
	if (!isxdigit((unsigned char)*s))
		return -EINVAL;
	slot = strtoul(s, &end, 16);
	if (*end == '.') {
		if (!isxdigit((unsigned char)end[1]))
			return -EINVAL;
		fn = strtoul(end + 1, &end, 16);
	}
	if (*end || slot > 31 || fn > 7)
		return -EINVAL;
	*devfn = slot << 3 | fn;
	return 0;
}

static bool opt_has_range(const struct opt *o)
{
	return o->min || o->max;
}

/* Set the error for a value that could not be parsed or is outside the range of row `o`. Returns
 * -EINVAL. */
static int error_bad_value(const struct opt *o, const char *value, struct err *e)
{
	char type[128];

	switch (o->type) {
	case OPT_BOOL:
		return err_set(e, -EINVAL, "Parameter '%s' expects 'on' or 'off', not '%s'",
			       o->name, value);
	case OPT_UINT:
		if (opt_has_range(o))
			return err_set(e, -EINVAL,
				       "Parameter '%s' expects integer from %" PRIu64 " to %" PRIu64
				       ", not '%s'",
				       o->name, o->min, o->max, value);
		return err_set(e, -EINVAL, "Parameter '%s' expects integer, not '%s'", o->name,
			       value);
	case OPT_INT:
		if (opt_has_range(o))
			return err_set(e, -EINVAL,
				       "Parameter '%s' expects integer from %" PRId64 " to %" PRId64
				       ", not '%s'",
				       o->name, (int64_t)o->min, (int64_t)o->max, value);
		return err_set(e, -EINVAL, "Parameter '%s' expects integer, not '%s'", o->name,
			       value);
	case OPT_SIZE:
		if (opt_has_range(o))
			return err_set(e, -EINVAL,
				       "Parameter '%s' expects size from %" PRIu64 " to %" PRIu64
				       ", not '%s'",
				       o->name, o->min, o->max, value);
		return err_set(e, -EINVAL,
			       "Parameter '%s' expects size (suffixes k, M, G, T, P, E), not '%s'",
			       o->name, value);
	default:
		return err_set(e, -EINVAL,
			       "Parameter '%s' does not accept value '%s' (accepted: %s)", o->name,
			       value, opts_type_name(o, type, sizeof(type)));
	}
}

static int opt_set_string(char **at, const char *value, struct err *e)
{
	char *copy = value ? strdup(value) : NULL;

	if (value && !copy)
		return err_nomem(e);
	free(*at);
	*at = copy;
	return 0;
}

/* Parse `value` into the field at `at` that row `o` describes. NULL means that no value was given
 * and the row has no default. Returns 0, or -errno with `e`. */
static int opt_set_field(const struct opt *o, const char *value, void *at, struct err *e)
{
	int rc = 0;

	switch (o->type) {
	case OPT_BOOL: {
		bool v = false;

		rc = value ? parse_bool(value, &v) : 0;
		*(bool *)at = v;
		break;
	}
	case OPT_ONOFFAUTO: {
		uint8_t v = OPT_OFF;

		rc = value ? parse_onoffauto(value, &v) : 0;
		*(uint8_t *)at = v;
		break;
	}
	case OPT_UINT:
	case OPT_SIZE: {
		uint64_t v = 0;

		if (value) {
			rc = o->type == OPT_UINT ? parse_uint(value, &v) : parse_size(value, 1, &v);
			if (!rc && opt_has_range(o) && (v < o->min || v > o->max))
				rc = -EINVAL;
		}
		*(uint64_t *)at = v;
		break;
	}
	case OPT_INT: {
		int64_t v = 0;

		if (value) {
			rc = parse_int(value, &v);
			if (!rc && opt_has_range(o) && (v < (int64_t)o->min || v > (int64_t)o->max))
				rc = -EINVAL;
		}
		*(int64_t *)at = v;
		break;
	}
	case OPT_STRING:
		return opt_set_string(at, value, e);
	case OPT_ENUM: {
		unsigned v = 0;

		rc = value ? parse_enum(value, o->values, &v) : 0;
		*(unsigned *)at = v;
		break;
	}
	case OPT_MAC: {
		uint8_t mac[6] = {0};

		rc = value ? parse_mac(value, mac) : 0;
		memcpy(at, mac, sizeof(mac));
		break;
	}
	case OPT_PCI_ADDR: {
		int devfn = -1;

		rc = value ? parse_pci_addr(value, &devfn) : 0;
		*(int *)at = devfn;
		break;
	}
	case OPT_TREE:
		rc = value ? -EINVAL : 0;
		break;
	case OPT_IGNORED:
		break;
	}
	return rc < 0 ? error_bad_value(o, value, e) : 0;
}

static int opt_set_tree(const struct opt *o, struct kvs *k, struct kvs *at, struct err *e)
{
	char prefix[128];

	snprintf(prefix, sizeof(prefix), "%s.", o->name);
	kvs_free(at);
	return kvs_take(k, prefix, at) < 0 ? err_nomem(e) : 0;
}

int opts_apply(const struct opt *const *tables, struct kvs *k, void *base, struct err *e)
{
	for (; *tables; tables++)
		for (const struct opt *o = *tables; o->name; o++) {
			const char *value = kvs_get(k, o->name);
			int rc;

			if (!value && o->required)
				return err_set(e, -EINVAL, "Parameter '%s' is missing", o->name);
			rc = opt_set_field(o, value ? value : o->def, (char *)base + o->at, e);
			if (!rc && o->type == OPT_TREE)
				rc = opt_set_tree(o, k, (struct kvs *)((char *)base + o->at), e);
			if (rc < 0)
				return rc;
		}
	return 0;
}

void opts_release(const struct opt *const *tables, void *base)
{
	for (; *tables; tables++)
		for (const struct opt *o = *tables; o->name; o++)
			if (o->type == OPT_TREE) {
				kvs_free((struct kvs *)((char *)base + o->at));
			} else if (o->type == OPT_STRING) {
				char **at = (char **)((char *)base + o->at);

				free(*at);
				*at = NULL;
			}
}

const char *opts_type_name(const struct opt *o, char *buf, size_t size)
{
	static const char *const names[] = {
		[OPT_BOOL] = "bool",
		[OPT_ONOFFAUTO] = "on|off|auto",
		[OPT_UINT] = "uint",
		[OPT_INT] = "int",
		[OPT_SIZE] = "size",
		[OPT_STRING] = "str",
		[OPT_MAC] = "xx:xx:xx:xx:xx:xx",
		[OPT_PCI_ADDR] = "slot[.function] in hex",
		[OPT_TREE] = "JSON",
		[OPT_IGNORED] = "any",
	};

	if (o->type != OPT_ENUM) {
		snprintf(buf, size, "%s", names[o->type]);
		return buf;
	}
	*buf = '\0';
	for (unsigned i = 0; o->values[i]; i++) {
		size_t len = strlen(buf);

		snprintf(buf + len, size - len, "%s%s", i ? "|" : "", o->values[i]);
	}
	return buf;
}

void opts_help(const struct opt *const *tables, FILE *out)
{
	for (; *tables; tables++)
		for (const struct opt *o = *tables; o->name; o++) {
			char type[128];
			int width;

			if (o->type == OPT_IGNORED)
				continue;
			width = fprintf(out, "  %s=<%s>", o->name,
					opts_type_name(o, type, sizeof(type)));
			fprintf(out, "%*s - %s", width < 28 ? 28 - width : 0, "",
				o->help ? o->help : "");
			if (o->def)
				fprintf(out, " (default: %s)", o->def);
			fputc('\n', out);
		}
}
