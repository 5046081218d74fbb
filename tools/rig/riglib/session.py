# SPDX-License-Identifier: MIT
"""What people ask of the rig: run scenarios and judge them, or open a shell.

A scenario is a shell script that runs in the control domain. Comments in its head tell the rig what it
needs: "# limit: SECONDS" (600), "# memory: MIB" of the emulated machine (4096), "# needs: WORD..."
("tools" for fio, "family" for a C compiler, socat and the guest agent, "builder" for the domain builder, "startwatch" for bench/startwatch,
"vsockpeer" for tests/sys/vsockpeer.c). Its verdicts are lines "ok - TEXT", "not ok - TEXT",
"skip - TEXT"; lines that start with "#" are shown; it must end with status 0.
"""
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time

from . import cpio, images, peer
from .boot import Boot
from .util import RigError, say, stage

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TOP = os.path.dirname(os.path.dirname(HERE))
BOOT_LIMIT = 180


class Scenario:
	def __init__(self, path):
		if not os.path.isfile(path):
			raise RigError('%s: no such scenario' % path)
		self.path = path
		self.name = os.path.splitext(os.path.basename(path))[0]
		head = open(path).read(4096)
		self.limit = int(self._tag(head, 'limit', '600'))
		self.memory = int(self._tag(head, 'memory', '4096'))
		self.needs = self._tag(head, 'needs', '').split()

	@staticmethod
	def _tag(head, tag, default):
		m = re.search(r'^# %s: *(.*)$' % tag, head, re.M)
		return m.group(1).strip() if m else default


def _raise_interrupt(_sig, _frame):
	raise KeyboardInterrupt


def _results_dir(args):
	path = os.path.abspath(args.results or os.path.join(TOP, 'build', 'rig', args.release))
	shutil.rmtree(path, ignore_errors=True)
	os.makedirs(path)
	return path


def _build_lowmap(release, results):
	"""tests/sys/builder needs the libxenguest headers of the release that runs; None where they are not at hand."""
	header = '/usr/include/xenguest.h'
	r = subprocess.run(['pkg-config', '--modversion', 'xenguest'], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
	if not os.path.exists(header) or not r.stdout.startswith(images.RELEASES[release]):
		return None
	out = os.path.join(results, 'lowmap.so')
	subprocess.run(['cc', '-O2', '-Wall', '-Wextra', '-D_GNU_SOURCE', '-shared', '-fPIC', '-o', out,
		os.path.join(TOP, 'tests/sys/builder/lowmap.c')], check=True)
	return out


def _build_startwatch(results):
	out = os.path.join(results, 'startwatch')
	subprocess.run(['cc', '-O2', '-Wall', '-Wextra', '-D_GNU_SOURCE', '-o', out,
		os.path.join(TOP, 'bench/startwatch.c'), '-lxenstore'], check=True)
	return out


def _build_vsockpeer(results):
	"""Static: the guest runs it, too."""
	out = os.path.join(results, 'vsockpeer')
	subprocess.run(['cc', '-O2', '-Wall', '-Wextra', '-D_GNU_SOURCE', '-static', '-o', out,
		os.path.join(TOP, 'tests/sys/vsockpeer.c')], check=True)
	return out


def _add_bytes(tar, name, data, mode=0o644):
	info = tarfile.TarInfo(name)
	info.size = len(data)
	info.mode = mode
	tar.addfile(info, io.BytesIO(data))


def make_payload(path, args, results, needs=(), env=()):
	"""Writes the tar that becomes /rig in the control domain."""
	variables = {'RELEASE': args.release, 'DM_KIND': 'qemu' if args.dm == 'qemu' else 'xenpvh'}
	with tarfile.open(path, 'w', format=tarfile.USTAR_FORMAT) as tar:
		for f in ('init-rig', 'agent'):
			_add_bytes(tar, 'dom0/' + f, open(os.path.join(HERE, 'dom0', f), 'rb').read(), 0o755)
		a = cpio.Archive()
		a.add_file('init', open(os.path.join(HERE, 'guest', 'init'), 'rb').read(), 0o755)
		helper = open(os.path.join(HERE, 'guest', 'helper'), 'rb').read()
		for name in ('poweroff', 'reboot', 'shutdown', 'modprobe'):
			a.add_file('usr/sbin/' + name, helper, 0o755)
		_add_bytes(tar, 'guest/init.cpio', a.finish())
		if args.dm != 'qemu':
			if not os.path.isfile(args.binary):
				raise RigError('%s is not there: build it first (make)' % os.path.relpath(args.binary))
			_add_bytes(tar, 'xenpvh', open(args.binary, 'rb').read(), 0o755)
		if args.dm != 'xenpvh':
			_add_bytes(tar, 'guest/acpi.cpio', peer.acpi_cpio())
		if 'tools' in needs:
			tar.add(images.get_tools(args.release), 'guest/tools.cpio')
		if 'family' in needs:
			tar.add(images.get_family(args.release), 'guest/family.cpio')
		if 'builder' in needs:
			built = _build_lowmap(args.release, results)
			if built:
				_add_bytes(tar, 'lowmap.so', open(built, 'rb').read(), 0o755)
		if 'startwatch' in needs:
			_add_bytes(tar, 'startwatch', open(_build_startwatch(results), 'rb').read(), 0o755)
		if 'vsockpeer' in needs:
			_add_bytes(tar, 'vsockpeer', open(_build_vsockpeer(results), 'rb').read(), 0o755)
		for d in ('tests/sys', 'bench'):
			full = os.path.join(TOP, d)
			for f in sorted(os.listdir(full)) if os.path.isdir(full) else ():
				if os.path.isfile(os.path.join(full, f)):
					_add_bytes(tar, '%s/%s' % (d, f), open(os.path.join(full, f), 'rb').read(), 0o755)
		text = ''.join('%s=%s\n' % kv for kv in variables.items()) + ''.join(e + '\n' for e in env)
		_add_bytes(tar, 'env', text.encode())
		tar.fileobj.write(b'\0' * 10240)


def _open(args, results, memory, needs=(), env=()):
	signal.signal(signal.SIGTERM, _raise_interrupt)
	signal.signal(signal.SIGHUP, _raise_interrupt)
	found = images.get(args.release, 'base' if args.dm == 'xenpvh' else 'peer')
	payload = os.path.join(results, 'payload.tar')
	make_payload(payload, args, results, needs, env)
	boot = Boot(args.release, found, payload, results, args.memory or memory)
	try:
		with stage('boot of Xen and the control domain (%d MiB)' % (args.memory or memory)):
			xen, linux = boot.wait_ready(BOOT_LIMIT)
		say('Xen %s, Linux %s' % (xen, linux))
	except BaseException:
		boot.close()
		raise
	finally:
		os.unlink(payload)
	return boot


class Tally:
	def __init__(self):
		self.passed = self.failed = self.skipped = 0

	def take(self, text):
		"""Counts a line of a scenario; true if it is worth showing."""
		if text.startswith('ok - '):
			self.passed += 1
		elif text.startswith('not ok - '):
			self.failed += 1
		elif text.startswith('skip - '):
			self.skipped += 1
		elif not text.startswith('#'):
			return False
		return True

	def count(self):
		return self.passed + self.failed + self.skipped


def _run_one(boot, sc, tally):
	say('scenario %s (limit %d s)' % (sc.name, sc.limit))
	begin = time.monotonic()
	deadline = begin + sc.limit
	before = tally.count()
	boot.send('run %s %s' % (sc.name, os.path.relpath(os.path.realpath(sc.path), os.path.join(TOP, 'tests/sys'))))
	while True:
		text = boot.line(deadline)
		if text is None:
			tally.take('not ok - time')
			say('  not ok - %s: no end after %d s' % (sc.name, sc.limit))
			boot.send('kill')
			boot.line(time.monotonic() + 10)
			return
		if text.startswith('@@done ' + sc.name + ' '):
			status = int(text.split()[2])
			break
		if tally.take(text):
			say('  ' + text)
	if status or tally.count() == before:
		tally.take('not ok - end')
		say('  not ok - %s ended with status %d' % (sc.name, status))
	say('scenario %s: %.1f s' % (sc.name, time.monotonic() - begin))


def run(args):
	"""Runs the scenarios in one boot; the process's exit status."""
	scenarios = [Scenario(p) for p in args.scenario]
	results = _results_dir(args)
	needs = {n for s in scenarios for n in s.needs}
	tally = Tally()
	boot = _open(args, results, max(s.memory for s in scenarios), needs, args.env)
	try:
		for sc in scenarios:
			_run_one(boot, sc, tally)
		if tally.failed and args.keep and sys.stdin.isatty():
			say('a scenario failed; a shell in the control domain, "exit" ends')
			boot.interact('sh -l')
		boot.collect()
	except KeyboardInterrupt:
		boot.collect(20)
		raise
	except RigError as e:
		tally.failed += 1
		say('not ok - %s' % e)
	finally:
		boot.close()
	say('logs: ' + results)
	print('%d passed, %d failed, %d skipped' % (tally.passed, tally.failed, tally.skipped))
	return 1 if tally.failed else 0


def shell(args):
	results = _results_dir(args)
	boot = _open(args, results, 4096, {'tools'} if args.dm == 'xenpvh' else ())
	try:
		say('xenpvh is /rig/xenpvh, scenarios are in /rig/tests/sys; "exit" or Ctrl-] twice ends')
		boot.interact('sh -l')
		boot.collect()
	finally:
		boot.close()
	return 0


def demo(args):
	"""The demo: one boot, the scenario demo.sh, then (unless args.exit) the guest's console on this terminal."""
	results = _results_dir(args)
	tally = Tally()
	boot = _open(args, results, args.memory, (), ['KEEP_GUEST=%d' % (not args.exit)])
	try:
		_run_one(boot, Scenario(os.path.join(TOP, 'tests', 'sys', 'demo.sh')), tally)
		if not args.exit and not tally.failed:
			say('the guest\'s console; Ctrl-] twice leaves and ends the demo')
			boot.interact('xl console demo')
		if tally.failed:
			boot.collect()
	finally:
		boot.close()
	if tally.failed:
		say('failed; logs: ' + results)
		return 1
	say('done')
	return 0
