# SPDX-License-Identifier: MIT
"""One boot of Xen and its control domain under QEMU, and the line to the agent inside.

QEMU is the only process this starts, it is killed by its pid when the Boot is closed, whatever
happened before. All waiting is on the agent's socket with a deadline.
"""
import os
import selectors
import shutil
import socket
import subprocess
import tarfile
import termios
import tempfile
import time
import tty

from . import emulator
from .util import RigError, say

SCRATCH_SIZE = 8 << 30


class Boot:
	def __init__(self, release, images, payload, results, memory, cpus=3, verbose=False):
		"""release: of Debian; images: a directory of images.get(); payload: a tar for /rig; memory: MiB of the outer machine."""
		self.results = results
		self.verbose = verbose
		self._dir = tempfile.mkdtemp(prefix='xenpvh-rig.')
		self._buf = b''
		self._proc = None
		try:
			self._start(emulator.command(release), images, payload, memory, cpus)
		except BaseException:
			self.close()
			raise

	def _start(self, command, images, payload, memory, cpus):
		d = self._dir
		scratch = d + '/scratch.img'
		with open(scratch, 'wb') as f:
			f.truncate(SCRATCH_SIZE)
		subprocess.run(['mke2fs', '-q', '-F', '-t', 'ext4', '-E', 'lazy_itable_init=1,lazy_journal_init=1',
			scratch], check=True)
		ctl = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
		ctl.bind(d + '/ctl')
		ctl.listen(1)
		con = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
		con.bind(d + '/tty')
		con.listen(1)
		argv = command + ['-accel', 'tcg,thread=multi,tb-size=512', '-machine', 'q35',
			'-cpu', 'qemu64,+svm,+npt,+rdrand,+ssse3,+sse4.1,+sse4.2,+popcnt',
			'-smp', str(cpus), '-m', str(memory), '-nodefaults', '-display', 'none', '-no-reboot',
			'-serial', 'file:' + self.results + '/xen-console.txt',
			'-kernel', images + '/xen.elf',
			'-append', 'dom0_mem=1536M,max:1536M dom0_max_vcpus=1 dom0_vcpus_pin console=com1 com1=115200,8n1 loglvl=info '
			'guest_loglvl=info bootscrub=0 sched=credit',
			'-initrd', '%s/vmlinux console=hvc0 loglevel=5 mitigations=off nokaslr rdinit=/init,%s/dom0.cpio'
			% (images, images)]
		for i, (path, opts) in enumerate(((images + '/root.img', 'snapshot=on'), (payload, 'readonly=on'),
			(scratch, 'discard=unmap'))):
			argv += ['-drive', 'if=none,id=d%d,file=%s,format=raw,cache=unsafe,%s' % (i, path, opts),
				'-device', 'virtio-blk-pci,drive=d%d' % i]
		argv += ['-device', 'virtio-serial-pci',
			'-chardev', 'socket,id=ctl,path=%s/ctl' % d, '-device', 'virtserialport,chardev=ctl,name=rig.ctl',
			'-chardev', 'file,id=out,path=%s/out.tar' % d, '-device', 'virtserialport,chardev=out,name=rig.out',
			'-chardev', 'socket,id=tty,path=%s/tty' % d, '-device', 'virtconsole,chardev=tty']
		env = dict(os.environ, TMPDIR='/var/tmp')
		self._log = open(self.results + '/qemu.log', 'wb')
		self._proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, env=env,
			start_new_session=True)
		ctl.settimeout(30)
		con.settimeout(30)
		try:
			self._ctl, _ = ctl.accept()
			self._tty, _ = con.accept()
		except socket.timeout:
			raise RigError('QEMU did not start, see %s/qemu.log' % self.results) from None
		ctl.close()
		con.close()

	def line(self, deadline):
		"""The agent's next line, or None when the deadline (time.monotonic()) has passed."""
		while b'\n' not in self._buf:
			left = deadline - time.monotonic()
			if left <= 0:
				return None
			self._ctl.settimeout(left)
			try:
				data = self._ctl.recv(65536)
			except socket.timeout:
				return None
			if not data:
				raise RigError('the machine went away (status %s), see %s' % (self._proc.poll(), self.results))
			self._buf += data
		raw, self._buf = self._buf.split(b'\n', 1)
		return raw.decode('utf-8', 'replace').rstrip('\r')

	def send(self, text):
		self._ctl.sendall(text.encode() + b'\n')

	def wait_ready(self, seconds):
		"""Waits for the agent; returns (Xen's version, the kernel's version)."""
		deadline = time.monotonic() + seconds
		while True:
			text = self.line(deadline)
			if text is None:
				raise RigError('the control domain was not up after %d s, see %s/xen-console.txt' % (seconds, self.results))
			if text.startswith('@@ready '):
				return text.split()[1:3]

	def collect(self, seconds=60):
		"""Fetches the control domain's logs into the result directory."""
		try:
			self.send('collect')
		except OSError:
			return
		deadline = time.monotonic() + seconds
		while True:
			try:
				text = self.line(deadline)
			except RigError:
				return
			if text is None:
				say('logs could not be fetched in %d s' % seconds)
				return
			if text == '@@collected':
				break
		try:
			with tarfile.open(self._dir + '/out.tar') as t:
				t.extractall(self.results)
		except (tarfile.TarError, OSError) as e:
			say('logs are damaged: %s' % e)

	def interact(self, command, until=None):
		"""Joins the person's terminal to a terminal in dom0 that runs the command; ends with the command.

		Ctrl-] twice within a second also ends it.
		"""
		self.send('shell ' + command)
		saved = termios.tcgetattr(0) if os.isatty(0) else None
		sel = selectors.DefaultSelector()
		sel.register(self._tty, selectors.EVENT_READ)
		sel.register(self._ctl, selectors.EVENT_READ)
		sel.register(0, selectors.EVENT_READ)
		self._tty.setblocking(True)
		last = 0.0
		try:
			if saved:
				tty.setraw(0)
			while True:
				for key, _ in sel.select():
					if key.fileobj is self._tty:
						data = self._tty.recv(65536)
						if not data:
							return
						os.write(1, data)
					elif key.fileobj is self._ctl:
						text = self.line(time.monotonic() + 5)
						if text is not None and text.startswith('@@done shell'):
							return
					else:
						data = os.read(0, 4096)
						if not data:
							sel.unregister(0)
							continue
						if data == b'\x1d':
							if time.monotonic() - last < 1:
								return
							last = time.monotonic()
						self._tty.sendall(data)
		finally:
			if saved:
				termios.tcsetattr(0, termios.TCSADRAIN, saved)

	def close(self):
		if self._proc and self._proc.poll() is None:
			self._proc.terminate()
			try:
				self._proc.wait(10)
			except subprocess.TimeoutExpired:
				self._proc.kill()
				self._proc.wait()
		shutil.rmtree(self._dir, ignore_errors=True)
