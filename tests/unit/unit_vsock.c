/* SPDX-License-Identifier: MIT */
/* unit_vsock.c - the table of a guest's connections */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "vsock/internal.h"

#define CONNECTIONS 4000

static void wake(void *arg)
{
}

/* Do these ports meet under a multiplication by 2^64 divided by the golden ratio, of which the
 * upper 10 bits count? */
static bool meets_others(uint32_t host_port, uint32_t guest_port)
{
	return ((uint64_t)host_port << 32 | guest_port) * 0x9e3779b97f4a7c15ULL >> 54 == 0;
}

/* A guest picks its own port, and to which of the host it connects; the chains stay short. A random
 * hash has chains of more than 16 less than once in 10^6 tables. */
static void port_chains(void **state)
{
	struct vsock_config cfg = {.name = "test", .guest_cid = 3, .max = 4096, .wake = wake};
	char dir[] = "/tmp/unit_vsock.XXXXXX", path[64];
	uint32_t port[CONNECTIONS], at = 0;
	struct err e = {0};
	struct vsock *s;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/socket", dir);
	cfg.path = path;
	s = vsock_open(&cfg, &e);
	assert_non_null(s);
	s->loop = loop_new("test");
	for (unsigned i = 0; i < CONNECTIONS; i++) {
		struct conn *c = conn_new(s, -1, VSOCK_STREAM);

		while (!meets_others(80, at))
			at++;
		port[i] = at++;
		c->host_port = 80;
		c->guest_port = port[i];
		conn_insert(c);
	}
	assert_in_range(hash_table_longest(&s->table), 1, 16);
	for (unsigned i = 0; i < CONNECTIONS; i++) {
		struct conn *c = conn_find(s, 80, port[i]);

		assert_non_null(c);
		assert_int_equal(c->guest_port, port[i]);
		assert_null(conn_find(s, 81, port[i]));
		conn_free(c);
		assert_null(conn_find(s, 80, port[i]));
	}
	loop_free(s->loop);
	vsock_free(s);
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(port_chains)};

	return cmocka_run_group_tests_name("vsock", tests, NULL, NULL);
}
