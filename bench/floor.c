/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * floor - the least work that an exact check of a store can be
 *
 * usage: floor FILE --origin-chunks N            duplicates by a bitmap over the key span
 *        floor FILE --memory BYTES               keys may be anything: hash-partitioned passes
 *
 * Reads the metadata areas with pread(), one by one as the chain goes on.  Each record: new_chunk
 * inside the store, not a metadata chunk, larger than the one before (which makes it unique);
 * old_chunk inside the origin and seen only once; behind the terminator only zeros.  Nothing that a checker
 * may omit, and nothing else: no names, no places, no report, just counts.
 *
 * Exit status 0 clean, 4 something found, 8 could not read.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"

#define AHEAD 16	/* records between prefetch and use; the bitmap is larger than a cache */

struct scan {
	struct geometry g;
	int fd;
	uint64_t next;		/* the chunk that a dense store would use now */
	uint64_t last;		/* new_chunk of the record before */
	uint64_t records;
	uint64_t bad_range, bad_order, bad_old, duplicates, bad_tail;

	uint64_t span;		/* old_chunk is below this */
	uint64_t *bitmap;

	uint64_t *table;	/* 0: free; keys are stored plus one */
	uint64_t slots;		/* power of two */
	uint64_t passes, pass;
};

static void *zeroed(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die(8, "floor: no memory for %zu bytes", len);
	return p;
}

/* anything but the next chunk of a dense store; dense ones satisfy all three conditions */
static __attribute__((noinline)) void check_new(struct scan *s, uint64_t new_chunk)
{
	if (new_chunk < 2 || new_chunk >= s->g.total_chunks || new_chunk % s->g.stride == 1)
		s->bad_range++;
	else if (new_chunk <= s->last)
		s->bad_order++;
	s->next = new_chunk;
}

/* the records of one area; returns how many there are before the terminator */
static uint64_t validate(struct scan *s, uint64_t area, const struct exception_disk *e)
{
	uint64_t end = area_chunk(&s->g, area + 1);
	uint64_t i;

	for (i = 0; i < s->g.entries; i++) {
		uint64_t new_chunk = le64toh(e[i].new_chunk);

		if (!new_chunk)
			break;
		if (new_chunk != s->next || new_chunk >= s->g.total_chunks)
			check_new(s, new_chunk);
		s->last = s->next;
		s->next++;
	}
	if (s->next == end)
		s->next++;
	return i;
}

static void check_tail(struct scan *s, uint64_t from, const struct exception_disk *e)
{
	uint64_t any = from < s->g.entries ? e[from].old_chunk : 0;
	uint64_t i;

	for (i = from; i < s->g.entries; i++)
		any |= e[i].old_chunk | e[i].new_chunk;
	s->bad_tail += any != 0;
}

static void seen_bitmap(struct scan *s, const struct exception_disk *e, uint64_t nr)
{
	uint64_t *bitmap = s->bitmap, span = s->span, duplicates = 0;
	uint64_t i;

	for (i = 0; i < nr; i++) {
		uint64_t old_chunk = le64toh(e[i].old_chunk), bit, word;

		if (i + AHEAD < nr)
			__builtin_prefetch(bitmap + ((le64toh(e[i + AHEAD].old_chunk) &
						      (((uint64_t)1 << 40) - 1)) >> 6), 1);
		if (old_chunk >= span) {
			s->bad_old++;
			continue;
		}
		bit = (uint64_t)1 << (old_chunk & 63);
		word = bitmap[old_chunk >> 6];
		duplicates += (word & bit) != 0;
		bitmap[old_chunk >> 6] = word | bit;
	}
	s->duplicates += duplicates;
}

static inline uint64_t hash(uint64_t key)
{
	key *= 0x9e3779b97f4a7c15u;
	return key ^ key >> 32;
}

static void seen_table(struct scan *s, const struct exception_disk *e, uint64_t nr)
{
	uint64_t slot[AHEAD], key[AHEAD], mask = s->slots - 1;
	uint64_t i;
	unsigned n = 0, k;

	for (i = 0; i < nr; i++) {
		uint64_t old_chunk = le64toh(e[i].old_chunk), h = hash(old_chunk);

		if ((uint64_t)(((h >> 32) * s->passes) >> 32) == s->pass) {
			key[n] = old_chunk + 1;
			slot[n] = h & mask;
			__builtin_prefetch(s->table + slot[n], 1);
			n++;
		}
		if (n < AHEAD && i + 1 < nr)
			continue;
		for (k = 0; k < n; k++) {
			uint64_t at = slot[k];

			while (s->table[at] && s->table[at] != key[k])
				at = (at + 1) & mask;
			s->duplicates += s->table[at] == key[k];
			s->table[at] = key[k];
		}
		n = 0;
	}
}

static void one_pass(struct scan *s, struct exception_disk *e)
{
	uint64_t areas = nr_areas(&s->g), area, nr;

	s->next = 2;
	s->last = 1;
	for (area = 0; area < areas; area++) {
		ssize_t got = pread(s->fd, e, s->g.chunk_bytes,
				    (off_t)(area_chunk(&s->g, area) * s->g.chunk_bytes));

		if (got < 0 || (uint64_t)got != s->g.chunk_bytes)
			die(8, "floor: area %llu: %s", (unsigned long long)area,
			    got < 0 ? strerror(errno) : "short read");
		if (s->pass) {		/* the first pass has validated it */
			for (nr = 0; nr < s->g.entries && e[nr].new_chunk; nr++)
				;
		} else {
			nr = validate(s, area, e);
			s->records += nr;
		}
		if (s->bitmap)
			seen_bitmap(s, e, nr);
		else
			seen_table(s, e, nr);
		if (nr < s->g.entries) {
			check_tail(s, nr, e);
			return;
		}
	}
	die(4, "floor: the chain runs past the end");
}

static void open_store(struct scan *s, const char *path)
{
	struct header_disk h;
	struct stat st;
	uint64_t chunk;

	s->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (s->fd < 0 || fstat(s->fd, &st) || pread(s->fd, &h, sizeof(h), 0) != sizeof(h))
		die(8, "floor: %s: %s", path, strerror(errno));
	chunk = le32toh(h.chunk_size);
	if (le32toh(h.magic) != SNAP_MAGIC || le32toh(h.version) != 1 || le32toh(h.valid) != 1 ||
	    !chunk || chunk & (chunk - 1) || chunk > 1 << 21)
		die(4, "floor: %s: not a valid store", path);
	geometry_set(&s->g, chunk, (uint64_t)st.st_size / 512 / chunk);
}

/* memory as the number of passes: 16 bytes per key keep the table at most half full */
static void plan_passes(struct scan *s, uint64_t memory)
{
	uint64_t keys = s->g.total_chunks - nr_areas(&s->g);

	s->slots = 1 << 10;
	while (s->slots * 2 * sizeof(*s->table) <= memory)
		s->slots *= 2;
	s->passes = (keys * 2 + s->slots - 1) / s->slots;
	s->table = zeroed(s->slots * sizeof(*s->table));
}

int main(int argc, char **argv)
{
	struct scan s = { .passes = 1 };
	struct exception_disk *e;

	if (argc != 4)
		die(16, "usage: floor FILE --origin-chunks N | --memory BYTES");
	open_store(&s, argv[1]);
	if (!strcmp(argv[2], "--origin-chunks")) {
		s.span = parse_number(argv[2], argv[3]);
		s.bitmap = zeroed((s.span / 64 + 1) * sizeof(*s.bitmap));
	} else {
		plan_passes(&s, parse_number(argv[2], argv[3]));
	}
	e = aligned_alloc(4096, (s.g.chunk_bytes + 4095) / 4096 * 4096);
	if (!e)
		die(8, "floor: no memory");
	for (s.pass = 0; s.pass < s.passes; s.pass++) {
		if (s.pass)
			memset(s.table, 0, s.slots * sizeof(*s.table));
		one_pass(&s, e);
	}
	printf("records=%llu passes=%llu bad_range=%llu bad_order=%llu bad_old=%llu duplicates=%llu "
	       "bad_tail=%llu\n", (unsigned long long)s.records, (unsigned long long)s.passes,
	       (unsigned long long)s.bad_range, (unsigned long long)s.bad_order,
	       (unsigned long long)s.bad_old, (unsigned long long)s.duplicates,
	       (unsigned long long)s.bad_tail);
	return s.bad_range || s.bad_order || s.bad_old || s.duplicates || s.bad_tail ? 4 : 0;
}
