/* SPDX-License-Identifier: MIT */
/* conf.c - options of -netdev user
 *
 * Addresses that are not given follow from the network as in QEMU: host .2, name server .3, leases
 * from .15 on. Forwards are QEMU's, but for what would need a program to be started once the
 * rights to do so are given up: guestfwd=...-cmd: and smb=.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/user/worker.h"

#define NAME_MAX_LEN 255 /* of DHCP options that hold one */
#define BOOTFILE_MAX 127 /* BOOTP's field */

#define ROW(n, field, t, ...)                                                               \
	{                                                                                   \
		.name = n, .type = OPT_##t, .at = offsetof(struct user, field), __VA_ARGS__ \
	}
const struct opt user_options[] = {
	ROW("hostfwd", hostfwd, STRING,
	    .help = "[tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport, may be repeated"),
	ROW("guestfwd", guestfwd, STRING,
	    .help = "[tcp]:server:port-unix:PATH, a socket of the host at an address of the "
		    "network, may be repeated"),
	ROW("restrict", restricted, BOOL, .help = "forwards only: nothing else leaves the network"),
	ROW("net", net, STRING, .help = "network, address/mask (10.0.2.0/24 unless given)"),
	ROW("host", host, STRING, .help = "address of the host in it"),
	ROW("dns", dns, STRING, .help = "address of the name server in it"),
	ROW("dhcpstart", dhcpstart, STRING, .help = "first of 16 addresses to lease"),
	ROW("ipv4", ipv4, BOOL, .help = "on (and ipv6 not given): IPv4 only", .def = "on"),
	ROW("ipv6", ipv6, BOOL, .help = "on (and ipv4 not given): IPv6 only", .def = "on"),
	ROW("ipv6-net", ipv6_net, STRING, .help = "prefix/length (fec0::/64 unless given)"),
	ROW("ipv6-prefix", ipv6_prefix, STRING, .help = "the same without the length"),
	ROW("ipv6-prefixlen", ipv6_prefixlen, UINT, .min = 0, .max = 126,
	    .help = "length of ipv6-prefix (64 unless given)"),
	ROW("ipv6-host", ipv6_host, STRING, .help = "IPv6 address of the host"),
	ROW("ipv6-dns", ipv6_dns, STRING, .help = "IPv6 address of the name server"),
	ROW("hostname", hostname, STRING, .help = "name that DHCP gives the guest"),
	ROW("domainname", domainname, STRING, .help = "domain that DHCP gives the guest"),
	ROW("dnssearch", dnssearch, STRING, .help = "domain to search names in, may be repeated"),
	ROW("tftp", tftp, STRING, .help = "folder that a TFTP server shows, read-only"),
	ROW("bootfile", bootfile, STRING, .help = "name of the file to boot, for DHCP"),
	ROW("tftp-server-name", tftp_server_name, STRING,
	    .help = "name of the TFTP server, for DHCP"),
	ROW("smb", smb, STRING, .help = "not supported"),
	ROW("smbserver", smbserver, STRING, .help = "not supported"),
	OPT_END,
};
#undef ROW

/* --- addresses --- */

static bool in4(const char *text, uint32_t *out)
{
	struct in_addr a;

	if (inet_pton(AF_INET, text, &a) != 1)
		return false;
	*out = ntohl(a.s_addr);
	return true;
}

/* The part of `text` before a slash, all of it without one. False when it is too long for `buf`. */
static bool before_slash(const char *text, char *buf, size_t size)
{
	size_t len = strcspn(text, "/");

	if (len >= size)
		return false;
	memcpy(buf, text, len);
	buf[len] = '\0';
	return true;
}

/* address, address/length or address/mask */
static int parse_net(const char *text, uint32_t *net, uint32_t *mask, struct err *e)
{
	const char *slash = strchr(text, '/');
	char word[INET_ADDRSTRLEN + 1];
	uint64_t len;

	if (!before_slash(text, word, sizeof(word)) || !in4(word, net))
		return err_set(e, -EINVAL, "Failed to parse network '%s'", text);
	/* The old classes of networks. */
	*mask = *net < 0x80000000 ? 0xff000000 : *net < 0xc0000000 ? 0xffff0000 : 0xffffff00;
	if (slash && !in4(slash + 1, mask)) {
		if (parse_uint(slash + 1, &len) < 0)
			return err_set(e, -EINVAL, "Failed to parse netmask '%s'", slash + 1);
		if (len < 4 || len > 30)
			return err_set(e, -EINVAL,
				       "Invalid netmask provided (must be in range 4-30), not '%s'",
				       slash + 1);
		*mask = (uint32_t)(0xffffffffu << (32 - len));
	}
	if (~*mask & (~*mask + 1))
		return err_set(e, -EINVAL, "Failed to parse netmask '%s'", slash + 1);
	*net &= *mask;
	return 0;
}

/* An address of the network that was given, or the default one. */
static int pick4(const char *text, const char *what, uint32_t net, uint32_t mask, uint32_t def,
		 struct in_addr *out, struct err *e)
{
	uint32_t a = net | (def & ~mask);

	if (text && !in4(text, &a))
		return err_set(e, -EINVAL, "Failed to parse %s '%s'", what, text);
	if ((a & mask) != net)
		return err_set(e, -EINVAL, "%s doesn't belong to network", what);
	out->s_addr = htonl(a);
	return 0;
}

static int config4(struct user *u, SlirpConfig *cfg, struct err *e)
{
	uint32_t net = 0, mask = 0;
	int rc = parse_net(u->net ? u->net : "10.0.2.0/24", &net, &mask, e);

	if (!rc)
		rc = pick4(u->host, "Host", net, mask, 0x0202, &cfg->vhost, e);
	if (!rc)
		rc = pick4(u->dns, "DNS", net, mask, 0x0203, &cfg->vnameserver, e);
	if (!rc)
		rc = pick4(u->dhcpstart, "DHCP", net, mask, 0x020f, &cfg->vdhcp_start, e);
	if (rc < 0)
		return rc;
	if (cfg->vhost.s_addr == cfg->vnameserver.s_addr)
		return err_set(e, -EINVAL, "DNS must be different from host");
	if (cfg->vdhcp_start.s_addr == cfg->vhost.s_addr ||
	    cfg->vdhcp_start.s_addr == cfg->vnameserver.s_addr)
		return err_set(e, -EINVAL, "DHCP must be different from host and DNS");
	cfg->vnetwork.s_addr = htonl(net);
	cfg->vnetmask.s_addr = htonl(mask);
	return 0;
}

static bool same_prefix(const struct in6_addr *a, const struct in6_addr *b, unsigned len)
{
	if (memcmp(a, b, len / 8))
		return false;
	return !(len % 8) || !((a->s6_addr[len / 8] ^ b->s6_addr[len / 8]) >> (8 - len % 8));
}

static int pick6(const char *text, const char *what, const SlirpConfig *cfg, uint8_t def,
		 struct in6_addr *out, struct err *e)
{
	*out = cfg->vprefix_addr6;
	out->s6_addr[15] |= def;
	if (!text)
		return 0;
	if (inet_pton(AF_INET6, text, out) != 1)
		return err_set(e, -EINVAL, "Failed to parse IPv6 %s '%s'", what, text);
	if (!same_prefix(out, &cfg->vprefix_addr6, cfg->vprefix_len))
		return err_set(e, -EINVAL, "IPv6 %s doesn't belong to network", what);
	return 0;
}

static int config6(struct user *u, struct err *e)
{
	struct kvs *k = u->given;
	SlirpConfig *cfg = &u->cfg;
	const char *text = u->ipv6_net ? u->ipv6_net : u->ipv6_prefix ? u->ipv6_prefix : "fec0::";
	const char *slash = strchr(text, '/');
	char word[INET6_ADDRSTRLEN + 1];
	uint64_t len = kvs_get(k, "ipv6-prefixlen") ? u->ipv6_prefixlen : 64;
	int rc;

	if (u->ipv6_net && (u->ipv6_prefix || kvs_get(k, "ipv6-prefixlen")))
		return err_set(e, -EINVAL,
			       "'ipv6-net' and 'ipv6-prefix', 'ipv6-prefixlen' exclude each other");
	if (!before_slash(text, word, sizeof(word)) ||
	    inet_pton(AF_INET6, word, &cfg->vprefix_addr6) != 1)
		return err_set(e, -EINVAL, "Failed to parse IPv6 prefix '%s'", text);
	if (slash && (parse_uint(slash + 1, &len) < 0 || len > 126))
		return err_set(e, -EINVAL,
			       "Invalid IPv6 prefix provided (IPv6 prefix length must be between 0 "
			       "and 126), not '%s'",
			       slash + 1);
	cfg->vprefix_len = (uint8_t)len;
	rc = pick6(u->ipv6_host, "host", cfg, 2, &cfg->vhost6, e);
	return rc < 0 ? rc : pick6(u->ipv6_dns, "DNS", cfg, 3, &cfg->vnameserver6, e);
}

/* One of the two given: the other one follows. */
static int families(struct user *u, struct err *e)
{
	struct kvs *k = u->given;
	bool has4 = kvs_get(k, "ipv4"), has6 = kvs_get(k, "ipv6");

	if (has4 && !has6)
		u->ipv6 = !u->ipv4;
	if (has6 && !has4)
		u->ipv4 = !u->ipv6;
	if (!u->ipv4 && !u->ipv6)
		return err_set(e, -EINVAL, "ipv4=off and ipv6=off leave no network");
	if (!u->ipv4 && (u->net || u->host || u->dns || u->dhcpstart))
		return err_set(e, -EINVAL, "IPv4 disabled but netmask/host/dns provided");
	if (!u->ipv6 && (u->ipv6_net || u->ipv6_prefix || u->ipv6_host || u->ipv6_dns))
		return err_set(e, -EINVAL, "IPv6 disabled but prefix/host6/dns6 provided");
	u->cfg.in_enabled = u->ipv4;
	u->cfg.in6_enabled = u->ipv6;
	return 0;
}

/* --- names --- */

static int check_name(const char *option, const char *value, size_t max, struct err *e)
{
	if (!value)
		return 0;
	if (!*value)
		return err_set(e, -EINVAL, "'%s' parameter cannot be empty", option);
	if (strlen(value) > max)
		return err_set(e, -EINVAL, "'%s' parameter cannot be longer than %zu bytes", option,
			       max);
	return 0;
}

/* All values of `dnssearch`, NULL-terminated. */
static int search_list(struct user *u, struct err *e)
{
	struct kvs *k = u->given;
	unsigned n = 0;
	const char **list = calloc(k->n + 1, sizeof(*list));

	if (!list)
		return err_nomem(e);
	for (unsigned i = 0; i < k->n; i++)
		if (!strcmp(k->v[i].key, "dnssearch"))
			list[n++] = k->v[i].value;
	if (n)
		u->cfg.vdnssearch = list;
	else
		free(list);
	return 0;
}

int user_config(struct user *u, struct err *e)
{
	SlirpConfig *cfg = &u->cfg;
	int rc;

	if (u->smb || u->smbserver)
		return err_set(
			e, -EINVAL,
			"Parameter 'smb' is not supported (share files by virtio-9p, or run a "
			"server on the host)");
	rc = families(u, e);
	if (!rc)
		rc = config4(u, cfg, e);
	if (!rc)
		rc = config6(u, e);
	if (!rc)
		rc = check_name("hostname", u->hostname, 32, e);
	if (!rc)
		rc = check_name("domainname", u->domainname, NAME_MAX_LEN, e);
	if (!rc)
		rc = check_name("tftp-server-name", u->tftp_server_name, NAME_MAX_LEN, e);
	if (!rc)
		rc = check_name("bootfile", u->bootfile, BOOTFILE_MAX, e);
	cfg->version = 1;
	/* Of what it exchanges with us: large segments, see worker.c. */
	cfg->if_mtu = cfg->if_mru = USER_MTU;
	cfg->restricted = u->restricted;
	cfg->vhostname = u->hostname;
	cfg->vdomainname = u->domainname;
	cfg->tftp_path = u->tftp;
	cfg->bootfile = u->bootfile;
	cfg->tftp_server_name = u->tftp_server_name;
	return rc < 0 ? rc : search_list(u, e);
}

/* --- forwards --- */

/* The part of `*text` before `sep`; `*text` moves behind it. False without one. */
static bool part(const char **text, char sep, char *buf, size_t size)
{
	const char *end = strchr(*text, sep);

	if (!end || (size_t)(end - *text) >= size)
		return false;
	memcpy(buf, *text, (size_t)(end - *text));
	buf[end - *text] = '\0';
	*text = end + 1;
	return true;
}

static bool parse_port(const char *text, unsigned min, int *port)
{
	uint64_t n;

	if (parse_uint(text, &n) < 0 || n < min || n > 65535)
		return false;
	*port = (int)n;
	return true;
}

static int host_forward(struct worker *w, const char *rule, struct err *e)
{
	struct in_addr host = {0}, guest = {0}; /* any; the first lease */
	char proto[8], haddr[64], hport[8], gaddr[64];
	const char *p = rule, *why = NULL;
	int from = 0, to = 0;

	if (!part(&p, ':', proto, sizeof(proto)) ||
	    (*proto && strcmp(proto, "tcp") && strcmp(proto, "udp")))
		why = "Bad protocol name";
	else if (!part(&p, ':', haddr, sizeof(haddr)))
		why = "Missing : separator";
	else if (*haddr && inet_pton(AF_INET, haddr, &host) != 1)
		why = "Bad host address";
	else if (!part(&p, '-', hport, sizeof(hport)))
		why = "Bad host port separator";
	else if (!parse_port(hport, 0, &from))
		why = "Bad host port";
	else if (!part(&p, ':', gaddr, sizeof(gaddr)))
		why = "Missing guest address";
	else if (*gaddr && inet_pton(AF_INET, gaddr, &guest) != 1)
		why = "Bad guest address";
	else if (!parse_port(p, 1, &to))
		why = "Bad guest port";
	if (why)
		return err_set(e, -EINVAL, "Invalid host forwarding rule '%s' (%s)", rule, why);
	if (w->lib.add_hostfwd(w->slirp, !strcmp(proto, "udp"), host, from, guest, to) < 0)
		return err_set(e, -errno, "Could not set up host forwarding rule '%s': %s", rule,
			       strerror(errno));
	return 0;
}

static int guest_forward(struct worker *w, const char *rule, struct err *e)
{
	char proto[8], addr[64], port[8];
	struct in_addr server;
	const char *p = rule;
	int number;

	if (!part(&p, ':', proto, sizeof(proto)) || (*proto && strcmp(proto, "tcp")) ||
	    !part(&p, ':', addr, sizeof(addr)) || inet_pton(AF_INET, addr, &server) != 1 ||
	    !part(&p, '-', port, sizeof(port)) || !parse_port(port, 1, &number))
		return err_set(e, -EINVAL,
			       "Invalid guest forwarding rule '%s' (expected "
			       "[tcp]:server:port-unix:PATH)",
			       rule);
	if (strncmp(p, "unix:", 5) || p[5] != '/')
		return err_set(
			e, -EINVAL,
			"guest forwarding rule '%s': only -unix:/PATH is supported, a socket "
			"that something on the host listens on (socat, say)",
			rule);
	if (!w->lib.add_unix)
		return err_set(e, -ENOTSUP,
			       "guest forwarding rule '%s': this libslirp is too old for it", rule);
	if (w->lib.add_unix(w->slirp, p + 5, &server, number) < 0)
		return err_set(e, -EINVAL,
			       "guest forwarding rule '%s': conflicting/invalid host:port in guest "
			       "forwarding rule",
			       rule);
	return 0;
}

/* --- what the helper finds of the file system --- */

/* Of others than its owner and its group, as the worker is one: may it do that? */
static bool others_may(const char *path, mode_t what)
{
	struct stat st;

	return geteuid() != 0 || stat(path, &st) < 0 || (st.st_mode & what) == what;
}

static int bind_add(char *binds[], unsigned *n, const char *path, struct err *e)
{
	for (unsigned i = 0; i < *n; i++)
		if (!strcmp(binds[i], path))
			return 0;
	if (*n == HELPER_FILES_MAX)
		return err_set(e, -E2BIG,
			       "more than %u folders of tftp= and guestfwd=", HELPER_FILES_MAX);
	binds[*n] = strdup(path);
	if (!binds[*n])
		return err_nomem(e);
	++*n;
	return 0;
}

/* Its folder, so that one which its program makes anew is found as well. */
static int bind_socket(struct user *u, char *binds[], unsigned *n, const char *path, struct err *e)
{
	char folder[PATH_MAX];
	const char *slash = strrchr(path, '/');

	if (strlen(path) >= sizeof(folder))
		return 0; /* refused later, with the rule */
	snprintf(folder, sizeof(folder), "%.*s", (int)(slash - path), path);
	if (!*folder) /* the root directory itself cannot be had */
		strcpy(folder, path);
	if (access(folder, F_OK) < 0)
		log_warn("netdev %s: guestfwd: %s: %s", u->nd.id, folder, strerror(errno));
	else if (!others_may(folder, S_IXOTH) || !others_may(path, S_IWOTH))
		log_warn("netdev %s: guestfwd: only its owner may connect to %s, the helper (a "
			 "user of its own) cannot",
			 u->nd.id, path);
	return access(folder, F_OK) < 0 ? 0 : bind_add(binds, n, folder, e);
}

static int bind_tftp(struct user *u, char *binds[], unsigned *n, struct err *e)
{
	char *path = realpath(u->tftp, NULL);
	int rc;

	if (!path) {
		log_warn("netdev %s: tftp: %s: %s", u->nd.id, u->tftp, strerror(errno));
		return 0;
	}
	if (!others_may(path, S_IXOTH))
		log_warn("netdev %s: tftp: only its owner may open files in %s, the helper (a user "
			 "of its own) cannot",
			 u->nd.id, path);
	free(u->tftp);
	u->tftp = path;
	u->cfg.tftp_path = path;
	rc = strcmp(path, "/") ? 0 : err_set(e, -EINVAL, "tftp=/ is not supported");
	return rc < 0 ? rc : bind_add(binds, n, path, e);
}

int user_binds(struct user *u, char *binds[], bool *has_unix, struct err *e)
{
	const struct kvs *k = u->given;
	unsigned n = 0;
	int rc = u->tftp ? bind_tftp(u, binds, &n, e) : 0;

	for (unsigned i = 0; i < k->n && rc == 0; i++) {
		const char *at =
			strcmp(k->v[i].key, "guestfwd") ? NULL : strstr(k->v[i].value, "-unix:/");

		if (at) {
			*has_unix = true;
			rc = bind_socket(u, binds, &n, at + strlen("-unix:"), e);
		}
	}
	return rc < 0 ? rc : (int)n;
}

int user_forwards(struct worker *w, struct err *e)
{
	const struct kvs *k = w->user->given;
	int rc = 0;

	for (unsigned i = 0; i < k->n && !rc; i++)
		if (!strcmp(k->v[i].key, "hostfwd"))
			rc = host_forward(w, k->v[i].value, e);
		else if (!strcmp(k->v[i].key, "guestfwd"))
			rc = guest_forward(w, k->v[i].value, e);
	return rc;
}
