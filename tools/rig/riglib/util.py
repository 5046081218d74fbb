# SPDX-License-Identifier: MIT
"""Small things shared by the rig's parts: the cache's place, progress lines, errors."""
import contextlib
import os
import sys
import time

START = time.monotonic()


class RigError(Exception):
	"""Something the person at the terminal can act on; printed as one line."""


def cache_dir():
	"""Where images and downloaded packages are kept; never inside the source tree."""
	path = os.environ.get('XENPVH_CACHE')
	if not path:
		path = os.path.join(os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache'), 'xenpvh')
	os.makedirs(path, exist_ok=True)
	return os.path.abspath(path)


def say(text):
	"""One progress line, with the seconds since the start of the program."""
	sys.stdout.write('[%6.1f] %s\n' % (time.monotonic() - START, text))
	sys.stdout.flush()


@contextlib.contextmanager
def stage(name):
	"""Announces a stage and tells how long it took."""
	say(name + ' ...')
	begin = time.monotonic()
	yield
	say('%s: done in %.1f s' % (name, time.monotonic() - begin))
