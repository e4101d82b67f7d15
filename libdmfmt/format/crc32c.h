/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CRC32C, for user space */
#ifndef DMFMT_FORMAT_CRC32C_H
#define DMFMT_FORMAT_CRC32C_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * dmfmt_crc32c() - CRC32C of a range, or of one that goes on
 * @crc: 0 at the beginning, else what the call for the bytes before has returned
 *
 * With inversion before and after, as in RFC 3720: "123456789" gives 0xe3069283.
 */
uint32_t dmfmt_crc32c(uint32_t crc, const void *p, size_t len);
/* the same without the help of the processor, for tests and for measuring */
uint32_t dmfmt_crc32c_portable(uint32_t crc, const void *p, size_t len);

#endif
