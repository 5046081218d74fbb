# SPDX-License-Identifier: MIT
"""The emulator of the rig: QEMU of one Debian release, whatever the host runs.

Until QEMU 8.1 a vCPU could translate code that another one was just writing, and keep the result. Linux patches its own
code by way of a breakpoint, so guests of several vCPUs died ("Oops: int3") or hung, more often on a busy host; Debian 12
has QEMU 7.2. That is why the emulator is no package of the host but a tree in the cache, started by its own loader.
"""
from . import images

RELEASE = 'trixie'
PACKAGES = ['qemu-system-x86']


def command():
	"""The words that start qemu-system-x86_64; what it needs is downloaded first if it is not there yet."""
	root = images.get_tree('emulator', RELEASE, PACKAGES)
	lib = root + '/usr/lib/x86_64-linux-gnu'
	return [root + '/lib64/ld-linux-x86-64.so.2', '--library-path', lib, root + '/usr/bin/qemu-system-x86_64',
		'-L', root + '/usr/share/seabios', '-L', root + '/usr/share/qemu']
