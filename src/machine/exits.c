/* SPDX-License-Identifier: MIT */
/* exits.c - see exits.h */
#include "machine/exits.h"

#include "base/util.h"
#include "machine/vm.h"
#include "pci/pci.h"

static uint64_t exit_read(void *ctx, uint64_t addr, unsigned size)
{
	struct vm *vm = ctx;

	return pci_bus_read(vm->env.bus, addr, size);
}

static void exit_write(void *ctx, uint64_t addr, uint64_t data, unsigned size)
{
	struct vm *vm = ctx;

	pci_bus_write(vm->env.bus, addr, data, size);
}

static void domain_event(void *ctx, enum hv_event event)
{
	struct vm *vm = ctx;

	/* A suspended domain sends no event: it may be resumed (xl save -c, a failed migration). */
	if (event == HV_GONE)
		vm_quit(vm, "guest-shutdown");
}

int exits_serve(struct vm *vm, struct err *e)
{
	const struct hv_range *const windows[] = {&vm->layout.ecam, &vm->layout.mmio,
						  &vm->layout.mmio_high};

	for (unsigned i = 0; i < ARRAY_SIZE(windows); i++) {
		int rc = windows[i]->size
				 ? hv_claim(vm->env.hv, windows[i]->base, windows[i]->size, e)
				 : 0;

		if (rc < 0)
			return rc;
	}
	vm->client = (struct hv_client){exit_read, exit_write, domain_event, vm};
	return hv_serve(vm->env.hv, vm->env.io, vm->control, &vm->client, e);
}
