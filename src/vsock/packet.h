/* SPDX-License-Identifier: MIT */
/* packet.h - the packets between a guest's sockets and its host (Virtio 1.3 §5.10.6) */
#ifndef VSOCK_PACKET_H
#define VSOCK_PACKET_H

#include <stdint.h>

#include "base/util.h"

#define VSOCK_HDR_LEN  44
#define VSOCK_CID_HOST 2
#define VSOCK_PORT_ANY UINT32_MAX

enum vsock_type { VSOCK_STREAM = 1, VSOCK_SEQPACKET = 2 };

enum vsock_op {
	VSOCK_OP_REQUEST = 1,
	VSOCK_OP_RESPONSE,
	VSOCK_OP_RST,
	VSOCK_OP_SHUTDOWN,
	VSOCK_OP_RW,
	VSOCK_OP_CREDIT_UPDATE,
	VSOCK_OP_CREDIT_REQUEST,
};

/* Flags of a SHUTDOWN packet: its sender will not receive, or not send, any more data. */
#define VSOCK_NO_RECV 1u
#define VSOCK_NO_SEND 2u
#define VSOCK_NO_MORE (VSOCK_NO_RECV | VSOCK_NO_SEND)
/* Flag of an RW packet of a seqpacket connection: a message ends with its payload. */
#define VSOCK_SEQ_EOM 1u

struct vsock_hdr {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port;
	uint32_t len; /* of the payload */
	uint16_t type, op;
	uint32_t flags;
	uint32_t buf_alloc; /* the sender's buffer for this connection */
	uint32_t fwd_cnt;   /* bytes that have left that buffer, modulo 2^32 */
};

static inline void vsock_hdr_get(struct vsock_hdr *h, const uint8_t p[VSOCK_HDR_LEN])
{
	h->src_cid = get_le64(p);
	h->dst_cid = get_le64(p + 8);
	h->src_port = get_le32(p + 16);
	h->dst_port = get_le32(p + 20);
	h->len = get_le32(p + 24);
	h->type = get_le16(p + 28);
	h->op = get_le16(p + 30);
	h->flags = get_le32(p + 32);
	h->buf_alloc = get_le32(p + 36);
	h->fwd_cnt = get_le32(p + 40);
}

static inline void vsock_hdr_put(const struct vsock_hdr *h, uint8_t p[VSOCK_HDR_LEN])
{
	put_le64(p, h->src_cid);
	put_le64(p + 8, h->dst_cid);
	put_le32(p + 16, h->src_port);
	put_le32(p + 20, h->dst_port);
	put_le32(p + 24, h->len);
	put_le16(p + 28, h->type);
	put_le16(p + 30, h->op);
	put_le32(p + 32, h->flags);
	put_le32(p + 36, h->buf_alloc);
	put_le32(p + 40, h->fwd_cnt);
}

#endif
