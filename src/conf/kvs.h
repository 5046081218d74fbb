/* SPDX-License-Identifier: MIT */
/* kvs.h - QEMU's option arguments as an ordered list of keys and values
 *
 * `type=tap,id=net0,script=no` and `{"driver": "virtio-blk-pci", "drive": "d0"}` both become the
 * same list. In the plain form
 * `,,` stands for a comma in a value, a first word without `=` is the value of an implied key
 * (`driver`, `type`, ...), a later `foo` means `foo=on` and `nofoo` means `foo=off`. In the JSON
 * form nested objects become dotted keys
 * (`file.filename`), array elements `key.0`, booleans `on` and `off`, numbers their decimal text.
 */
#ifndef CONF_KVS_H
#define CONF_KVS_H

#include <stdbool.h>

#include "base/err.h"

struct kv {
	char *key, *value;
	bool used; /* set by kvs_get(); kvs_unused() finds what nobody asked for */
};

struct kvs {
	struct kv *v;
	unsigned n;
	char *origin; /* "-device virtio-blk-pci,drive=d0" or "device_add": the place for error
			 messages */
};

/* Parse `text` of option `option` ("-device"); `implied` may be NULL. 0 or -errno with `e`. Free
 * with kvs_free() in both cases. */
int kvs_parse(struct kvs *k, const char *option, const char *text, const char *implied,
	      struct err *e);
void kvs_free(struct kvs *k);

/* Value of `key`: the last one given, NULL when absent. Marks all of them used. */
const char *kvs_get(struct kvs *k, const char *key);
/* Append a pair (copies both). 0 or -ENOMEM. */
int kvs_add(struct kvs *k, const char *key, const char *value);
/* Copy the pairs whose key begins with `prefix` to `out` (empty before), without it, and mark them
 * used. 0 or -ENOMEM. */
int kvs_take(struct kvs *k, const char *prefix, struct kvs *out);
/* First key that kvs_get() was never asked for, or NULL. */
const char *kvs_unused(const struct kvs *k);

#endif
