/* SPDX-License-Identifier: MIT */
/* slirp_lib.h - libslirp, loaded by the helper of a -netdev user
 *
 * Linking it would bring it, and glib, into the device model. Everything here is
 * of libslirp 4.0 and later but add_unix.
 */
#ifndef NET_USER_SLIRP_LIB_H
#define NET_USER_SLIRP_LIB_H

#include <slirp/libslirp.h>

#include "base/err.h"

struct slirp_lib {
	Slirp *(*new)(const SlirpConfig *cfg, const SlirpCb *callbacks, void *opaque);
	void (*pollfds_fill)(Slirp *slirp, uint32_t *timeout, SlirpAddPollCb add_poll,
			     void *opaque);
	void (*pollfds_poll)(Slirp *slirp, int select_error, SlirpGetREventsCb get_revents,
			     void *opaque);
	void (*input)(Slirp *slirp, const uint8_t *pkt, int pkt_len);
	int (*add_hostfwd)(Slirp *slirp, int is_udp, struct in_addr host_addr, int host_port,
			   struct in_addr guest_addr, int guest_port);
	/* NULL where the library is older than 4.3. */
	int (*add_unix)(Slirp *slirp, const char *unixsock, struct in_addr *guest_addr,
			int guest_port);
};

/* In the keeper. 0 or -errno with `e`, which names the Debian package. The library stays loaded.
 */
int slirp_lib_load(struct slirp_lib *lib, struct err *e);

#endif
