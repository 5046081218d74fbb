/* SPDX-License-Identifier: MIT */
/* unit_migration.c - when Xen is told to refuse a live migration, on a fake Xen: its calls of the
 * libraries are defined here, before those of the libraries themselves */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "xen/domain.h"

#include <xen/hvm/hvm_op.h>
#include <xen/hvm/params.h>
#include <xencall.h>

#define DOMID  7
#define SERVER 3
#define GFN    0xfeff8ULL

/* What Xen knows of the domain. */
static struct {
	uint64_t ring;	      /* the parameter */
	bool has_server;      /* some server has the pages of the type */
	hvmmem_type_t type;   /* of the page */
	int param_err;	      /* what the calls fail with; 0: they do not */
	int map_err, set_err; /* the latter as a hole in memory does */
	unsigned calls, open;
} fake;

static int answer(int err)
{
	fake.calls++;
	errno = err;
	return err ? -1 : 0;
}

xencall_handle *xencall_open(struct xentoollog_logger *logger, unsigned open_flags)
{
	(void)logger;
	(void)open_flags;
	fake.open++;
	return (xencall_handle *)&fake;
}

int xencall_close(xencall_handle *xcall)
{
	(void)xcall;
	fake.open--;
	return 0;
}

void *xencall_alloc_buffer(xencall_handle *xcall, size_t size)
{
	(void)xcall;
	fake.open++;
	return calloc(1, size);
}

void xencall_free_buffer(xencall_handle *xcall, void *p)
{
	(void)xcall;
	fake.open--;
	free(p);
}

int xencall2(xencall_handle *xcall, unsigned int op, uint64_t arg1, uint64_t arg2)
{
	struct xen_hvm_param *p = (struct xen_hvm_param *)(uintptr_t)arg2;

	(void)xcall;
	assert_int_equal(op, __HYPERVISOR_hvm_op);
	assert_int_equal(arg1, HVMOP_get_param);
	assert_int_equal(p->domid, DOMID);
	assert_int_equal(p->index, HVM_PARAM_PAGING_RING_PFN);
	p->value = fake.ring;
	return answer(fake.param_err);
}

int xendevicemodel_map_mem_type_to_ioreq_server(xendevicemodel_handle *dmod, domid_t domid,
						uint16_t id, uint16_t type, uint32_t flags)
{
	(void)dmod;
	assert_int_equal(domid, DOMID);
	assert_int_equal(id, SERVER);
	assert_int_equal(type, HVMMEM_ioreq_server);
	assert_int_equal(flags, XEN_DMOP_IOREQ_MEM_ACCESS_WRITE);
	if (fake.map_err)
		return answer(fake.map_err);
	if (fake.has_server)
		return answer(EBUSY);
	fake.has_server = true;
	return answer(0);
}

int xendevicemodel_set_mem_type(xendevicemodel_handle *dmod, domid_t domid, hvmmem_type_t mem_type,
				uint64_t first_pfn, uint32_t nr)
{
	(void)dmod;
	assert_int_equal(domid, DOMID);
	assert_int_equal(first_pfn, GFN);
	assert_int_equal(nr, 1);
	if (fake.set_err)
		return answer(fake.set_err);
	if (mem_type == HVMMEM_ioreq_server && !fake.has_server)
		return answer(EINVAL);
	fake.type = mem_type;
	return answer(0);
}

static int scene_open(void **state)
{
	struct xen *x = test_calloc(1, sizeof(*x));

	x->domid = DOMID;
	x->server = SERVER;
	memset(&fake, 0, sizeof(fake));
	fake.ring = GFN;
	*state = x;
	return 0;
}

static int scene_close(void **state)
{
	/* Nothing of a hypercall is left. */
	assert_int_equal(fake.open, 0);
	test_free(*state);
	return 0;
}

/* What migration_block() logs, up to `size` bytes. */
static void block_and_read_log(struct xen *x, const char *why, char *text, size_t size)
{
	int fd = memfd_create("log", MFD_CLOEXEC), err = dup(2);
	ssize_t n;

	assert_true(fd >= 0 && err >= 0);
	dup2(fd, 2);
	migration_block(x, why);
	dup2(err, 2);
	n = pread(fd, text, size - 1, 0);
	text[n > 0 ? n : 0] = '\0';
	close(fd);
	close(err);
}

static void refused_while_there_is_a_reason(void **state)
{
	struct xen *x = *state;
	unsigned calls;

	migration_block(x, "one");
	assert_int_equal(fake.type, HVMMEM_ioreq_server);
	calls = fake.calls;
	migration_block(x, "two");
	migration_unblock(x);
	assert_int_equal(fake.calls, calls);
	assert_int_equal(fake.type, HVMMEM_ioreq_server);
	migration_unblock(x);
	assert_int_equal(fake.type, HVMMEM_ram_rw);
	/* Again, and Xen is not asked for the page any more: after hv_restrict() it could not be.
	 */
	fake.param_err = EPERM;
	migration_block(x, "three");
	assert_int_equal(fake.type, HVMMEM_ioreq_server);
	migration_unblock(x);
	assert_int_equal(fake.type, HVMMEM_ram_rw);
}

static void the_end_without_a_reason(void **state)
{
	struct xen *x = *state;

	migration_unblock(x);
	assert_int_equal(fake.calls, 0);
	migration_block(x, "one");
	assert_int_equal(fake.type, HVMMEM_ioreq_server);
}

/* The device model before was killed: page and server are as it left them. */
static void taken_over(void **state)
{
	struct xen *x = *state;
	char text[256];

	fake.has_server = true;
	fake.type = HVMMEM_ioreq_server;
	block_and_read_log(x, "one", text, sizeof(text));
	assert_string_equal(text, "");
	assert_int_equal(fake.type, HVMMEM_ioreq_server);
	migration_unblock(x);
	assert_int_equal(fake.type, HVMMEM_ram_rw);
}

static void said_when_xen_cannot(void **state)
{
	static const struct {
		int param, map, set;
		uint64_t ring;
		const char *says;
	} cases[] = {
		{EPERM, 0, 0, GFN, "not permitted"},
		{0, 0, 0, 0, "no page for the ring of memory paging"},
		{0, EOPNOTSUPP, 0, GFN, "without hardware-assisted paging"},
		{0, 0, EINVAL, GFN, "Invalid argument"},
	};
	struct xen *x = *state;

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[256], *end;

		memset(&fake, 0, sizeof(fake));
		memset(&x->migration, 0, sizeof(x->migration));
		fake.ring = cases[i].ring;
		fake.param_err = cases[i].param;
		fake.map_err = cases[i].map;
		fake.set_err = cases[i].set;
		block_and_read_log(x, "the reason", text, sizeof(text));
		assert_non_null(strstr(text, "must not be migrated live (the reason)"));
		assert_non_null(strstr(text, cases[i].says));
		end = strchr(text, '\n');
		assert_true(end && !end[1]);
		assert_int_equal(fake.type, HVMMEM_ram_rw);
		migration_unblock(x);
		assert_int_equal(fake.type, HVMMEM_ram_rw);
		assert_int_equal(fake.open, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(refused_while_there_is_a_reason, scene_open,
						scene_close),
		cmocka_unit_test_setup_teardown(the_end_without_a_reason, scene_open, scene_close),
		cmocka_unit_test_setup_teardown(taken_over, scene_open, scene_close),
		cmocka_unit_test_setup_teardown(said_when_xen_cannot, scene_open, scene_close),
	};

	log_init("unit_migration");
	log_set_level(LOG_WARN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
