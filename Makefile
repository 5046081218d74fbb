# SPDX-License-Identifier: MIT
# The two commands for people are `make demo` and `make check`; the rest is for those who work on it. Meson builds
# (build/: as shipped, build-asan/: with ASan and UBSan); this file only knows the order of things.

ARGS =
RIG_SCENARIOS = tools/rig/ci

.PHONY: all demo check check-fast bench lint format install clean help

help:
	@echo 'make demo          boot a real Xen and a PVH guest on xenpvh, in an emulator  (ARGS=--exit: and leave)'
	@echo 'make check         all tests: unit, device, system (the nested rig)'
	@echo 'make check-fast    all but the rig'
	@echo 'make all           build/xenpvh'
	@echo 'make install       (DESTDIR=, as meson install)'
	@echo 'make bench         xenpvh and QEMU side by side: bench/results  (ARGS=--help)'
	@echo 'make lint          layout, clang-tidy, layers'
	@echo 'make format        have clang-format lay out everything'

all: build/build.ninja
	@ninja -C build --quiet

build/build.ninja:
	@tools/deps build test
	@meson setup build >/dev/null

build-asan/build.ninja:
	@tools/deps build test
	@meson setup build-asan -Db_sanitize=address,undefined -Db_lundef=false >/dev/null

demo:
	@tools/deps build rig
	@$(MAKE) --no-print-directory all
	@tools/demo $(ARGS)

check-fast: all build-asan/build.ninja
	@ninja -C build-asan --quiet
	@tests/run build build-asan

check: all build-asan/build.ninja
	@tools/deps rig
	@ninja -C build-asan --quiet
	@tests/run build build-asan -- $(RIG_SCENARIOS)

bench: all
	@tools/deps bench
	@ninja -C build --quiet bench/dmbench
	@bench/run $(ARGS)

lint: build/build.ninja
	@tools/deps lint
	@tools/lint

format:
	@tools/deps lint
	@git ls-files '*.c' '*.h' | xargs clang-format -i

install: all
	@meson install -C build

clean:
	rm -rf build build-asan
