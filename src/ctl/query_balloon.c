/* SPDX-License-Identifier: MIT */
/* query_balloon.c - the QMP commands for virtio-balloon-pci: query-balloon, balloon, and qom-get
 * and qom-set for the two properties of that device that people and libvirt use
 *
 * Control thread.
 */
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "ctl/commands.h"
#include "dev/dev.h"
#include "dev/virtio_balloon.h"
#include "machine/vm.h"

/* QEMU's names of the statistics, indexed by their tag (Virtio 1.3 §5.5.6.4). */
static const char *const stat_names[BALLOON_STATS] = {
	"stat-swap-in",	     "stat-swap-out",	  "stat-major-faults",	   "stat-minor-faults",
	"stat-free-memory",  "stat-total-memory", "stat-available-memory", "stat-disk-caches",
	"stat-htlb-pgalloc", "stat-htlb-pgfail",  "stat-oom-kills",	   "stat-alloc-stalls",
	"stat-async-scans",  "stat-direct-scans", "stat-async-reclaims",   "stat-direct-reclaims",
};

static struct dev *balloon_find(struct vm *vm)
{
	list_for_each (it, &vm->env.devices) {
		struct dev *d = list_entry(it, struct dev, link);

		if (d->class == &dev_virtio_balloon)
			return d;
	}
	return NULL;
}

static int balloon_set_missing(struct qmp_call *call)
{
	err_set(&call->err, 0, "No balloon device has been activated");
	call->err.class = ERR_DEVICE_NOT_ACTIVE;
	return -ENODEV;
}

int query_balloon(struct qmp_call *call)
{
	struct dev *d = balloon_find(call->vm);
	uint64_t ram = 0, held;

	if (!d)
		return balloon_set_missing(call);
	for (unsigned i = 0; i < call->vm->env.hv->ram_ranges; i++)
		ram += call->vm->env.hv->ram[i].size;
	held = virtio_balloon_held(d->fn);
	call->ret = json_pack("{s:I}", "actual", (json_int_t)(ram - MIN(held, ram)));
	return 0;
}

int qmp_balloon(struct qmp_call *call)
{
	if (!balloon_find(call->vm))
		return balloon_set_missing(call);
	return err_set(&call->err, -ENOTSUP,
		       "The memory of a Xen guest is set by its toolstack: use xl mem-set");
}

/* --- qom-get, qom-set --- */

/* The device at /machine/peripheral/ID or /machine/peripheral-anon/device[N], or the device whose
 * /virtio-backend that is; NULL when there is none. */
static struct dev *qom_path_resolve(struct vm *vm, const char *path)
{
	unsigned anonymous = 0;

	list_for_each (it, &vm->env.devices) {
		struct dev *d = list_entry(it, struct dev, link);
		char name[128];
		size_t len;

		if (dev_id(d))
			snprintf(name, sizeof(name), "/machine/peripheral/%s", dev_id(d));
		else
			snprintf(name, sizeof(name), "/machine/peripheral-anon/device[%u]",
				 anonymous++);
		len = strlen(name);
		if (!strncmp(path, name, len) &&
		    (!path[len] || (dev_vdev(d) && !strcmp(path + len, "/virtio-backend"))))
			return d;
	}
	return NULL;
}

static int qom_property_find(struct qmp_call *call, struct dev **out)
{
	const char *path = qmp_string(call, "path"), *property = qmp_string(call, "property");
	struct dev *d = qom_path_resolve(call->vm, path);

	*out = d;
	if (!d) {
		err_set(&call->err, 0, "Device '%s' not found", path);
		call->err.class = ERR_DEVICE_NOT_FOUND;
		return -ENODEV;
	}
	if (d->class != &dev_virtio_balloon ||
	    (strcmp(property, "guest-stats") && strcmp(property, "guest-stats-polling-interval")))
		return err_set(&call->err, -ENOENT, "Property '%s.%s' not found", d->class->name,
			       property);
	return 0;
}

static json_t *balloon_stats_describe(const struct balloon_stats *s)
{
	json_t *stats = json_object();

	for (unsigned i = 0; i < BALLOON_STATS; i++)
		json_object_set_new(stats, stat_names[i], json_integer(s->value[i]));
	return json_pack("{s:o, s:I}", "stats", stats, "last-update", (json_int_t)s->updated);
}

int qom_get(struct qmp_call *call)
{
	struct balloon_stats stats;
	struct dev *d;
	int rc = qom_property_find(call, &d);

	if (rc < 0)
		return rc;
	if (strcmp(qmp_string(call, "property"), "guest-stats")) {
		call->ret = json_integer(virtio_balloon_interval(d->fn));
	} else {
		virtio_balloon_stats(d->fn, &stats);
		call->ret = balloon_stats_describe(&stats);
	}
	return 0;
}

int qom_set(struct qmp_call *call)
{
	json_t *value = json_object_get(call->args, "value");
	struct dev *d;
	int rc = qom_property_find(call, &d);

	if (rc < 0)
		return rc;
	if (!strcmp(qmp_string(call, "property"), "guest-stats"))
		return err_set(&call->err, -EPERM, "Property '%s.guest-stats' is not writable",
			       d->class->name);
	if (!json_is_integer(value))
		return err_set(&call->err, -EINVAL,
			       "Invalid parameter type for '%s', expected: integer",
			       qmp_string(call, "property"));
	if (json_integer_value(value) < 0)
		return err_set(&call->err, -EINVAL, "timer value must be greater than zero");
	if (json_integer_value(value) > UINT32_MAX)
		return err_set(&call->err, -EINVAL, "timer value is too big");
	virtio_balloon_set_interval(d->fn, (uint32_t)json_integer_value(value));
	return 0;
}
