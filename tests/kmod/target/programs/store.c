// SPDX-License-Identifier: GPL-2.0-or-later
#include <endian.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"
#include "store.h"

#define MAGIC 0x70416e53u

static char problem[256];

static const char *wrong(const char *format, ...) FORMAT(1, 2);
static const char *wrong(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(problem, sizeof(problem), format, args);
	va_end(args);
	return problem;
}

uint64_t store_capacity(uint64_t cow_sectors, uint32_t chunk, bool refuse_edge)
{
	uint64_t total = cow_sectors / chunk, entries = 32u * chunk, stride = entries + 1, areas, rest, nr;

	if (total < 2)
		return 0;
	areas = (total - 1) / stride;
	rest = (total - 1) % stride;
	nr = areas * entries + (rest ? rest - 1 : 0);
	return refuse_edge && !rest && areas ? nr - 1 : nr;
}

static const char *read_header(struct store *st, int fd, uint64_t cow_sectors)
{
	uint32_t *head = pages(4096);
	const char *bad = NULL;
	int err = sectors_read(fd, head, 0, cow_sectors < 8 ? cow_sectors : 8);

	if (err)
		bad = wrong("header: cannot be read: %s", strerror(-err));
	else if (!head[0])
		st->blank = true;
	else if (le32toh(head[0]) != MAGIC)
		bad = wrong("header: magic 0x%08x", le32toh(head[0]));
	else if (le32toh(head[1]) > 1 || le32toh(head[2]) != 1)
		bad = wrong("header: valid %u, version %u", le32toh(head[1]), le32toh(head[2]));
	st->valid = le32toh(head[1]);
	st->chunk = le32toh(head[3]);
	if (!bad && !st->blank && (!st->chunk || st->chunk & (st->chunk - 1) || st->chunk > 2048))
		bad = wrong("header: chunk_size %u", st->chunk);
	free(head);
	return bad;
}

static const char *judge_entry(struct store *st, uint64_t old, uint64_t new, uint64_t chunks, bool dense)
{
	uint64_t entries = 32u * st->chunk, expected = st->nr + st->nr / entries + 2;

	if (new >= chunks || new < 2 || new % (entries + 1) == 1)
		return wrong("exception %lu: old_chunk %lu, new_chunk %lu of %lu chunks", st->nr, old, new,
			     chunks);
	if (dense && new != expected)
		return wrong("exception %lu: old_chunk %lu, new_chunk %lu, expected %lu", st->nr, old, new,
			     expected);
	return NULL;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static const char *find_twice(const uint64_t *chunk, uint64_t nr, const char *what)
{
	uint64_t *sorted = malloc((nr + 1) * sizeof(*sorted)), i;
	const char *bad = NULL;

	memcpy(sorted, chunk, nr * sizeof(*sorted));
	qsort(sorted, nr, sizeof(*sorted), compare);
	for (i = 1; i < nr && !bad; i++)
		if (sorted[i] == sorted[i - 1])
			bad = wrong("%s %lu is there twice", what, sorted[i]);
	free(sorted);
	return bad;
}

/* *ended: a terminator was seen */
static const char *read_area(struct store *st, const uint64_t *area, uint64_t chunks, bool dense, bool *ended)
{
	uint64_t j;

	for (j = 0; j < 32u * st->chunk; j++) {
		uint64_t old = le64toh(area[2 * j]), new = le64toh(area[2 * j + 1]);
		const char *bad;

		if (*ended && (old || new))
			return wrong("old_chunk %lu, new_chunk %lu after the terminator", old, new);
		if (!new && old)
			return wrong("terminator: old_chunk %lu", old);
		if (!new) {
			*ended = true;
			continue;
		}
		bad = judge_entry(st, old, new, chunks, dense);
		if (bad)
			return bad;
		st->old_chunk[st->nr] = old;
		st->new_chunk[st->nr++] = new;
	}
	return NULL;
}

static const char *read_areas(struct store *st, int fd, uint64_t cow_sectors, bool dense)
{
	uint64_t chunks = cow_sectors / st->chunk, stride = 32u * st->chunk + 1, at, max;
	uint64_t *area = pages(st->chunk * (size_t)SECTOR);
	const char *bad = NULL;
	bool ended = false;
	int err;

	max = chunks + stride;
	st->old_chunk = calloc(max, sizeof(uint64_t));
	st->new_chunk = calloc(max, sizeof(uint64_t));
	for (at = 1; !bad && !ended; at += stride) {
		if (at >= chunks) {
			bad = wrong("%lu exceptions, and no room for a terminator", st->nr);
			break;
		}
		err = sectors_read(fd, area, at * st->chunk, st->chunk);
		bad = err ? wrong("area at chunk %lu: %s", at, strerror(-err)) :
			    read_area(st, area, chunks, dense, &ended);
	}
	free(area);
	return bad;
}

const char *store_read(struct store *st, int fd, uint64_t cow_sectors, bool dense)
{
	const char *bad;

	memset(st, 0, sizeof(*st));
	bad = read_header(st, fd, cow_sectors);
	if (bad || st->blank || !st->valid)
		return bad;
	bad = read_areas(st, fd, cow_sectors, dense);
	if (!bad)
		bad = find_twice(st->old_chunk, st->nr, "old_chunk");
	if (!bad)
		bad = find_twice(st->new_chunk, st->nr, "new_chunk");
	return bad;
}

void store_free(struct store *st)
{
	free(st->old_chunk);
	free(st->new_chunk);
	memset(st, 0, sizeof(*st));
}
