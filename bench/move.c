// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * move - what moving data costs at least, and at most
 *
 *   move make  ORIGIN COW [OPTION]...   an origin and a store over it, both full of a known pattern
 *   move arm   COW [OPTION]...          write header and areas again, after a merge has emptied them
 *   move check ORIGIN [OPTION]... merged|unmerged
 *                                       does the origin hold what it should, in every byte
 *   move best  COW ORIGIN [OPTION]...   copy the same bytes as fast as this machine can: O_DIRECT,
 *                                       1 MiB at a time where they adjoin, 64 in flight, one sync
 *   move plain COW ORIGIN [OPTION]...   copy chunk by chunk in entry order: pread, pwrite, and
 *                                       fdatasync after each area
 *
 * Options, the same for all commands on one pair of files:
 *   --origin-mib N (4096)  --data-mib N (1024)  --chunk-size SECTORS (8)
 *   --layout runs|scattered (runs: as long as an area allows; scattered: single chunks in random order)
 *   --run-mib N (64)       --seed N (1)
 *   --cache                a writecache cache with dirty blocks in place of a snapshot's store
 *
 * Nothing here comes from libdmfmt.
 */
#include <fcntl.h>
#include <getopt.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef HAVE_LIBURING
#include <liburing.h>
#endif
#include "bench.h"

#define IO_BYTES (1u << 20)
#define DEPTH 64u

struct setup {
	struct geometry g;
	uint64_t origin_chunks, nr, seed, run_chunks;
	bool scattered, cache;
	uint64_t *old;		/* of exception i, in entry order */
	uint32_t *which;	/* of origin chunk c: 1 + its exception, 0 none */
};

static uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdull;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53ull;
	return x ^ x >> 33;
}

/* of a writecache cache: bytes in front of the first block */
static uint64_t metadata_bytes(const struct setup *s)
{
	return (64 + s->nr * sizeof(struct cache_entry_disk) + s->g.chunk_bytes - 1) / s->g.chunk_bytes *
	       s->g.chunk_bytes;
}

/* where the data of record i are, bytes */
static uint64_t place(const struct setup *s, uint64_t i)
{
	if (s->cache)
		return metadata_bytes(s) + i * s->g.chunk_bytes;
	return (i / s->g.entries * s->g.stride + 2 + i % s->g.entries) * s->g.chunk_bytes;
}

/* the pattern of a chunk: its number and whose it is, all over */
static void fill(const struct setup *s, void *buf, uint64_t chunk, uint64_t tag)
{
	uint64_t *p = buf, base = mix(chunk * 2 + tag + s->seed * 0x9e3779b97f4a7c15ull);
	size_t i;

	for (i = 0; i < s->g.chunk_bytes / 8; i++)
		p[i] = base + i;
}

static void lay_out(struct setup *s)
{
	uint64_t i, j, t;

	s->old = malloc(s->origin_chunks * sizeof(*s->old));
	s->which = calloc(s->origin_chunks, sizeof(*s->which));
	if (!s->old || !s->which)
		die(2, "no memory");
	for (i = 0; i < s->origin_chunks; i++)
		s->old[i] = i;
	if (s->scattered) {
		for (i = 0; i < s->nr; i++) {
			j = i + mix(i + s->seed) % (s->origin_chunks - i);
			t = s->old[i];
			s->old[i] = s->old[j];
			s->old[j] = t;
		}
	} else {
		/* runs at equal distances, so that origin and store do not lie alike */
		uint64_t runs = (s->nr + s->run_chunks - 1) / s->run_chunks;
		uint64_t step = s->origin_chunks / runs;

		for (i = 0; i < s->nr; i++)
			s->old[i] = i / s->run_chunks * step + i % s->run_chunks;
	}
	for (i = 0; i < s->nr; i++)
		s->which[s->old[i]] = (uint32_t)i + 1;
}

static int open_file(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0600);

	if (fd < 0)
		die(2, "%s: %s", path, strerror(errno));
	return fd;
}

static void *buffer(size_t len)
{
	void *p;

	if (posix_memalign(&p, 4096, len))
		die(2, "no memory");
	return p;
}

static void put(int fd, const void *buf, size_t len, uint64_t off)
{
	if (pwrite(fd, buf, len, off) != (ssize_t)len)
		die(2, "write at %llu: %s", (unsigned long long)off, strerror(errno));
}

static void get(int fd, void *buf, size_t len, uint64_t off)
{
	if (pread(fd, buf, len, off) != (ssize_t)len)
		die(2, "read at %llu: %s", (unsigned long long)off, strerror(errno));
}

static void sync_file(int fd)
{
	if (fdatasync(fd))
		die(2, "fdatasync: %s", strerror(errno));
}

/* ---- make, arm, check ------------------------------------------------------------------------- */

/* all blocks dirty, in three epochs */
static void arm_cache(const struct setup *s, const char *path)
{
	struct cache_superblock_disk *sb = buffer(metadata_bytes(s));
	struct cache_entry_disk *e = (struct cache_entry_disk *)(sb + 1);
	int fd = open_file(path, O_RDWR);
	uint64_t i;

	memset(sb, 0, metadata_bytes(s));
	*sb = (struct cache_superblock_disk){ htole32(CACHE_MAGIC), htole32(1),
					      htole32((uint32_t)s->g.chunk_bytes), 0, htole64(s->nr),
					      htole64(3), { 0 } };
	for (i = 0; i < s->nr; i++) {
		e[i].original_sector = htole64(s->old[i] * s->g.chunk_sectors);
		e[i].seq_count = htole64(i * 3 / s->nr);
	}
	put(fd, sb, metadata_bytes(s), 0);
	sync_file(fd);
	close(fd);
	free(sb);
}

static void arm_store(const struct setup *s, const char *cow)
{
	const struct header_disk h = { htole32(SNAP_MAGIC), htole32(1), htole32(1),
				       htole32((uint32_t)s->g.chunk_sectors) };
	struct exception_disk *area = buffer(s->g.chunk_bytes);
	uint64_t areas = s->nr / s->g.entries + 1, k, i, j;
	int fd = open_file(cow, O_RDWR);

	for (k = 0; k < areas; k++) {
		memset(area, 0, s->g.chunk_bytes);
		for (j = 0, i = k * s->g.entries; j < s->g.entries && i < s->nr; i++, j++) {
			area[j].old_chunk = htole64(s->old[i]);
			area[j].new_chunk = htole64(place(s, i) / s->g.chunk_bytes);
		}
		put(fd, area, s->g.chunk_bytes, area_chunk(&s->g, k) * s->g.chunk_bytes);
	}
	memset(area, 0, s->g.chunk_bytes);
	memcpy(area, &h, sizeof(h));
	put(fd, area, s->g.chunk_bytes, 0);
	sync_file(fd);
	close(fd);
	free(area);
}

static void arm(const struct setup *s, const char *path)
{
	if (s->cache)
		arm_cache(s, path);
	else
		arm_store(s, path);
}

static void make(const struct setup *s, const char *origin, const char *cow)
{
	void *buf = buffer(s->g.chunk_bytes);
	uint64_t i;
	int fd = open_file(origin, O_RDWR | O_CREAT | O_TRUNC);

	for (i = 0; i < s->origin_chunks; i++) {
		fill(s, buf, i, 0);
		put(fd, buf, s->g.chunk_bytes, i * s->g.chunk_bytes);
	}
	sync_file(fd);
	close(fd);
	fd = open_file(cow, O_RDWR | O_CREAT | O_TRUNC);
	for (i = 0; i < s->nr; i++) {
		fill(s, buf, s->old[i], 1);
		put(fd, buf, s->g.chunk_bytes, place(s, i));
	}
	/* a store: room for the area behind the last one, and not the edge at which it cannot grow */
	if (ftruncate(fd, (off_t)(place(s, s->nr) + (s->cache ? 0 : 3 * s->g.chunk_bytes))))
		die(2, "%s: %s", cow, strerror(errno));
	sync_file(fd);
	close(fd);
	free(buf);
	arm(s, cow);
}

static void check(const struct setup *s, const char *origin, bool merged)
{
	uint8_t *want = buffer(s->g.chunk_bytes), *have = buffer(s->g.chunk_bytes);
	int fd = open_file(origin, O_RDONLY);
	uint64_t i;

	for (i = 0; i < s->origin_chunks; i++) {
		get(fd, have, s->g.chunk_bytes, i * s->g.chunk_bytes);
		fill(s, want, i, merged && s->which[i]);
		if (memcmp(have, want, s->g.chunk_bytes))
			die(2, "%s: chunk %llu is not what it should be", origin,
			    (unsigned long long)i);
	}
	close(fd);
	free(want);
	free(have);
}

/* ---- the plain way ---------------------------------------------------------------------------- */

static void plain(const struct setup *s, const char *cow, const char *origin)
{
	int from = open_file(cow, O_RDONLY), to = open_file(origin, O_RDWR);
	void *buf = buffer(s->g.chunk_bytes);
	uint64_t i;

	for (i = 0; i < s->nr; i++) {
		get(from, buf, s->g.chunk_bytes, place(s, i));
		put(to, buf, s->g.chunk_bytes, s->old[i] * s->g.chunk_bytes);
		if (i % s->g.entries == s->g.entries - 1)
			sync_file(to);
	}
	sync_file(to);
	free(buf);
	close(from);
	close(to);
}

/* ---- the best way ----------------------------------------------------------------------------- */

struct extent {
	uint64_t from, to, len;
};

/* what adjoins on both sides, at most IO_BYTES of it, sorted by destination */
static int by_to(const void *a, const void *b)
{
	const struct extent *x = a, *y = b;

	return x->to < y->to ? -1 : x->to > y->to;
}

static struct extent *extents(const struct setup *s, size_t *nr)
{
	struct extent *e = malloc(s->nr * sizeof(*e));
	uint64_t i, b = s->g.chunk_bytes;
	size_t n = 0;

	if (!e)
		die(2, "no memory");
	for (i = 0; i < s->nr; i++) {
		struct extent x = { place(s, i), s->old[i] * b, b };

		if (n && e[n - 1].from + e[n - 1].len == x.from &&
		    e[n - 1].to + e[n - 1].len == x.to && e[n - 1].len + b <= IO_BYTES)
			e[n - 1].len += b;
		else
			e[n++] = x;
	}
	qsort(e, n, sizeof(*e), by_to);
	*nr = n;
	return e;
}

#ifdef HAVE_LIBURING
struct slot {
	struct extent x;
	uint8_t *buf;
	bool writing;
};

static void start(struct io_uring *ring, struct slot *s, int from, int to)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	if (!sqe)
		die(2, "io_uring: no room");
	if (s->writing)
		io_uring_prep_write(sqe, to, s->buf, (unsigned)s->x.len, s->x.to);
	else
		io_uring_prep_read(sqe, from, s->buf, (unsigned)s->x.len, s->x.from);
	io_uring_sqe_set_data(sqe, s);
}

static void best(const struct setup *set, const char *cow, const char *origin)
{
	int from = open_file(cow, O_RDONLY | O_DIRECT), to = open_file(origin, O_RDWR | O_DIRECT);
	struct slot slots[DEPTH];
	struct io_uring ring;
	size_t nr, next = 0, busy = 0, i;
	struct extent *e = extents(set, &nr);

	if (io_uring_queue_init(DEPTH, &ring, 0))
		die(2, "io_uring: %s", strerror(errno));
	for (i = 0; i < DEPTH && next < nr; i++) {
		slots[i] = (struct slot){ e[next++], buffer(IO_BYTES), false };
		start(&ring, &slots[i], from, to);
		busy++;
	}
	while (busy) {
		struct io_uring_cqe *cqe;
		unsigned head, seen = 0;

		if (io_uring_submit_and_wait(&ring, 1) < 0 && errno != EINTR)
			die(2, "io_uring: %s", strerror(errno));
		io_uring_for_each_cqe(&ring, head, cqe) {
			struct slot *s = io_uring_cqe_get_data(cqe);

			seen++;
			if (cqe->res != (int)s->x.len)
				die(2, "%s at %llu: %d", s->writing ? "write" : "read",
				    (unsigned long long)s->x.to, cqe->res);
			if (s->writing) {
				busy--;
				if (next == nr)
					continue;
				s->x = e[next++];
				busy++;
			}
			s->writing = !s->writing;
			start(&ring, s, from, to);
		}
		io_uring_cq_advance(&ring, seen);
	}
	sync_file(to);
	io_uring_queue_exit(&ring);
	close(from);
	close(to);
}
#else
static void best(const struct setup *set, const char *cow, const char *origin)
{
	int from = open_file(cow, O_RDONLY | O_DIRECT), to = open_file(origin, O_RDWR | O_DIRECT);
	uint8_t *buf = buffer(IO_BYTES);
	size_t nr, i;
	struct extent *e = extents(set, &nr);

	for (i = 0; i < nr; i++) {
		get(from, buf, e[i].len, e[i].from);
		put(to, buf, e[i].len, e[i].to);
	}
	sync_file(to);
	close(from);
	close(to);
}
#endif

/* ---- the command line --------------------------------------------------------------------------- */

static uint64_t number(const char *arg)
{
	char *end;
	unsigned long long v = strtoull(arg, &end, 10);

	if (!*arg || *end || !v)
		die(16, "%s: expected a number above 0", arg);
	return v;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "origin-mib", 1, NULL, 'o' }, { "data-mib", 1, NULL, 'd' },
		{ "chunk-size", 1, NULL, 'c' }, { "layout", 1, NULL, 'l' },
		{ "run-mib", 1, NULL, 'r' }, { "seed", 1, NULL, 's' },
		{ "cache", 0, NULL, 'w' }, { 0 }
	};
	uint64_t origin_mib = 4096, data_mib = 1024, chunk = 8, run_mib = 64;
	struct setup s = { .seed = 1 };
	const char *what;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'o': origin_mib = number(optarg); break;
		case 'd': data_mib = number(optarg); break;
		case 'c': chunk = number(optarg); break;
		case 'l': s.scattered = !strcmp(optarg, "scattered"); break;
		case 'r': run_mib = number(optarg); break;
		case 's': s.seed = number(optarg); break;
		case 'w': s.cache = true; break;
		default: return 16;
		}
	}
	argv += optind;
	argc -= optind;
	if (argc < 2 || chunk & (chunk - 1) || data_mib > origin_mib)
		die(16, "usage: move make|arm|check|best|plain FILE... [OPTION]...");
	what = argv[0];
	geometry_set(&s.g, chunk, UINT64_MAX);
	s.origin_chunks = (origin_mib << 20) / s.g.chunk_bytes;
	s.nr = (data_mib << 20) / s.g.chunk_bytes;
	s.run_chunks = (run_mib << 20) / s.g.chunk_bytes;
	if (!s.run_chunks || !s.nr)
		die(16, "a chunk is larger than a run, or than the data");
	lay_out(&s);
	if (!strcmp(what, "make") && argc == 3)
		make(&s, argv[1], argv[2]);
	else if (!strcmp(what, "arm") && argc == 2)
		arm(&s, argv[1]);
	else if (!strcmp(what, "check") && argc == 3)
		check(&s, argv[1], !strcmp(argv[2], "merged"));
	else if (!strcmp(what, "best") && argc == 3)
		best(&s, argv[1], argv[2]);
	else if (!strcmp(what, "plain") && argc == 3)
		plain(&s, argv[1], argv[2]);
	else
		die(16, "%s: no such command", what);
	free(s.old);
	free(s.which);
	return 0;
}
