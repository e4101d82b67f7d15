/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * coldread - read all metadata areas of a store at a fixed queue depth, and look at nothing
 *
 * usage: coldread FILE [--depth N] [--buffered] [--threads]
 *
 * What a checker cannot be faster than when nothing is cached: as many reads in flight as
 * --depth says (16), each one chunk, at positions known beforehand.  O_DIRECT unless --buffered;
 * io_uring unless --threads or it is not there.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef HAVE_LIBURING
#include <liburing.h>
#endif

#include "bench.h"

#define MAX_DEPTH 256

struct reader {
	struct geometry g;
	const char *path;
	int fd;
	uint64_t areas;
	unsigned depth;
	uint64_t next;		/* next area to ask for; threads take it atomically */
	char *buffers;		/* depth chunks */
};

static off_t area_offset(const struct reader *r, uint64_t area)
{
	return (off_t)(area_chunk(&r->g, area) * r->g.chunk_bytes);
}

static void check_result(const struct reader *r, uint64_t area, long got)
{
	if (got < 0 || (uint64_t)got != r->g.chunk_bytes)
		die(8, "coldread: %s: area %llu: %s", r->path, (unsigned long long)area,
		    got < 0 ? strerror((int)-got) : "short read");
}

static void *thread_main(void *arg)
{
	struct reader *r = arg;
	void *buf = aligned_alloc(4096, (r->g.chunk_bytes + 4095) / 4096 * 4096);
	uint64_t area;

	while (buf && (area = __atomic_fetch_add(&r->next, 1, __ATOMIC_RELAXED)) < r->areas) {
		ssize_t got = pread(r->fd, buf, r->g.chunk_bytes, area_offset(r, area));

		check_result(r, area, got < 0 ? -errno : got);
	}
	free(buf);
	return NULL;
}

static void read_threads(struct reader *r)
{
	pthread_t threads[MAX_DEPTH];
	unsigned i;

	for (i = 0; i < r->depth; i++)
		if (pthread_create(&threads[i], NULL, thread_main, r))
			die(8, "coldread: no thread");
	for (i = 0; i < r->depth; i++)
		pthread_join(threads[i], NULL);
}

#ifdef HAVE_LIBURING
static void ask(struct reader *r, struct io_uring *ring, unsigned slot)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	io_uring_prep_read(sqe, r->fd, r->buffers + slot * r->g.chunk_bytes,
			   (unsigned)r->g.chunk_bytes, (uint64_t)area_offset(r, r->next++));
	io_uring_sqe_set_data(sqe, (void *)(uintptr_t)slot);
}

static bool read_uring(struct reader *r)
{
	struct io_uring ring;
	uint64_t done = 0;
	unsigned slot;

	if (io_uring_queue_init(r->depth, &ring, 0) < 0)
		return false;
	r->buffers = aligned_alloc(4096, ((uint64_t)r->depth * r->g.chunk_bytes + 4095) / 4096 * 4096);
	if (!r->buffers)
		die(8, "coldread: no memory");
	for (slot = 0; slot < r->depth && r->next < r->areas; slot++)
		ask(r, &ring, slot);
	while (done < r->areas) {
		struct io_uring_cqe *cqe;

		if (io_uring_submit_and_wait(&ring, 1) < 0)
			die(8, "coldread: %s: io_uring", r->path);
		while (!io_uring_peek_cqe(&ring, &cqe)) {
			check_result(r, done, cqe->res);
			slot = (unsigned)(uintptr_t)io_uring_cqe_get_data(cqe);
			io_uring_cqe_seen(&ring, cqe);
			done++;
			if (r->next < r->areas)
				ask(r, &ring, slot);
		}
	}
	io_uring_queue_exit(&ring);
	free(r->buffers);
	return true;
}
#else
static bool read_uring(struct reader *r)
{
	return false;
}
#endif

static void open_store(struct reader *r, bool direct)
{
	struct header_disk h;
	struct stat st;
	uint64_t chunk;
	int fd = open(r->path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) || pread(fd, &h, sizeof(h), 0) != sizeof(h))
		die(8, "coldread: %s: %s", r->path, strerror(errno));
	chunk = le32toh(h.chunk_size);
	if (le32toh(h.magic) != SNAP_MAGIC || !chunk || chunk & (chunk - 1) || chunk > 1 << 21)
		die(8, "coldread: %s: not a store", r->path);
	geometry_set(&r->g, chunk, (uint64_t)st.st_size / 512 / chunk);
	r->areas = nr_areas(&r->g);
	r->fd = fd;
	if (!direct)
		return;
	r->fd = open(r->path, O_RDONLY | O_CLOEXEC | O_DIRECT);
	if (r->fd < 0)
		die(8, "coldread: %s: O_DIRECT: %s", r->path, strerror(errno));
	close(fd);
}

int main(int argc, char **argv)
{
	struct reader r = { .depth = 16 };
	bool direct = true, threads = false;
	int i;

	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--buffered"))
			direct = false;
		else if (!strcmp(argv[i], "--threads"))
			threads = true;
		else if (!strcmp(argv[i], "--depth") && i + 1 < argc)
			r.depth = (unsigned)parse_number("--depth", argv[++i]);
		else if (!r.path && argv[i][0] != '-')
			r.path = argv[i];
		else
			r.depth = 0;
	}
	if (!r.path || r.depth < 1 || r.depth > MAX_DEPTH)
		die(16, "usage: coldread FILE [--depth 1..%d] [--buffered] [--threads]", MAX_DEPTH);
	open_store(&r, direct);
	if (threads || !read_uring(&r)) {
		threads = true;
		read_threads(&r);
	}
	printf("areas=%llu bytes=%llu depth=%u direct=%d engine=%s\n", (unsigned long long)r.areas,
	       (unsigned long long)(r.areas * r.g.chunk_bytes), r.depth, direct,
	       threads ? "threads" : "io_uring");
	return 0;
}
