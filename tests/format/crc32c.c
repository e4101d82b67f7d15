// SPDX-License-Identifier: GPL-2.0-or-later
/* CRC32C against the definition, bit by bit. */
#include <stdlib.h>
#include "../lib/tap.h"
#include "../../libdmfmt/format/crc32c.h"

#define SIZE 65536

static uint8_t buf[SIZE + 16];

static uint32_t by_definition(uint32_t crc, const uint8_t *p, size_t len)
{
	int i;

	for (crc = ~crc; len; len--) {
		crc ^= *p++;
		for (i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return ~crc;
}

/* RFC 3720, B.4 */
static void test_known(void)
{
	uint8_t bytes[32];
	int i;

	EQ(dmfmt_crc32c(0, "", 0), 0);
	EQ(dmfmt_crc32c(0, "123456789", 9), 0xe3069283);
	memset(bytes, 0, sizeof(bytes));
	EQ(dmfmt_crc32c(0, bytes, 32), 0x8a9136aa);
	memset(bytes, 0xff, sizeof(bytes));
	EQ(dmfmt_crc32c(0, bytes, 32), 0x62a8ab43);
	for (i = 0; i < 32; i++)
		bytes[i] = i;
	EQ(dmfmt_crc32c_portable(0, bytes, 32), 0x46dd794e);
}

static void test_lengths(void)
{
	unsigned i, bad = 0, seed = 1;

	for (i = 0; i < SIZE; i++)
		buf[i] = (seed = seed * 1103515245 + 12345) >> 16;
	for (i = 0; i < 1500; i++) {
		size_t len = i < 600 ? i : i * 29 % SIZE, shift = i % 9;
		uint32_t want = by_definition(i, buf + shift, len);

		bad += dmfmt_crc32c(i, buf + shift, len) != want;
		bad += dmfmt_crc32c_portable(i, buf + shift, len) != want;
	}
	EQ(bad, 0);
}

static void test_in_parts(void)
{
	uint32_t whole = dmfmt_crc32c(0, buf, SIZE), crc = 0;
	size_t at, n;

	for (at = 0, n = 1; at < SIZE; at += n, n = n * 2 + 1) {
		if (n > SIZE - at)
			n = SIZE - at;
		crc = dmfmt_crc32c(crc, buf + at, n);
	}
	EQ(crc, whole);
}

int main(void)
{
	RUN(test_known);
	RUN(test_lengths);
	RUN(test_in_parts);
	return DONE();
}
