/* SPDX-License-Identifier: MIT */
/* disk_faults.c - preloaded into the device model: disks that fail or take as long as a test wants
 *
 * DISK_FAULTS names a folder. While it has a file `fail-flush`, the next fdatasync() takes it away
 * and fails with EIO, once, as the kernel does after its write-back failed. While it has a FIFO
 * `hold-read` (or `hold-flush`), a read (or an fdatasync()) of a disk opens it and goes on when the
 * writer at its other end has left.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *fault_path(char *buf, size_t size, const char *name)
{
	snprintf(buf, size, "%s/%s", getenv("DISK_FAULTS"), name);
	return buf;
}

static void hold(const char *name)
{
	char path[128], c;
	int fd = open(fault_path(path, sizeof(path), name), O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	while (read(fd, &c, 1) > 0)
		;
	close(fd);
}

int fdatasync(int fd)
{
	char path[128];

	hold("hold-flush");
	if (unlink(fault_path(path, sizeof(path), "fail-flush")) == 0) {
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_fdatasync, fd);
}

ssize_t preadv2(int fd, const struct iovec *iov, int n, off_t offset, int flags)
{
	hold("hold-read");
	return syscall(SYS_preadv2, fd, iov, n, offset, 0, flags);
}
