/* SPDX-License-Identifier: MIT */
/* slirp_lib.c - see slirp_lib.h */
#include "net/user/slirp_lib.h"

#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/util.h"

#define SONAME "libslirp.so.0"

int slirp_lib_load(struct slirp_lib *lib, struct err *e)
{
	static const struct {
		const char *name;
		size_t at;
		bool optional;
	} symbols[] = {
		{"slirp_new", offsetof(struct slirp_lib, new), false},
		{"slirp_pollfds_fill", offsetof(struct slirp_lib, pollfds_fill), false},
		{"slirp_pollfds_poll", offsetof(struct slirp_lib, pollfds_poll), false},
		{"slirp_input", offsetof(struct slirp_lib, input), false},
		{"slirp_add_hostfwd", offsetof(struct slirp_lib, add_hostfwd), false},
		{"slirp_add_unix", offsetof(struct slirp_lib, add_unix), true},
	};
	/* It is never unloaded: glib below it is not made for that. */
	void *handle = dlopen(SONAME, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);

	if (!handle)
		return err_set(e, -ENOENT,
			       "user-mode networking needs libslirp (Debian package libslirp0): %s",
			       dlerror());
	for (unsigned i = 0; i < ARRAY_SIZE(symbols); i++) {
		void *fn = dlsym(handle, symbols[i].name);

		if (!fn && !symbols[i].optional)
			return err_set(e, -ENOENT, SONAME " lacks %s: it is too old",
				       symbols[i].name);
		memcpy((char *)lib + symbols[i].at, &fn, sizeof(fn));
	}
	return 0;
}
