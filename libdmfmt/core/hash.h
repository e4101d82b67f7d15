/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* SHA-256 (libnettle) */
#ifndef DMFMT_CORE_HASH_H
#define DMFMT_CORE_HASH_H

#include "../dmfmt.h"

#define DMFMT_SHA256_BYTES 32

#endif
