/* SPDX-License-Identifier: MIT */
/* unit_net_moderation.c - who is made to wait, and who is not */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dev/net_moderation.h"

#define US 1000ULL

/* Looks at the queue every `step_us`, finding `frames` each time: how many of `n` ended in a pause.
 */
static unsigned pauses(struct net_moderation *c, uint64_t *now, unsigned n, unsigned step_us,
		       unsigned frames)
{
	unsigned sum = 0;

	while (n--) {
		*now += step_us * US;
		sum += net_moderation_pause(c, *now, frames) > 0;
	}
	return sum;
}

/* A question, an answer: however fast, no answer waits. */
static void one_by_one(void **state)
{
	struct net_moderation c = {0};
	uint64_t now = 1;

	assert_int_equal(pauses(&c, &now, 1000, 10, 1), 0);
	assert_int_equal(pauses(&c, &now, 1000, 400, 1), 0);
}

/* A stream is waited for after a few looks, and not any more when it has ended. */
static void in_company(void **state)
{
	struct net_moderation c = {0};
	uint64_t now = 1;

	assert_true(pauses(&c, &now, 100, 40, 3) >= 90);
	assert_int_equal(pauses(&c, &now, 100, 40, 2), 100);
	assert_int_equal(net_moderation_pause(&c, now += 40 * US, 0), 0);
	assert_true(pauses(&c, &now, 100, 40, 1) <= 3);
	/* Many at once, but seldom. */
	assert_int_equal(pauses(&c, &now, 100, 10000, 64), 0);
	/* The first of a burst after silence. */
	pauses(&c, &now, 100, 40, 30);
	now += 1000 * US;
	assert_int_equal(net_moderation_pause(&c, now, 5), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_by_one),
		cmocka_unit_test(in_company),
	};

	return cmocka_run_group_tests_name("net_moderation", tests, NULL, NULL);
}
