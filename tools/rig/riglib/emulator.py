# SPDX-License-Identifier: MIT
"""The emulator of the rig: QEMU of the Debian release that runs in it, whatever the host has.

Until QEMU 8.1 a vCPU could translate code that another one was just writing, and keep the result. Linux patches its own
code by way of a breakpoint, so guests of several vCPUs died ("Oops: int3") or hung, more often on a busy host; Debian 12
has QEMU 7.2. That is why the emulator is no package of the host but a tree in the cache, started by its own loader. Under
Debian 13's QEMU 10.0 guests of Debian 12's Xen 4.17 get no console, so that one keeps its own, and its guests have one vCPU
(guest_config in tests/sys/lib.sh).

No QEMU so far forgets the number of an interrupt that VMRUN injected: what makes the emulator's loop look up before the
guest's next exit (cpu_exit()) delivers it a second time, on top of itself. A guest was seen to die of that, once. The way it can
come about is a thread that raises an interrupt, wakes the sleeping vCPU and is preempted by it before it has said the
rest; so the emulator's threads are such as do not preempt each other when they wake (SCHED_BATCH).
"""
from . import images

PACKAGES = ['qemu-system-x86']


def command(release):
	"""The words that start qemu-system-x86_64; what it needs is downloaded first if it is not there yet."""
	root = images.get_tree('emulator', release, PACKAGES)
	lib = root + '/usr/lib/x86_64-linux-gnu'
	# Each is replaced by what it starts, so the process is the emulator's own.
	return ['chrt', '--batch', '0', 'env', 'QEMU_MODULE_DIR=' + lib + '/qemu', root + '/lib64/ld-linux-x86-64.so.2',
		'--library-path', lib, root + '/usr/bin/qemu-system-x86_64', '-L', root + '/usr/share/seabios', '-L', root + '/usr/share/qemu']
