/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* SHA-256 (libnettle) */
#ifndef DMFMT_CORE_HASH_H
#define DMFMT_CORE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define DMFMT_SHA256_BYTES 32

void dmfmt_sha256(const void *buf, size_t len, uint8_t out[DMFMT_SHA256_BYTES]);

#endif
