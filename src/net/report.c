/* SPDX-License-Identifier: MIT */
/* report.c - what a netdev has to say to the monitors: its peer came or went
 *
 * Called on the loop of the netdev's queue, or on the control thread before that runs.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>

#include "base/events.h"
#include "net/backend.h"

/* An address as QMP's SocketAddress has it. */
static json_t *address_describe(const struct sockaddr *sa, socklen_t len)
{
	char host[INET6_ADDRSTRLEN] = "";

	if (sa->sa_family == AF_UNIX) {
		const struct sockaddr_un *un = (const struct sockaddr_un *)sa;
		size_t max = len > offsetof(struct sockaddr_un, sun_path)
				     ? len - offsetof(struct sockaddr_un, sun_path)
				     : 0;

		/* Most peers have no name. */
		return json_pack("{s:s, s:s#}", "type", "unix", "path", un->sun_path,
				 (int)strnlen(un->sun_path, max));
	}
	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)sa;

		inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		return json_pack("{s:s, s:s, s:o}", "type", "inet", "host", host, "port",
				 json_sprintf("%u", ntohs(in->sin_port)));
	}
	if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)sa;

		inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof(host));
		return json_pack("{s:s, s:s, s:o}", "type", "inet", "host", host, "port",
				 json_sprintf("%u", ntohs(in->sin6_port)));
	}
	return json_pack("{s:s, s:s}", "type", "unix", "path", "");
}

void netdev_report_peer(struct events *events, const char *id, const struct sockaddr *peer,
			socklen_t len)
{
	json_t *data;

	if (!events)
		return;
	data = json_pack("{s:s}", "netdev-id", id);
	if (peer)
		json_object_set_new(data, "addr", address_describe(peer, len));
	events_post(events, peer ? "NETDEV_STREAM_CONNECTED" : "NETDEV_STREAM_DISCONNECTED", data);
}
