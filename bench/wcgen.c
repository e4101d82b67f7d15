/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wcgen - make a writecache cache of N committed entries
 *
 * Only superblock and entries are written, data blocks stay holes: 2^28 entries take 4 GiB.  The blocks
 * of the origin are a seeded permutation of the span, the seq_count of each entry is below the
 * superblock's.  One line of key=value pairs on standard output says what was made.
 *
 * --plant puts one fault into the last 64th of the entries:
 *   superseded   a sector again, in a newer epoch     same-sequence  the same in the same epoch
 *   newer        an entry newer than the superblock   unaligned      a sector that is no block's
 */
#include <fcntl.h>
#include <getopt.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"

#define EPOCHS 1000u
#define BATCH (1u << 16)

enum plant { NONE, SUPERSEDED, SAME_SEQUENCE, NEWER, UNALIGNED };
static const char *const plants[] = { "none", "superseded", "same-sequence", "newer", "unaligned" };

struct job {
	uint64_t entries, span, seed, block_bytes, metadata;
	struct permutation perm;
	enum plant plant;
	uint64_t planted, other;
};

static struct cache_entry_disk entry(const struct job *j, uint64_t i)
{
	struct cache_entry_disk e = { permute(&j->perm, i) * (j->block_bytes / 512),
				      mix64(i + j->seed) % EPOCHS };

	if (i != j->planted)
		return e;
	switch (j->plant) {
	case SUPERSEDED:
	case SAME_SEQUENCE:
		e = (struct cache_entry_disk){
			permute(&j->perm, j->other) * (j->block_bytes / 512),
			mix64(j->other + j->seed) % EPOCHS + (j->plant == SUPERSEDED ? EPOCHS : 0) };
		break;
	case NEWER:
		e.seq_count = 5 * EPOCHS;
		break;
	case UNALIGNED:
		e.original_sector++;
		break;
	case NONE:
		break;
	}
	return e;
}

static void put(int fd, const char *path, const void *buf, size_t len, uint64_t off)
{
	if (pwrite(fd, buf, len, (off_t)off) != (ssize_t)len)
		die(8, "%s: write at %llu: %s", path, (unsigned long long)off, strerror(errno));
}

static void write_cache(const struct job *j, const char *path)
{
	struct cache_superblock_disk sb = {
		htole32(CACHE_MAGIC), htole32(1), htole32((uint32_t)j->block_bytes), 0,
		htole64(j->entries), htole64(2 * EPOCHS), { 0 } };
	struct cache_entry_disk *e = malloc(BATCH * sizeof(*e));
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	uint64_t i, k;

	if (fd < 0 || !e)
		die(8, "%s: %s", path, strerror(errno));
	put(fd, path, &sb, sizeof(sb), 0);
	for (i = 0; i < j->entries; i += k) {
		for (k = 0; k < BATCH && i + k < j->entries; k++) {
			struct cache_entry_disk x = entry(j, i + k);

			e[k].original_sector = htole64(x.original_sector);
			e[k].seq_count = htole64(x.seq_count);
		}
		put(fd, path, e, k * sizeof(*e), sizeof(sb) + i * sizeof(*e));
	}
	if (ftruncate(fd, (off_t)(j->metadata + j->entries * j->block_bytes)) || fsync(fd) || close(fd))
		die(8, "%s: %s", path, strerror(errno));
	free(e);
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "entries", 1, NULL, 'n' }, { "span", 1, NULL, 's' }, { "seed", 1, NULL, 'r' },
		{ "block-size", 1, NULL, 'b' }, { "plant", 1, NULL, 'p' }, { 0 }
	};
	struct job j = { .entries = 1 << 20, .seed = 1, .block_bytes = 4096, .planted = UINT64_MAX };
	unsigned i;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'n': j.entries = parse_number("--entries", optarg); break;
		case 's': j.span = parse_number("--span", optarg); break;
		case 'r': j.seed = parse_number("--seed", optarg); break;
		case 'b': j.block_bytes = parse_number("--block-size", optarg); break;
		case 'p':
			for (i = 0; i < 5 && strcmp(optarg, plants[i]); i++)
				;
			if (i == 5)
				die(16, "--plant: not known: %s", optarg);
			j.plant = (enum plant)i;
			break;
		default: return 16;
		}
	}
	if (!j.span)
		j.span = j.entries;
	if (optind + 1 != argc || j.entries < 128 || j.span < j.entries)
		die(16, "usage: wcgen [--entries N] [--span BLOCKS] [--seed X] [--block-size B] [--plant F] FILE");
	j.metadata = (64 + j.entries * 16 + j.block_bytes - 1) / j.block_bytes * j.block_bytes;
	permutation_init(&j.perm, j.span, j.seed, ORDER_RANDOM);
	if (j.plant) {
		j.planted = j.entries - 1 - mix64(j.seed + j.plant) % (j.entries / 64);
		j.other = mix64(j.seed * 3 + j.plant) % (j.entries / 2);
	}
	write_cache(&j, argv[optind]);
	printf("entries=%llu block_size=%llu span=%llu metadata=%llu plant=%s record=%lld other=%llu\n",
	       (unsigned long long)j.entries, (unsigned long long)j.block_bytes,
	       (unsigned long long)j.span, (unsigned long long)j.metadata, plants[j.plant],
	       (long long)j.planted, (unsigned long long)j.other);
	return 0;
}
