/* SPDX-License-Identifier: MIT */
/* trace.h - what the device model does, one line per event, switched on by name
 *
 * Each event is one row below: its name and what its line tells. `-trace NAME` and QMP's
 * trace-event-set-state switch events on and off while the guest runs; names may have `*`. A line
 * is "trace: NAME: DEVICE: ...". Lines go to the log whatever its level, and are not limited: who
 * switches an event on wants to see it.
 *
 * None of these events is on the data path. Where an event is off, it costs one load and one
 * branch that is not taken; its arguments are not computed.
 *
 * Requests of disks and frames of nets have probes for bpftrace and perf instead (base/probe.h).
 */
#ifndef BASE_TRACE_H
#define BASE_TRACE_H

#include <stdatomic.h>
#include <stdbool.h>

/* The table: name, what happened. */
#define TRACE_EVENTS(EVENT)                                                    \
	EVENT(device_plug, "a device is on its bus")                           \
	EVENT(device_unplug, "a device leaves its bus")                        \
	EVENT(device_reset, "the driver resets a device; its queues are idle") \
	EVENT(device_features, "the driver accepted these features")           \
	EVENT(device_status, "the driver writes the status register")          \
	EVENT(device_break, "a device breaks and needs a reset")               \
	EVENT(queue_enable, "a queue gets its ring")                           \
	EVENT(queue_stop, "a queue was stopped by a reset of its own")         \
	EVENT(config_write, "the guest writes PCI configuration space")        \
	EVENT(bar_move, "a BAR is decoded at an address")                      \
	EVENT(qmp_in, "a command of a monitor's client")                       \
	EVENT(qmp_out, "what is sent to a monitor's client")                   \
	EVENT(acpi_complete, "the guest's ACPI tables are completed")          \
	EVENT(memory_map, "guest memory is mapped")                            \
	EVENT(memory_invalidate, "the guest's memory map has changed")

enum trace_event {
#define TRACE_ENUM(name, help) TRACE_##name,
	TRACE_EVENTS(TRACE_ENUM)
#undef TRACE_ENUM
		TRACE_EVENT_COUNT
};

/* Bit n: event n is on. Part of the log's state (log.h): changed by trace_set() only. */
extern atomic_uint trace_mask;

/* Any thread. Is the event on? */
static inline bool trace_on(enum trace_event event)
{
	return __builtin_expect(
		atomic_load_explicit(&trace_mask, memory_order_relaxed) >> event & 1, 0);
}

/* Write a line; `who` is a device's id or NULL. Use trace(). */
void trace_write(enum trace_event event, const char *who, const char *fmt, ...)
	__attribute__((format(printf, 3, 4), cold));

/* trace(queue_enable, vdev_name(v), "queue %u", n): arguments are computed only if it is on. */
#define trace(event, ...)                                        \
	do {                                                     \
		if (trace_on(TRACE_##event))                     \
			trace_write(TRACE_##event, __VA_ARGS__); \
	} while (0)

/* Control thread, or before other threads exist. Switch the events whose names match `pattern`
 * (`*` stands for any text). Returns how many match. */
unsigned trace_set(const char *pattern, bool on);
/* Event number `i` from 0: its name and what it tells; NULL at the end. */
const char *trace_name(unsigned i, const char **help);

#endif
