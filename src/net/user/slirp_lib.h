/* SPDX-License-Identifier: MIT */
/* slirp_lib.h - libslirp, loaded when the first -netdev user is opened
 *
 * Linking it would bring glib into every run, most of which have no use for it: relocations at each
 * start, and pages of data per guest. So the program holds only these pointers. Everything here is
 * of libslirp 4.0 and later but add_unix.
 */
#ifndef NET_USER_SLIRP_LIB_H
#define NET_USER_SLIRP_LIB_H

#include <slirp/libslirp.h>

#include "base/err.h"

struct slirp_lib {
	Slirp *(*new)(const SlirpConfig *cfg, const SlirpCb *callbacks, void *opaque);
	void (*cleanup)(Slirp *slirp);
	void (*pollfds_fill)(Slirp *slirp, uint32_t *timeout, SlirpAddPollCb add_poll,
			     void *opaque);
	void (*pollfds_poll)(Slirp *slirp, int select_error, SlirpGetREventsCb get_revents,
			     void *opaque);
	void (*input)(Slirp *slirp, const uint8_t *pkt, int pkt_len);
	int (*add_hostfwd)(Slirp *slirp, int is_udp, struct in_addr host_addr, int host_port,
			   struct in_addr guest_addr, int guest_port);
	int (*remove_hostfwd)(Slirp *slirp, int is_udp, struct in_addr host_addr, int host_port);
	/* NULL where the library is older than 4.3. */
	int (*add_unix)(Slirp *slirp, const char *unixsock, struct in_addr *guest_addr,
			int guest_port);
};

/* Control thread. 0 or -errno with `e`, which names the Debian package. The library stays loaded.
 */
int slirp_lib_load(struct slirp_lib *lib, struct err *e);

#endif
