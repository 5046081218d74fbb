# SPDX-License-Identifier: MIT
"""The tables a stock guest needs for QEMU's xenpvh, which does not complete the guest's ACPI itself.

Linux takes an SSDT from an uncompressed archive in front of its initramfs. The bridge's windows are those
that tests/sys/lib.sh gives QEMU on its command line.
"""
import os
import shutil
import subprocess
import tempfile

from . import cpio
from .util import RigError

ASL = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'guest', 'peer.asl')


def acpi_cpio():
	"""The archive's bytes."""
	if not shutil.which('iasl'):
		raise RigError('the peer needs iasl (Debian: acpica-tools)')
	with tempfile.TemporaryDirectory() as d:
		r = subprocess.run(['iasl', '-p', d + '/ssdt', ASL], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
		if r.returncode:
			raise RigError('iasl: ' + r.stdout)
		aml = open(d + '/ssdt.aml', 'rb').read()
	a = cpio.Archive()
	for p in ('kernel', 'kernel/firmware', 'kernel/firmware/acpi'):
		a.add_dir(p)
	a.add_file('kernel/firmware/acpi/ssdt.aml', aml, 0o644)
	return a.finish()
