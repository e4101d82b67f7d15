/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wcfloor - the least work that an exact check of a writecache cache can be
 *
 * usage: wcfloor FILE --origin-blocks N           duplicates by a bitmap over the origin's blocks
 *        wcfloor FILE --memory BYTES              sectors may be anything: hash-partitioned passes
 *
 * Reads the entries with pread().  Each: free, uncommitted, newer than the superblock (a fault), or
 * committed; a committed one's sector is a multiple of the block size, inside the origin, and stands
 * once.  Nothing that a checker may omit, and nothing else: no names, no winners, just counts.
 *
 * Exit status 0 clean, 4 something found, 8 could not read.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"

#define PIECE (1u << 20)
#define AHEAD 16

struct scan {
	int fd;
	uint64_t entries, seq, shift, mask;
	uint64_t free, uncommitted, newer, bad_sector, duplicates;
	uint64_t span, *bitmap;
	uint64_t *table, slots, passes, pass;
};

static void *zeroed(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die(8, "wcfloor: no memory for %zu bytes", len);
	madvise(p, len, MADV_HUGEPAGE);
	return p;
}

/* true: a committed entry whose block is to be looked up */
static inline bool classify(struct scan *s, const struct cache_entry_disk *e)
{
	uint64_t seq = le64toh(e->seq_count);

	if (seq < s->seq) {
		if (!(le64toh(e->original_sector) & s->mask))
			return true;
		s->bad_sector++;
	} else if (seq == UINT64_MAX) {
		s->free++;
	} else if (seq == s->seq) {
		s->uncommitted++;
	} else {
		s->newer++;
	}
	return false;
}

static void seen_bitmap(struct scan *s, const struct cache_entry_disk *e, uint64_t nr)
{
	uint64_t i;

	for (i = 0; i < nr; i++) {
		uint64_t block = le64toh(e[i].original_sector) >> s->shift, bit;

		if (i + AHEAD < nr)
			__builtin_prefetch(s->bitmap + ((le64toh(e[i + AHEAD].original_sector) >> s->shift &
							 (((uint64_t)1 << 40) - 1)) >> 6), 1);
		if (!classify(s, &e[i]))
			continue;
		if (block >= s->span) {
			s->bad_sector++;
			continue;
		}
		bit = (uint64_t)1 << (block & 63);
		s->duplicates += (s->bitmap[block >> 6] & bit) != 0;
		s->bitmap[block >> 6] |= bit;
	}
}

static inline uint64_t hash(uint64_t key)
{
	key *= 0x9e3779b97f4a7c15u;
	return key ^ key >> 32;
}

static void seen_table(struct scan *s, const struct cache_entry_disk *e, uint64_t nr)
{
	uint64_t slot[AHEAD], key[AHEAD], mask = s->slots - 1, i;
	unsigned n = 0, k;

	for (i = 0; i < nr; i++) {
		uint64_t block = le64toh(e[i].original_sector) >> s->shift, h = hash(block);

		/* the first pass has looked at everything */
		if ((s->pass ? le64toh(e[i].seq_count) < s->seq : classify(s, &e[i])) &&
		    (uint64_t)(((h >> 32) * s->passes) >> 32) == s->pass) {
			key[n] = block + 1;
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

static void one_pass(struct scan *s, uint8_t *buf)
{
	uint64_t bytes = sizeof(struct cache_superblock_disk) + s->entries * 16, off;

	for (off = 0; off < bytes; off += PIECE) {
		size_t want = bytes - off < PIECE ? (size_t)(bytes - off) : PIECE;
		size_t skip = off ? 0 : sizeof(struct cache_superblock_disk);
		const struct cache_entry_disk *e = (const void *)(buf + skip);

		if (pread(s->fd, buf, want, (off_t)off) != (ssize_t)want)
			die(8, "wcfloor: read at %llu: %s", (unsigned long long)off, strerror(errno));
		if (s->bitmap)
			seen_bitmap(s, e, (want - skip) / 16);
		else
			seen_table(s, e, (want - skip) / 16);
	}
}

static void open_cache(struct scan *s, const char *path)
{
	struct cache_superblock_disk sb;
	uint64_t block, metadata;
	struct stat st;

	s->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (s->fd < 0 || fstat(s->fd, &st) || pread(s->fd, &sb, sizeof(sb), 0) != sizeof(sb))
		die(8, "wcfloor: %s: %s", path, strerror(errno));
	block = le32toh(sb.block_size);
	s->entries = le64toh(sb.n_blocks);
	s->seq = le64toh(sb.seq_count);
	if (le32toh(sb.magic) != CACHE_MAGIC || le32toh(sb.version) != 1 || block < 512 ||
	    block & (block - 1) || !s->entries || s->entries > UINT64_MAX / 2 / (block + 16))
		die(4, "wcfloor: %s: not a cache", path);
	metadata = (64 + s->entries * 16 + block - 1) / block * block;
	if (metadata + s->entries * block > (uint64_t)st.st_size)
		die(4, "wcfloor: %s: too small", path);
	s->mask = block / 512 - 1;
	while ((uint64_t)512 << s->shift < block)
		s->shift++;
}

int main(int argc, char **argv)
{
	struct scan s = { .passes = 1 };
	uint8_t *buf;

	if (argc != 4)
		die(16, "usage: wcfloor FILE --origin-blocks N | --memory BYTES");
	open_cache(&s, argv[1]);
	if (!strcmp(argv[2], "--origin-blocks")) {
		s.span = parse_number(argv[2], argv[3]);
		s.bitmap = zeroed((s.span / 64 + 1) * sizeof(*s.bitmap));
	} else {
		s.slots = 1 << 10;
		while (s.slots * 2 * sizeof(*s.table) <= parse_number(argv[2], argv[3]))
			s.slots *= 2;
		s.passes = (s.entries * 2 + s.slots - 1) / s.slots;
		s.table = zeroed(s.slots * sizeof(*s.table));
	}
	buf = aligned_alloc(4096, PIECE);
	if (!buf)
		die(8, "wcfloor: no memory");
	for (s.pass = 0; s.pass < s.passes; s.pass++) {
		if (s.pass)
			memset(s.table, 0, s.slots * sizeof(*s.table));
		one_pass(&s, buf);
	}
	printf("records=%llu passes=%llu free=%llu uncommitted=%llu newer=%llu bad_sector=%llu "
	       "duplicates=%llu\n", (unsigned long long)s.entries, (unsigned long long)s.passes,
	       (unsigned long long)s.free, (unsigned long long)s.uncommitted,
	       (unsigned long long)s.newer, (unsigned long long)s.bad_sector,
	       (unsigned long long)s.duplicates);
	return s.newer || s.bad_sector || s.duplicates ? 4 : 0;
}
