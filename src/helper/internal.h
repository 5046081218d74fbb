/* SPDX-License-Identifier: MIT */
/* internal.h - what the two sides of a helper share: messages, and what the keeper is born with */
#ifndef HELPER_INTERNAL_H
#define HELPER_INTERNAL_H

#include <stdint.h>
#include <sys/types.h>

#include "helper/helper.h"

/* A sequenced-packet socket: each message is one struct, whole. */
enum keeper_msg_type {
	KEEPER_GO,     /* to it, first of all: its process id as we see it */
	KEEPER_WORKER, /* to it: fork a worker */
	KEEPER_KILL,   /* to it: kill the worker, if there is one */
	KEEPER_ENDED,  /* from it: the worker's wait status */
	KEEPER_FAILED, /* from it: no worker could be forked, errno */
};
struct keeper_msg {
	uint32_t type;
	int32_t value;
};

/* From it, once: the result of its start. */
struct keeper_ready {
	int32_t rc;	   /* 0 or -errno */
	uint32_t confined; /* CONFINED_* */
	char text[480];	   /* of rc */
};

/* What is on, for the log. The filter, the limits and "no new privileges" always are. */
#define CONFINED_USER  1u /* a user id that nobody else has, and no capability */
#define CONFINED_ROOT  2u /* an empty root directory */
#define CONFINED_SPACE 4u /* namespaces of its own: mount, IPC, host name, cgroup */
#define CONFINED_PIDS  8u /* and process ids: the keeper is the first of it */

/* The keeper's user and group: this number + its process id, as the host sees it (below 2^22). No
 * user data base and none of the usual ranges (systemd's, containers') reaches there, so no other
 * process of the host and no file has it. */
#define KEEPER_UID_BASE 0x70000000u

struct keeper_birth {
	const struct helper_role *role;
	const struct helper_files *files;
	void *arg;
	int sock, log;		    /* its ends */
	volatile uint32_t *refused; /* shared page: number of a refused system call + 1 */
	bool privileged;	    /* each step is required */
	bool pid_space;
};

/* The keeper's life, in the child. */
void keeper_run(const struct keeper_birth *birth) __attribute__((noreturn));

/* Give up everything but the filter, after prepare(). `pid`: as the host sees it. Tells in
 * *confined what is on. 0 or -errno with `e`. */
int confine(const struct keeper_birth *birth, pid_t pid, uint32_t *confined, struct err *e);
/* Does this process have what confine() needs for all its steps? */
bool confine_is_privileged(void);

#endif
