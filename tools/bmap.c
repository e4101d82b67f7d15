// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The checksum stands in front of the ranges that it covers, and so does their number: the ranges are
 * kept as text, some 40 bytes each, until they are all known.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "../libdmfmt/dmfmt.h"
#include "bmap.h"

#define HASH_DIGITS 64

struct bmap {
	uint64_t sectors;
	char *text;
	size_t len, room;
	uint64_t first, end;	/* the range at hand, blocks; none while they are equal */
	uint64_t mapped;
};

struct bmap *bmap_new(uint64_t sectors)
{
	struct bmap *m = calloc(1, sizeof(*m));

	if (m)
		m->sectors = sectors;
	return m;
}

void bmap_free(struct bmap *m)
{
	if (!m)
		return;
	free(m->text);
	free(m);
}

static int add_text(struct bmap *m, const char *line, size_t n)
{
	if (m->len + n > m->room) {
		size_t room = m->room ? 2 * m->room : 65536;
		char *text = realloc(m->text, room);

		if (!text)
			return -ENOMEM;
		m->text = text;
		m->room = room;
	}
	memcpy(m->text + m->len, line, n);
	m->len += n;
	return 0;
}

static int end_range(struct bmap *m)
{
	char line[96];
	int n;

	if (m->first == m->end)
		return 0;
	if (m->first + 1 == m->end)
		n = snprintf(line, sizeof(line), "        <Range> %" PRIu64 " </Range>\n", m->first);
	else
		n = snprintf(line, sizeof(line), "        <Range> %" PRIu64 "-%" PRIu64 " </Range>\n",
			     m->first, m->end - 1);
	m->mapped += m->end - m->first;
	return add_text(m, line, (size_t)n);
}

int bmap_add(struct bmap *m, uint64_t sector, uint64_t nr)
{
	const uint64_t per = BMAP_BLOCK / 512;
	uint64_t first = sector / per, end = (sector + nr + per - 1) / per;
	int err;

	if (m->first != m->end && first <= m->end) {
		if (end > m->end)
			m->end = end;
		return 0;
	}
	err = end_range(m);
	m->first = first;
	m->end = end;
	return err;
}

/* the whole file, with @checksum where it belongs; malloc'ed */
static char *whole(const struct bmap *m, const char *checksum)
{
	const uint64_t per = BMAP_BLOCK / 512;
	char *text = NULL;

	if (asprintf(&text,
		     "<?xml version=\"1.0\" ?>\n"
		     "<bmap version=\"2.0\">\n"
		     "    <ImageSize> %" PRIu64 " </ImageSize>\n"
		     "    <BlockSize> %d </BlockSize>\n"
		     "    <BlocksCount> %" PRIu64 " </BlocksCount>\n"
		     "    <MappedBlocksCount> %" PRIu64 " </MappedBlocksCount>\n"
		     "    <ChecksumType> sha256 </ChecksumType>\n"
		     "    <BmapFileChecksum> %s </BmapFileChecksum>\n"
		     "    <BlockMap>\n"
		     "%.*s"
		     "    </BlockMap>\n"
		     "</bmap>\n",
		     m->sectors * 512, BMAP_BLOCK, (m->sectors + per - 1) / per, m->mapped, checksum,
		     (int)m->len, m->text ? m->text : "") < 0)
		return NULL;
	return text;
}

int bmap_print(struct bmap *m, FILE *out)
{
	char checksum[HASH_DIGITS + 1];
	uint8_t sha256[32];
	char *text;
	int err = end_range(m);

	m->first = m->end;
	if (err || m->len > INT32_MAX)
		return err ? err : -EFBIG;
	memset(checksum, '0', HASH_DIGITS);
	checksum[HASH_DIGITS] = '\0';
	text = whole(m, checksum);
	if (!text)
		return -ENOMEM;
	dmfmt_sha256(text, strlen(text), sha256);
	free(text);
	for (size_t i = 0; i < sizeof(sha256); i++)
		snprintf(checksum + 2 * i, 3, "%02x", sha256[i]);
	text = whole(m, checksum);
	if (!text)
		return -ENOMEM;
	fputs(text, out);
	free(text);
	return fflush(out) || ferror(out) ? -EIO : 0;
}
