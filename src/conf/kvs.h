/* SPDX-License-Identifier: MIT */
/* kvs.h - QEMU's option arguments as an ordered list of keys and values
 *
 * An option's argument has a plain form (`type=tap,id=net0,script=no`) and a JSON form
 * (`{"driver": "virtio-blk-pci", "drive": "d0"}`). Both are parsed into the same kind of list.
 *
 * In the plain form `,,` stands for a comma in a value. A first word without `=` is the value of an
 * implied key (`driver`, `type`, ...). A later word `foo` means `foo=on`, and `nofoo` means
 * `foo=off`. In the JSON form the members of nested objects get dotted keys (`file.filename`), as
 * do array elements (`key.0`); booleans become `on` and `off`, numbers their decimal text.
 */
#ifndef CONF_KVS_H
#define CONF_KVS_H

#include <stdbool.h>

#include "base/err.h"

struct kv {
	char *key, *value;
	bool used; /* set by kvs_get() and kvs_take() */
};

struct kvs {
	struct kv *v;
	unsigned n;
	char *origin; /* where the list comes from, for error messages:
			 "-device virtio-blk-pci,drive=d0" or "device_add" */
};

/* Parse `text`, the argument of option `option` ("-device"). `implied` is the implied key, or NULL.
 * Returns 0, or -errno with `e`. The caller must call kvs_free() in either case. */
int kvs_parse(struct kvs *k, const char *option, const char *text, const char *implied,
	      struct err *e);
void kvs_free(struct kvs *k);

/* Returns the last value that was given for `key`, or NULL if there is none. Marks all pairs with
 * this key as used. */
const char *kvs_get(struct kvs *k, const char *key);
/* Append a pair (copies both). 0 or -ENOMEM. */
int kvs_add(struct kvs *k, const char *key, const char *value);
/* Copy the pairs whose key begins with `prefix` to `out`, which must be empty, with the prefix
 * removed, and mark them as used. Returns 0 or -ENOMEM. */
int kvs_take(struct kvs *k, const char *prefix, struct kvs *out);
/* Returns the first key that is not marked as used, which means that no option has this name; or
 * NULL. */
const char *kvs_unused(const struct kvs *k);

#endif
