/* SPDX-License-Identifier: MIT */
/* tapif.c - see tapif.h
 *
 * The interface is changed by ioctls on a socket: they work in every network namespace and need
 * neither netlink nor a helper process.
 */
#include "net/tapif.h"

#include <errno.h>
#include <linux/sockios.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"

extern char **environ;

/* Returns a socket for the ioctls, which the caller closes, or -errno. */
static int socket_open_control(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

/* Add the interface to a bridge or remove it, as `request` says. Returns 0 or -errno. */
static int bridge_change_port(int fd, const char *br, const char *name, unsigned long request)
{
	struct ifreq ifr = {0};

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", br);
	ifr.ifr_ifindex = if_nametoindex(name);
	return !ifr.ifr_ifindex || ioctl(fd, request, &ifr) < 0 ? -errno : 0;
}

/* Set or clear IFF_UP. `*changed` tells whether the flag had the other value. Returns 0 or
 * -errno. */
static int netif_set_up(int fd, const char *name, bool up, bool *changed)
{
	struct ifreq ifr = {0};

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	if (ioctl(fd, SIOCGIFFLAGS, &ifr) < 0)
		return -errno;
	*changed = up != !!(ifr.ifr_flags & IFF_UP);
	if (!*changed)
		return 0;
	ifr.ifr_flags ^= IFF_UP;
	return ioctl(fd, SIOCSIFFLAGS, &ifr) < 0 ? -errno : 0;
}

int tapif_join(struct tapif *t, const char *br, struct err *e)
{
	int fd, rc;

	if (strlen(br) >= IFNAMSIZ)
		return err_set(e, -EINVAL, "Parameter 'br': '%s' is too long for an interface", br);
	if (!if_nametoindex(br)) {
		log_info("tap %s: there is no bridge '%s' to join", t->name, br);
		return 0;
	}
	fd = socket_open_control();
	if (fd < 0)
		return err_set(e, fd, "socket: %s", strerror(-fd));
	rc = bridge_change_port(fd, br, t->name, SIOCBRADDIF);
	if (rc == -EBUSY) {
		/* It is a port of a bridge already, which somebody else has set up. */
		rc = 0;
	} else if (rc == -EOPNOTSUPP) {
		log_info("tap %s: '%s' is not a bridge", t->name, br);
		rc = 0;
	} else if (!rc) {
		memcpy(t->bridge, br, strlen(br) + 1);
		rc = netif_set_up(fd, t->name, true, &t->raised);
	}
	close(fd);
	if (rc < 0)
		err_set(e, rc, "could not add '%s' to bridge '%s': %s", t->name, br, strerror(-rc));
	return rc;
}

void tapif_leave(struct tapif *t)
{
	bool changed;
	int fd, rc;

	/* An interface that no longer exists is no port of the bridge either. */
	if (!*t->bridge || !if_nametoindex(t->name))
		return;
	fd = socket_open_control();
	rc = fd < 0 ? fd : bridge_change_port(fd, t->bridge, t->name, SIOCBRDELIF);
	if (!rc && t->raised)
		rc = netif_set_up(fd, t->name, false, &changed);
	if (rc < 0)
		log_warn("tap %s: could not leave bridge '%s': %s", t->name, t->bridge,
			 strerror(-rc));
	if (fd >= 0)
		close(fd);
	*t->bridge = '\0';
}

int tapif_script(const struct tapif *t, const char *script, struct err *e)
{
	char *argv[] = {(char *)script, (char *)t->name, NULL};
	int rc, status;
	pid_t pid;

	rc = posix_spawn(&pid, script, NULL, NULL, argv, environ);
	if (rc)
		return err_set(e, -rc, "could not run network script '%s': %s", script,
			       strerror(rc));
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return err_set(e, -errno, "network script '%s': %s", script,
				       strerror(errno));
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return 0;
	if (WIFEXITED(status))
		return err_set(e, -EIO, "network script '%s' failed with exit status %d", script,
			       WEXITSTATUS(status));
	return err_set(e, -EIO, "network script '%s' was ended by signal %d", script,
		       WTERMSIG(status));
}
