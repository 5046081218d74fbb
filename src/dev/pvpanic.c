/* SPDX-License-Identifier: MIT */
/* pvpanic.c - pvpanic-pci: the guest's kernel says that it has panicked (QEMU's docs/specs/pvpanic)
 *
 * BAR0 has one byte. A read returns the events that the guest may report; a write reports some of
 * them. Each becomes an event of QMP and a line in the log. The device stops nothing: what happens
 * to the domain is decided by on_crash= in xl.cfg.
 *
 * Everything runs on the exit loop. Each event is reported at most once a second, so that a guest
 * cannot flood the clients of the monitors.
 */
#include "base/log.h"
#include "base/util.h"
#include "dev/dev.h"
#include "dev/env.h"
#include "pci/ids.h"

#define BAR_SIZE 16
#define EVENTS	 3
#define QUIET_NS 1000000000ULL

struct pvpanic {
	struct pci_fn fn;
	struct dev_env *env;
	uint64_t reported[EVENTS]; /* when each was reported last, ns; 0: never */

	/* options */
	uint64_t events;
};

/* By bit of the register. */
static const struct {
	const char *event; /* QMP's name of it */
	bool has_action;   /* its "action" says that the guest runs on */
	const char *text;
} kinds[EVENTS] = {
	{"GUEST_PANICKED", true, "the guest's kernel has panicked"},
	{"GUEST_CRASHLOADED", true, "the guest's kernel has crashed and starts its crash kernel"},
	{"GUEST_PVSHUTDOWN", false, "the guest's kernel shuts down"},
};

static const struct opt pvpanic_options[] = {
	{.name = "events",
	 .type = OPT_UINT,
	 .at = offsetof(struct pvpanic, events),
	 .def = "7",
	 .min = 0,
	 .max = 7,
	 .help = "what the guest may report: 1 panic, 2 crash kernel, 4 shutdown, added up"},
	OPT_END,
};

static uint64_t pvpanic_read(struct pci_fn *fn, uint64_t off, unsigned size)
{
	return off ? 0 : container_of(fn, struct pvpanic, fn)->events;
}

static void pvpanic_write(struct pci_fn *fn, uint64_t off, uint64_t data, unsigned size)
{
	struct pvpanic *p = container_of(fn, struct pvpanic, fn);
	uint64_t now = loop_now(p->env->io);

	for (unsigned i = 0; i < EVENTS && !off; i++) {
		if (!(data & p->events & 1U << i) ||
		    (p->reported[i] && now - p->reported[i] < QUIET_NS))
			continue;
		p->reported[i] = now;
		log_guest(&fn->rate, fn->id ? fn->id : fn->kind, "%s", kinds[i].text);
		events_post(p->env->events, kinds[i].event,
			    kinds[i].has_action ? json_pack("{s:s}", "action", "run") : NULL);
	}
}

static const struct pci_bar_ops pvpanic_bar = {pvpanic_read, pvpanic_write};

static int pvpanic_realize(struct pci_fn *fn, struct dev_env *env, struct err *e)
{
	static const struct pci_ident ident = {
		.vendor = PCI_VENDOR_ID_REDHAT,
		.device = 0x0011,
		.subvendor = PCI_SUBVENDOR_ID_REDHAT_QUMRANET,
		.subdevice = PCI_SUBDEVICE_ID_QEMU,
		.class = 0x088000,
		.revision = 1,
	};

	container_of(fn, struct pvpanic, fn)->env = env;
	pci_fn_init(fn, "pvpanic-pci", &ident);
	pci_bar_add(fn, 0, BAR_SIZE, false, false, &pvpanic_bar);
	return 0;
}

const struct dev_class dev_pvpanic = {
	.name = "pvpanic-pci",
	.desc = "lets the guest's kernel report that it has panicked",
	.size = sizeof(struct pvpanic),
	.options = pvpanic_options,
	.realize = pvpanic_realize,
};
