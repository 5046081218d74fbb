# SPDX-License-Identifier: MIT
"""Builds what the rig boots: the control domain's root, Xen, both kernels and the guest's initramfs.

Everything comes from Debian's packages, extracted but not configured (no maintainer script runs, so
no initramfs is generated and no service is started), and lands in the cache, in a directory named by
a hash of the recipe: a changed recipe is a new directory. A build is done in a temporary directory
and renamed at the end, so an interrupted one leaves nothing that could be taken for a good image.
"""
import gzip
import hashlib
import lzma
import os
import re
import shutil
import struct
import subprocess
import tempfile
import time

from . import cpio
from .util import RigError, cache_dir, stage

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Debian's own, as mmdebstrap knows it, unless another one is named.
MIRROR = os.environ.get('XENPVH_MIRROR')

RELEASES = {'trixie': '4.20', 'bookworm': '4.17'}

BASE_PACKAGES = [
	'base-files', 'dash', 'coreutils', 'sed', 'grep', 'mawk', 'tar', 'gzip', 'libc-bin',
	'linux-image-amd64', 'tiny-initramfs', 'kmod', 'busybox-static',
	'iproute2', 'iputils-ping', 'procps', 'util-linux', 'bsdutils', 'e2fsprogs', 'pciutils', 'ethtool',
	'iperf3', 'libjansson4', 'liburing2', 'libseccomp2', 'libslirp0', 'passt', 'socat', 'iptables',
]
PEER_PACKAGES = {'trixie': ['qemu-system-xen'], 'bookworm': []}
TOOL_PACKAGES = ['fio', 'iperf3', 'libc-bin', 'coreutils']
# For consoles, shared folders and sockets: programs, and what a small C compiler and its programs need.
FAMILY_PACKAGES = ['tcc', 'make', 'libc6-dev', 'socat', 'qemu-guest-agent', 'attr', 'libc-bin', 'coreutils', 'diffutils']
FAMILY_PROGRAMS = ['tcc', 'make', 'socat', 'qemu-ga', 'setfattr', 'getfattr', 'diff', 'cmp']
FAMILY_TREES = ['usr/include', 'usr/lib/x86_64-linux-gnu/tcc']
FAMILY_FILES = ['usr/lib/x86_64-linux-gnu/' + f for f in (
	'crt1.o', 'crti.o', 'crtn.o', 'libc.so', 'libc_nonshared.a', 'libc.so.6', 'libpthread.a', 'libm.so.6',
	'ld-linux-x86-64.so.2')]

# What neither domain uses, and what makes up most of the kernel package.
EXCLUDES = ['/usr/share/' + d + '/*' for d in (
	'doc', 'man', 'locale', 'info', 'lintian', 'bug', 'zoneinfo', 'i18n', 'iso-codes', 'xml',
	'qemu/*.fd', 'perl', 'bash-completion')] + [
	'/lib/modules/*/kernel/' + d + '/*' for d in (
		'sound', 'drivers/gpu', 'drivers/media', 'drivers/net/wireless', 'drivers/net/ethernet',
		'drivers/usb', 'drivers/scsi', 'drivers/infiniband', 'drivers/iio', 'drivers/staging',
		'drivers/hid', 'drivers/input', 'drivers/isdn', 'drivers/mtd', 'drivers/hwmon',
		'drivers/bluetooth', 'drivers/ata', 'drivers/platform', 'drivers/md', 'net/bluetooth')]
EXCLUDES += ['/usr' + e for e in EXCLUDES if e.startswith('/lib/')]

DOM0_MODULES = ['crc32c_generic', 'virtio_pci', 'virtio_blk', 'ext4']
GUEST_MODULES = ['crc32c_generic', 'virtio_pci', 'virtio_blk', 'virtio_net', 'virtio-rng', 'ext4']
# Not loaded at boot: `modprobe NAME` in the guest does it.
GUEST_EXTRA_MODULES = ['virtio_console', '9p', '9pnet_virtio', 'vmw_vsock_virtio_transport', 'virtio_balloon', 'pvpanic_pci']
GUEST_PROGRAMS = ['dash', 'lspci', 'setpci', 'mke2fs', 'e2fsck', 'resize2fs', 'ip', 'ping', 'ethtool',
	'blkdiscard', 'fallocate', 'mkfs.ext4', 'dd', 'stat', 'taskset', 'lsblk', 'flock']
TOOL_PROGRAMS = ['fio', 'iperf3']


def _run(argv, log, **kw):
	log.write(('+ ' + ' '.join(argv) + '\n').encode())
	log.flush()
	r = subprocess.run(argv, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, **kw)
	if r.returncode:
		raise RigError('%s failed with status %d, its output is in %s' % (argv[0], r.returncode, log.name))


def _recipe_key(*parts):
	h = hashlib.sha256()
	for p in parts:
		h.update(repr(p).encode())
	for f in ('dom0/init-initrd', 'riglib/images.py', 'riglib/cpio.py'):
		h.update(open(os.path.join(HERE, f), 'rb').read())
	return h.hexdigest()[:16]


def _bootstrap(release, packages, root, log):
	"""Extracts the packages and all they depend on; downloaded packages are kept for the next build."""
	debs = os.path.join(cache_dir(), 'debs', release)
	os.makedirs(debs, exist_ok=True)
	argv = ['mmdebstrap', '--variant=extract', '--mode=root', '--format=directory',
		'--skip=download/empty,cleanup/apt/cache,check/empty,check/chrootless',
		'--aptopt=Acquire::Languages "none"',
		'--setup-hook=mkdir -p "$1"/usr/bin "$1"/usr/sbin "$1"/usr/lib "$1"/usr/lib64',
		'--setup-hook=for d in bin sbin lib lib64; do ln -sfn usr/$d "$1"/$d; done',
		'--setup-hook=mkdir -p "$1"/var/cache/apt/archives; '
		'cp -l ' + debs + '/*.deb "$1"/var/cache/apt/archives/ || cp ' + debs
		+ '/*.deb "$1"/var/cache/apt/archives/ || true',
		'--include=' + ','.join(packages)]
	argv += ['--dpkgopt=path-exclude=' + e for e in EXCLUDES]
	argv += [release, root] + ([MIRROR] if MIRROR else [])
	_run(argv, log)
	archives = root + '/var/cache/apt/archives'
	for f in os.listdir(archives):
		if f.endswith('.deb'):
			os.replace(os.path.join(archives, f), os.path.join(debs, f))
	shutil.rmtree(root + '/var/cache/apt')
	shutil.rmtree(root + '/var/lib/apt/lists', ignore_errors=True)


def _kernel_version(root):
	found = sorted(os.listdir(root + '/usr/lib/modules'))
	if not found:
		raise RigError('no kernel modules in ' + root)
	return found[-1]


def _unpack_kernel(path, out):
	"""Writes the ELF image inside a bzImage, so that nothing has to be decompressed by emulated CPUs."""
	data = open(path, 'rb').read()
	setup = (data[0x1f1] or 4) + 1
	offset, length = struct.unpack_from('<II', data, 0x248)
	payload = data[setup * 512 + offset:setup * 512 + offset + length]
	if payload[:4] == b'\x28\xb5\x2f\xfd':
		r = subprocess.run(['zstd', '-dcq'], input=payload, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
		image = r.stdout
	elif payload[:6] == b'\xfd7zXZ\0':
		image = lzma.LZMADecompressor().decompress(payload)
	elif payload[:2] == b'\x1f\x8b':
		image = gzip.decompress(payload[:-4])
	else:
		raise RigError('%s: unknown kernel compression' % path)
	if image[:4] != b'\x7fELF':
		raise RigError('%s: no ELF image inside' % path)
	with open(out, 'wb') as f:
		f.write(image)


def _module_closure(root, version, names):
	"""Paths (under the root) of the modules and all they need, in the order to load them."""
	base = 'usr/lib/modules/' + version
	deps = {}
	for line in open(os.path.join(root, base, 'modules.dep')):
		target, _, needs = line.partition(':')
		deps[target] = needs.split()
	by_name = {re.sub(r'\.ko.*', '', os.path.basename(p)).replace('-', '_'): p for p in deps}
	softs = {}
	for line in open(os.path.join(root, base, 'modules.softdep')):
		w = line.split()
		if len(w) > 3 and w[0] == 'softdep' and 'pre:' in w:
			post = w.index('post:') if 'post:' in w else len(w)
			softs[w[1].replace('-', '_')] = w[w.index('pre:') + 1:post]
	out = []

	def add(path):
		if path in out:
			return
		name = re.sub(r'\.ko.*', '', os.path.basename(path)).replace('-', '_')
		for soft in softs.get(name, []):
			if soft.replace('-', '_') in by_name:
				add(by_name[soft.replace('-', '_')])
		for need in reversed(deps[path]):
			add(need)
		out.append(path)

	builtin = open(os.path.join(root, base, 'modules.builtin')).read()
	for n in names:
		n = n.replace('-', '_')
		if n in by_name:
			add(by_name[n])
		elif not re.search(r'/%s\.ko$' % n.replace('_', '[-_]'), builtin, re.M):
			raise RigError('kernel %s has no module %s' % (version, n))
	return [base + '/' + p for p in out]


def _module_bytes(root, path):
	data = open(os.path.join(root, path), 'rb').read()
	return lzma.decompress(data) if path.endswith('.xz') else data


def _find_program(root, name):
	for d in ('usr/bin', 'usr/sbin'):
		if os.path.exists(os.path.join(root, d, name)):
			return d + '/' + name
	raise RigError('%s is in no package of the recipe' % name)


def _library_closure(root, programs):
	"""What the loader would map for these programs, asked of the loader in the tree itself."""
	libs = set()
	for p in programs:
		r = subprocess.run(['chroot', root, '/lib64/ld-linux-x86-64.so.2', '--list', '/' + p],
			stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
		for line in r.stdout.splitlines():
			m = re.search(r'(?:=>\s*)?(/\S+) \(0x', line)
			if m:
				libs.add(m.group(1))
	return sorted(libs)


def _add_programs(archive, root, names):
	programs = [_find_program(root, n) for n in names]
	for p in programs:
		archive.add_file(p, open(os.path.join(root, p), 'rb').read(), 0o755)
	for lib in _library_closure(root, programs):
		real = os.path.join(root, lib.lstrip('/'))
		archive.add_file(lib.lstrip('/').replace('lib/', 'usr/lib/', 1) if lib.startswith('/lib/')
			else lib.lstrip('/'), open(real, 'rb').read(), 0o755)


def _skeleton(archive, root):
	for d in ('dev', 'proc', 'sys', 'run', 'tmp', 'mnt', 'root', 'etc', 'usr', 'usr/bin', 'usr/sbin', 'usr/lib',
		'usr/lib64', 'usr/lib/x86_64-linux-gnu', 'usr/share', 'usr/share/misc', 'modules'):
		archive.add_dir(d)
	for d in ('bin', 'sbin', 'lib', 'lib64'):
		archive.add_link(d, 'usr/' + d)
	busybox = open(os.path.join(root, 'usr/bin/busybox'), 'rb').read()
	archive.add_file('usr/bin/busybox', busybox, 0o755)


def _busybox_applets(root):
	r = subprocess.run(['chroot', root, '/usr/bin/busybox', '--list'], stdout=subprocess.PIPE, text=True)
	return r.stdout.split()


def _make_initrd(root, version, names, init, programs, out, extra=()):
	a = cpio.Archive()
	_skeleton(a, root)
	# busybox as a shell runs its own applets in place of programs of the same name, which is not what tests want.
	a.add_link('usr/bin/sh', 'dash' if programs else 'busybox')
	a.add_node('dev/console', 0o600, 5, 1)
	order = []
	for path in _module_closure(root, version, names):
		name = re.sub(r'\.[xg]z$', '', os.path.basename(path))
		a.add_file('modules/' + name, _module_bytes(root, path), 0o644)
		order.append(name)
	a.add_file('modules/order', '\n'.join(order).encode() + b'\n', 0o644)
	for name in extra:
		own = []
		for path in _module_closure(root, version, [name]):
			module = re.sub(r'\.[xg]z$', '', os.path.basename(path))
			if module not in order:
				a.add_file('modules/' + module, _module_bytes(root, path), 0o644)
				order.append(module)
			own.append(module)
		a.add_file('modules/%s.order' % name, '\n'.join(own).encode() + b'\n', 0o644)
	if init:
		a.add_file('init', open(init, 'rb').read(), 0o755)
	if programs:
		_add_programs(a, root, programs)
		have = set(programs)
		for applet in _busybox_applets(root):
			if applet not in have and applet not in ('sh', 'busybox'):
				a.add_link('usr/bin/' + applet, 'busybox')
		ids = os.path.join(root, 'usr/share/misc/pci.ids')
		if os.path.exists(ids):
			a.add_file('usr/share/misc/pci.ids', _short_pci_ids(ids), 0o644)
	with open(out, 'wb') as f:
		f.write(a.finish())


def _short_pci_ids(path):
	"""Only the vendors a guest can meet here, and the classes: the whole file is 1.4 MB."""
	keep, out = False, []
	for line in open(path, encoding='utf-8', errors='replace'):
		if not line.startswith(('\t', '#')):
			keep = line.startswith(('1af4', '1b36', 'C ', '\n'))
		if keep:
			out.append(line)
	return ''.join(out).encode()


def _finish_root(root):
	"""The few things maintainer scripts would have done and the control domain needs."""
	for d in ('dev', 'proc', 'sys', 'run', 'tmp', 'rig', 'scratch', 'root', 'var/log/xen', 'var/lib/xen', 'var/lib/xenstored'):
		os.makedirs(os.path.join(root, d), exist_ok=True)
	with open(root + '/etc/passwd', 'w') as f:
		f.write('root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n'
			'xenpvh:x:990:990:device models:/nonexistent:/usr/sbin/nologin\n')
	with open(root + '/etc/group', 'w') as f:
		f.write('root:x:0:\nnogroup:x:65534:\nxenpvh:x:990:\n')
	with open(root + '/etc/hostname', 'w') as f:
		f.write('dom0\n')
	for applet in _busybox_applets(root):
		if not any(os.path.lexists(os.path.join(root, d, applet)) for d in ('usr/bin', 'usr/sbin')):
			os.symlink('busybox', os.path.join(root, 'usr/bin', applet))


def _build(release, flavour, out, log):
	root = os.path.join(out, 'root')
	xen = RELEASES[release]
	packages = BASE_PACKAGES + ['xen-hypervisor-%s-amd64' % xen, 'xen-utils-' + xen]
	if flavour == 'peer':
		packages = packages + PEER_PACKAGES[release]
	with stage('packages of %s (Xen %s, %s)' % (release, xen, flavour)):
		_bootstrap(release, packages, root, log)
	with stage('kernels and initial file systems'):
		version = _kernel_version(root)
		_run(['chroot', root, '/usr/sbin/depmod', version], log)
		_run(['chroot', root, '/usr/sbin/ldconfig'], log)
		_unpack_kernel(root + '/boot/vmlinuz-' + version, out + '/vmlinux')
		name = [f for f in os.listdir(root + '/boot') if re.match(r'xen-.*\.gz$', f)][0]
		with gzip.open(root + '/boot/' + name) as i, open(out + '/xen.elf', 'wb') as o:
			shutil.copyfileobj(i, o)
		_make_initrd(root, version, DOM0_MODULES, HERE + '/dom0/init-initrd', [], out + '/dom0.cpio')
		_make_initrd(root, version, GUEST_MODULES, None, GUEST_PROGRAMS, out + '/guest.cpio',
			GUEST_EXTRA_MODULES)
	with stage('root file system'):
		_finish_root(root)
		shutil.rmtree(root + '/boot')
		os.makedirs(root + '/guest')
		shutil.copy(out + '/vmlinux', root + '/guest/vmlinux')
		shutil.move(out + '/guest.cpio', root + '/guest/base.cpio')
		with open(out + '/root.img', 'wb') as f:
			f.truncate(1 << 30)
		_run(['mke2fs', '-q', '-F', '-t', 'ext4', '-O', '^has_journal', '-E', 'lazy_itable_init=1,root_owner=0:0', '-d', root,
			out + '/root.img'], log)
		shutil.rmtree(root)


def _build_tools(release, out, log):
	root = os.path.join(out, 'root')
	with stage('test tools of %s (fio)' % release):
		_bootstrap(release, TOOL_PACKAGES, root, log)
		_run(['chroot', root, '/usr/sbin/ldconfig'], log)
		a = cpio.Archive()
		_add_programs(a, root, TOOL_PROGRAMS)
		with open(out + '/tools.cpio', 'wb') as f:
			f.write(a.finish())
		shutil.rmtree(root)


def _add_tree(archive, root, top):
	for d, _dirs, files in sorted(os.walk(os.path.join(root, top))):
		at = os.path.relpath(d, root)
		archive.add_dir(at)
		for f in sorted(files):
			full = os.path.join(d, f)
			if os.path.exists(full):
				archive.add_file(at + '/' + f, open(full, 'rb').read(), 0o644)


def _build_family(release, out, log):
	root = os.path.join(out, 'root')
	with stage('guest tools of %s for consoles, folders and sockets' % release):
		_bootstrap(release, FAMILY_PACKAGES, root, log)
		_run(['chroot', root, '/usr/sbin/ldconfig'], log)
		a = cpio.Archive()
		_add_programs(a, root, FAMILY_PROGRAMS)
		for top in FAMILY_TREES:
			_add_tree(a, root, top)
		for f in FAMILY_FILES:
			full = os.path.join(root, f)
			if os.path.exists(full):
				a.add_file(f, open(full, 'rb').read(), 0o644)
		with open(out + '/family.cpio', 'wb') as f:
			f.write(a.finish())
		shutil.rmtree(root)


def _cached(name, key, build):
	"""The directory of a finished build, made by build(dir, log) unless it is there already."""
	if os.geteuid() != 0:
		raise RigError('building images needs root (mmdebstrap --mode=root, chroot)')
	base = os.path.join(cache_dir(), 'images')
	final = os.path.join(base, '%s-%s' % (name, key))
	if os.path.isdir(final):
		os.utime(final)
		return final
	os.makedirs(base, exist_ok=True)
	tmp = tempfile.mkdtemp(prefix=name + '.', dir=base)
	os.chmod(tmp, 0o755)
	log_path = os.path.join(base, name + '.log')
	try:
		with open(log_path, 'wb') as log:
			build(tmp, log)
		os.rename(tmp, final)
	except BaseException:
		shutil.rmtree(tmp, ignore_errors=True)
		raise
	for old in os.listdir(base):
		path = os.path.join(base, old)
		# One of another tree may be in use; what nobody asked for in a week is not.
		if re.fullmatch(re.escape(name) + r'-[0-9a-f]{16}', old) and os.stat(path).st_mtime < time.time() - 7 * 86400:
			shutil.rmtree(path, ignore_errors=True)
	return final


def get(release, flavour):
	"""Directory with xen.elf, vmlinux, dom0.cpio and root.img of a release.

	The root has the guest's kernel and initramfs in /guest. Inits are not part of the images but of
	what a boot brings along, so that editing them costs no build.

	flavour: "base", or "peer", which adds QEMU's xenpvh (trixie only).
	"""
	if flavour == 'peer' and not PEER_PACKAGES[release]:
		raise RigError('%s has no package with QEMU\'s xenpvh machine' % release)
	key = _recipe_key(release, flavour)
	return _cached('%s-%s' % (release, flavour), key, lambda out, log: _build(release, flavour, out, log))


def get_tools(release):
	"""Path of an initramfs archive with the test tools too big for the guest's own."""
	key = _recipe_key(release, TOOL_PACKAGES, TOOL_PROGRAMS)
	return _cached(release + '-tools', key, lambda out, log: _build_tools(release, out, log)) + '/tools.cpio'


def get_tree(name, release, packages):
	"""Directory with the files of these packages and of all they depend on."""
	def build(out, log):
		with stage('packages of %s (%s)' % (release, name)):
			_bootstrap(release, packages, out + '/root', log)

	return _cached('%s-%s' % (release, name), _recipe_key(release, packages), build) + '/root'


def get_family(release):
	"""Path of an initramfs archive with a C compiler, socat, the guest agent and the like."""
	key = _recipe_key(release, FAMILY_PACKAGES, FAMILY_PROGRAMS)
	return _cached(release + '-family', key, lambda out, log: _build_family(release, out, log)) + '/family.cpio'
