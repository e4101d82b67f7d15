// SPDX-License-Identifier: LGPL-2.1-or-later
/* The only file that calls libnettle. */
#include <nettle/sha2.h>
#include "hash.h"

void dmfmt_sha256(const void *buf, size_t len, uint8_t out[32])
{
	struct sha256_ctx h;

	sha256_init(&h);
	sha256_update(&h, len, buf);
	sha256_digest(&h, DMFMT_SHA256_BYTES, out);
}
