// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * CRC32C: polynomial 0x1edc6f41, bits reflected, as in RFC 3720.  User space only; the kernel has
 * its own.
 *
 * A CRC is linear: the table entry of a byte is the exclusive or of the entries of its bits.  So
 * the tables are spelled out by the preprocessor from eight numbers a row, and stay constant.
 */
#include <string.h>
#include "crc32c.h"

#define BIT(i, n, v) ((i) >> (n) & 1 ? (v) : 0u)
#define AT(i, a, b, c, d, e, f, g, h)                                                       \
	(BIT(i, 0, a) ^ BIT(i, 1, b) ^ BIT(i, 2, c) ^ BIT(i, 3, d) ^ BIT(i, 4, e) ^         \
	 BIT(i, 5, f) ^ BIT(i, 6, g) ^ BIT(i, 7, h))
#define AT4(i, ...)                                                                         \
	AT(i, __VA_ARGS__), AT((i) + 1, __VA_ARGS__), AT((i) + 2, __VA_ARGS__),             \
	AT((i) + 3, __VA_ARGS__)
#define AT16(i, ...)                                                                        \
	AT4(i, __VA_ARGS__), AT4((i) + 4, __VA_ARGS__), AT4((i) + 8, __VA_ARGS__),          \
	AT4((i) + 12, __VA_ARGS__)
#define AT64(i, ...)                                                                        \
	AT16(i, __VA_ARGS__), AT16((i) + 16, __VA_ARGS__), AT16((i) + 32, __VA_ARGS__),     \
	AT16((i) + 48, __VA_ARGS__)
#define ROW(...)                                                                            \
	AT64(0u, __VA_ARGS__), AT64(64u, __VA_ARGS__), AT64(128u, __VA_ARGS__),             \
	AT64(192u, __VA_ARGS__)

/* slice[k][b]: the CRC of byte b followed by k zero bytes */
static const uint32_t slice[8][256] = {
	{ ROW(0xf26b8303, 0xe13b70f7, 0xc79a971f, 0x8ad958cf,
	      0x105ec76f, 0x20bd8ede, 0x417b1dbc, 0x82f63b78) },
	{ ROW(0x13a29877, 0x274530ee, 0x4e8a61dc, 0x9d14c3b8,
	      0x3fc5f181, 0x7f8be302, 0xff17c604, 0xfbc3faf9) },
	{ ROW(0xa541927e, 0x4f6f520d, 0x9edea41a, 0x38513ec5,
	      0x70a27d8a, 0xe144fb14, 0xc76580d9, 0x8b277743) },
	{ ROW(0xdd45aab8, 0xbf672381, 0x7b2231f3, 0xf64463e6,
	      0xe964b13d, 0xd725148b, 0xaba65fe7, 0x52a0c93f) },
	{ ROW(0x38116fac, 0x7022df58, 0xe045beb0, 0xc5670b91,
	      0x8f2261d3, 0x1ba8b557, 0x37516aae, 0x6ea2d55c) },
	{ ROW(0xef306b19, 0xdb8ca0c3, 0xb2f53777, 0x6006181f,
	      0xc00c303e, 0x85f4168d, 0x0e045beb, 0x1c08b7d6) },
	{ ROW(0x68032cc8, 0xd0065990, 0xa5e0c5d1, 0x4e2dfd53,
	      0x9c5bfaa6, 0x3d5b83bd, 0x7ab7077a, 0xf56e0ef4) },
	{ ROW(0x493c7d27, 0x9278fa4e, 0x211d826d, 0x423b04da,
	      0x847609b4, 0x0d006599, 0x1a00cb32, 0x34019664) },
};

static uint32_t load_le32(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint32_t by_slices(uint32_t crc, const uint8_t *p, size_t len)
{
	for (; len >= 8; p += 8, len -= 8) {
		uint32_t a = crc ^ load_le32(p), b = load_le32(p + 4);

		crc = slice[7][a & 255] ^ slice[6][a >> 8 & 255] ^ slice[5][a >> 16 & 255] ^
		      slice[4][a >> 24] ^ slice[3][b & 255] ^ slice[2][b >> 8 & 255] ^
		      slice[1][b >> 16 & 255] ^ slice[0][b >> 24];
	}
	for (; len; p++, len--)
		crc = crc >> 8 ^ slice[0][(crc ^ *p) & 255];
	return crc;
}

#if defined(__x86_64__) && defined(__GNUC__)
#include <nmmintrin.h>

/*
 * The instruction takes one cycle but answers after three: three independent runs side by side keep
 * it busy.  Their CRCs are joined by moving the first two past the bytes that follow them, which is
 * a linear map again: far[k][b] is byte k of a CRC, moved past FAR zero bytes.
 */
#define FAR 4096
#define NEAR 256

static const uint32_t far_by[4][256] = {
	{ ROW(0xc2a5b65e, 0x80a71a4d, 0x04a2426b, 0x094484d6,
	      0x128909ac, 0x25121358, 0x4a2426b0, 0x94484d60) },
	{ ROW(0x2d7cec31, 0x5af9d862, 0xb5f3b0c4, 0x6e0b1779,
	      0xdc162ef2, 0xbdc02b15, 0x7e6c20db, 0xfcd841b6) },
	{ ROW(0xfc5cf59d, 0xfd559dcb, 0xff474d67, 0xfb62ec3f,
	      0xf329ae8f, 0xe3bf2bef, 0xc292212f, 0x80c834af) },
	{ ROW(0x047c1faf, 0x08f83f5e, 0x11f07ebc, 0x23e0fd78,
	      0x47c1faf0, 0x8f83f5e0, 0x1aeb9d31, 0x35d73a62) },
};
static const uint32_t near_by[4][256] = {
	{ ROW(0xdcb17aa4, 0xbc8e83b9, 0x7cf17183, 0xf9e2e306,
	      0xf629b0fd, 0xe9bf170b, 0xd69258e7, 0xa8c8c73f) },
	{ ROW(0x547df88f, 0xa8fbf11e, 0x541b94cd, 0xa837299a,
	      0x558225c5, 0xab044b8a, 0x53e4e1e5, 0xa7c9c3ca) },
	{ ROW(0x4a7ff165, 0x94ffe2ca, 0x2c13b365, 0x582766ca,
	      0xb04ecd94, 0x6571edd9, 0xcae3dbb2, 0x902bc195) },
	{ ROW(0x25bbf5db, 0x4b77ebb6, 0x96efd76c, 0x2833d829,
	      0x5067b052, 0xa0cf60a4, 0x4472b7b9, 0x88e56f72) },
};

static uint32_t move(const uint32_t by[4][256], uint32_t crc)
{
	return by[0][crc & 255] ^ by[1][crc >> 8 & 255] ^ by[2][crc >> 16 & 255] ^ by[3][crc >> 24];
}

static uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

__attribute__((target("sse4.2")))
static uint32_t three_runs(const uint32_t by[4][256], uint32_t crc, const uint8_t *p, size_t run)
{
	const uint8_t *end = p + run;
	uint64_t a = crc, b = 0, c = 0;

	for (; p < end; p += 8) {
		a = _mm_crc32_u64(a, load64(p));
		b = _mm_crc32_u64(b, load64(p + run));
		c = _mm_crc32_u64(c, load64(p + 2 * run));
	}
	return move(by, move(by, a) ^ b) ^ c;
}

__attribute__((target("sse4.2")))
static uint32_t by_instruction(uint32_t crc, const uint8_t *p, size_t len)
{
	uint64_t c;

	for (; len >= 3 * FAR; p += 3 * FAR, len -= 3 * FAR)
		crc = three_runs(far_by, crc, p, FAR);
	for (; len >= 3 * NEAR; p += 3 * NEAR, len -= 3 * NEAR)
		crc = three_runs(near_by, crc, p, NEAR);
	for (c = crc; len >= 8; p += 8, len -= 8)
		c = _mm_crc32_u64(c, load64(p));
	for (crc = c; len; p++, len--)
		crc = _mm_crc32_u8(crc, *p);
	return crc;
}

static bool have_instruction(void)
{
	return __builtin_cpu_supports("sse4.2");
}
#else
static uint32_t by_instruction(uint32_t crc, const uint8_t *p, size_t len)
{
	return by_slices(crc, p, len);
}

static bool have_instruction(void)
{
	return false;
}
#endif

uint32_t dmfmt_crc32c_portable(uint32_t crc, const void *p, size_t len)
{
	return ~by_slices(~crc, p, len);
}

uint32_t dmfmt_crc32c(uint32_t crc, const void *p, size_t len)
{
	return ~(have_instruction() ? by_instruction(~crc, p, len) : by_slices(~crc, p, len));
}
