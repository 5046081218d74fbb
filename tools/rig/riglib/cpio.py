# SPDX-License-Identifier: MIT
"""A cpio archive in the "newc" form, which is what Linux takes as an initramfs."""
import stat


class Archive:
	"""Collects entries (in the order added, parents first) and gives the archive's bytes."""

	def __init__(self):
		self._parts = []
		self._names = set()
		self._ino = 0

	def _entry(self, name, mode, data=b'', major=0, minor=0):
		if name in self._names:
			return
		self._names.add(name)
		self._ino += 1
		raw = name.encode() + b'\0'
		fields = (self._ino, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(raw), 0)
		head = b'070701' + b''.join(b'%08x' % f for f in fields) + raw
		self._parts.append(head + b'\0' * (-len(head) % 4) + data + b'\0' * (-len(data) % 4))

	def add_dir(self, name):
		if '/' in name:
			self.add_dir(name.rsplit('/', 1)[0])
		self._entry(name, stat.S_IFDIR | 0o755)

	def add_file(self, name, data, mode):
		if '/' in name:
			parent = name.rsplit('/', 1)[0]
			if parent not in ('lib64', 'lib', 'bin', 'sbin'):
				self.add_dir(parent)
		self._entry(name, stat.S_IFREG | mode, data)

	def add_link(self, name, target):
		self._entry(name, stat.S_IFLNK | 0o777, target.encode())

	def add_node(self, name, mode, major, minor):
		"""A character device."""
		self._entry(name, stat.S_IFCHR | mode, b'', major, minor)

	def finish(self):
		self._entry('TRAILER!!!', 0)
		data = b''.join(self._parts)
		return data + b'\0' * (-len(data) % 512)
