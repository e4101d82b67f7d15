// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * io DEVICE COMMAND... - what the tests of the targets do to a block device, and what they see on it
 *
 * Every sector that is written says what it is: a tag (one letter) and its own number, over and over.
 * So a sector that lies where it does not belong is seen as well as one with old content.  All sizes
 * are sectors of 512 bytes.  One word is printed for each command, all on one line: what is asked for,
 * "ok", or the name of the errno.
 *
 *	w:START:COUNT:TAG	write (O_DIRECT)
 *	W:START:COUNT:TAG	the same with O_DSYNC, that is FUA
 *	s			fsync
 *	d:START:COUNT		discard		z:START:COUNT	zero out
 *	r:START:COUNT:TAG	"ok", or "differs@SECTOR"
 *	m:START:COUNT:STEP	a letter per STEP sectors: its tag, . zeroes, ! cannot be read,
 *				? something else, * not the same in all STEP sectors; COUNT 0: to the end
 *	b:START:COUNT:STEP	the same, wherever the sectors come from (for COW devices)
 *	x:BYTE:LENGTH		bytes as hexadecimal digits
 *	p:BYTE:HEX		put bytes there
 *	l:SEED:MS:MAX		random writes and reads of 1..MAX sectors for MS milliseconds, compared with
 *				a model in memory, which is compared with the whole device at the end;
 *				prints "ok:WRITES"
 *	L:FILE			a device of dm-log-writes as lines in FILE: sector, count, flags (F flush,
 *				A FUA, D discard, M mark, - none), what the first sector holds
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define SECTOR 512
#define BUFFER_SECTORS 2048	/* one I/O is at most this long */

struct io {
	const char *path;
	int fd, dsync_fd;
	uint64_t sectors;
	unsigned char *buf;
};

static const char *name_of(int error)
{
	static char number[24];

	switch (error) {
	case 0: return "ok";
	case EIO: return "EIO";
	case EINVAL: return "EINVAL";
	case ENOSPC: return "ENOSPC";
	case EOPNOTSUPP: return "EOPNOTSUPP";
	case EREMOTEIO: return "EREMOTEIO";
	case EPERM: return "EPERM";
	case EBADF: return "EBADF";
	case EROFS: return "EROFS";
	case ENXIO: return "ENXIO";
	case ENOMEM: return "ENOMEM";
	case ENOTTY: return "ENOTTY";
	}
	snprintf(number, sizeof(number), "errno%d", error);
	return number;
}

/* ---- sectors that say what they are -------------------------------------------------------------- */

static void fill(unsigned char *buf, uint64_t sector, char tag)
{
	char text[33];
	size_t i;

	snprintf(text, sizeof(text), "%c sector %020" PRIu64 ".\n", tag, sector);
	for (i = 0; i < SECTOR; i += 32)
		memcpy(buf + i, text, 32);
}

static bool all_zero(const unsigned char *buf)
{
	return buf[0] == 0 && memcmp(buf, buf + 1, SECTOR - 1) == 0;
}

/* the tag of a sector, '.' or '?'; anywhere: its number may be any */
static char tag_of(const unsigned char *buf, uint64_t sector, bool anywhere)
{
	unsigned char good[SECTOR];
	char number[21] = "";

	if (all_zero(buf))
		return '.';
	if (memcmp(buf + 1, " sector ", 8))
		return '?';
	memcpy(number, buf + 9, 20);
	fill(good, anywhere ? strtoull(number, NULL, 10) : sector, (char)buf[0]);
	return memcmp(buf, good, SECTOR) ? '?' : (char)buf[0];
}

/* ---- input and output ---------------------------------------------------------------------------- */

static int transfer(struct io *io, bool write, int fd, uint64_t sector, uint64_t count)
{
	size_t bytes = count * SECTOR;
	ssize_t done;

	if (write)
		done = pwrite(fd, io->buf, bytes, (off_t)(sector * SECTOR));
	else
		done = pread(fd, io->buf, bytes, (off_t)(sector * SECTOR));
	if (done < 0)
		return errno;
	return (size_t)done == bytes ? 0 : ENOSPC;
}

static int write_tag(struct io *io, int fd, uint64_t start, uint64_t count, char tag)
{
	uint64_t n, i;
	int error;

	for (; count; start += n, count -= n) {
		n = count < BUFFER_SECTORS ? count : BUFFER_SECTORS;
		for (i = 0; i < n; i++)
			fill(io->buf + i * SECTOR, start + i, tag);
		error = transfer(io, true, fd, start, n);
		if (error)
			return error;
	}
	return 0;
}

static void verify(struct io *io, uint64_t start, uint64_t count, char tag)
{
	uint64_t n, i;
	int error;

	for (; count; start += n, count -= n) {
		n = count < BUFFER_SECTORS ? count : BUFFER_SECTORS;
		error = transfer(io, false, io->fd, start, n);
		if (error) {
			printf("%s", name_of(error));
			return;
		}
		for (i = 0; i < n; i++) {
			if (tag_of(io->buf + i * SECTOR, start + i, false) != tag) {
				printf("differs@%" PRIu64, start + i);
				return;
			}
		}
	}
	printf("ok");
}

static char letter(struct io *io, uint64_t start, uint64_t count, bool anywhere)
{
	char tag = 0, one;
	uint64_t n, i;

	for (; count; start += n, count -= n) {
		n = count < BUFFER_SECTORS ? count : BUFFER_SECTORS;
		if (transfer(io, false, io->fd, start, n))
			return '!';
		for (i = 0; i < n; i++) {
			one = tag_of(io->buf + i * SECTOR, start + i, anywhere);
			if (tag && one != tag)
				return '*';
			tag = one;
		}
	}
	return tag;
}

static void map(struct io *io, uint64_t start, uint64_t count, uint64_t step, bool anywhere)
{
	uint64_t end = count ? start + count : io->sectors;

	for (; start < end; start += step)
		putchar(letter(io, start, step < end - start ? step : end - start, anywhere));
}

static int range(struct io *io, unsigned long request, uint64_t start, uint64_t count)
{
	uint64_t bytes[2] = { start * SECTOR, count * SECTOR };

	return ioctl(io->fd, request, bytes) ? errno : 0;
}

/* ---- bytes --------------------------------------------------------------------------------------- */

/* through the page cache, which neither needs alignment nor keeps what it read */
static int open_cached(struct io *io, int flags)
{
	int fd = open(io->path, flags);

	if (fd >= 0)
		ioctl(fd, BLKFLSBUF, 0);
	return fd;
}

static void show_bytes(struct io *io, uint64_t at, uint64_t length)
{
	int fd = open_cached(io, O_RDONLY);
	uint64_t i;

	if (fd < 0 || length > BUFFER_SECTORS * SECTOR ||
	    pread(fd, io->buf, length, (off_t)at) != (ssize_t)length) {
		printf("%s", name_of(errno));
	} else {
		for (i = 0; i < length; i++)
			printf("%02x", io->buf[i]);
	}
	if (fd >= 0)
		close(fd);
}

static int put_bytes(struct io *io, uint64_t at, const char *hex)
{
	size_t length = strlen(hex) / 2, i;
	int fd = open_cached(io, O_WRONLY), error = 0;

	if (fd < 0)
		return errno;
	for (i = 0; i < length; i++)
		sscanf(hex + 2 * i, "%2hhx", io->buf + i);
	if (pwrite(fd, io->buf, length, (off_t)at) != (ssize_t)length || fsync(fd))
		error = errno;
	close(fd);
	return error;
}

/* ---- random load --------------------------------------------------------------------------------- */

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* read the range into the model (learn), or compare it with the model; false: said what is wrong */
static bool model_read(struct io *io, char *model, uint64_t start, uint64_t n, bool learn)
{
	int error = transfer(io, false, io->fd, start, n);
	uint64_t i;
	char tag;

	if (error) {
		printf("read:%s@%" PRIu64, name_of(error), start);
		return false;
	}
	for (i = 0; i < n; i++) {
		tag = tag_of(io->buf + i * SECTOR, start + i, false);
		if (learn) {
			model[start + i] = tag;
		} else if (tag != model[start + i]) {
			printf("differs@%" PRIu64 ":%c,%c", start + i, tag, model[start + i]);
			return false;
		}
	}
	return true;
}

static bool model_whole(struct io *io, char *model, bool learn)
{
	uint64_t at, n;

	for (at = 0; at < io->sectors; at += n) {
		n = io->sectors - at < BUFFER_SECTORS ? io->sectors - at : BUFFER_SECTORS;
		if (!model_read(io, model, at, n, learn))
			return false;
	}
	return true;
}

static bool one_write(struct io *io, char *model, uint64_t start, uint64_t n, char tag)
{
	int error;

	error = write_tag(io, io->fd, start, n, tag);
	if (error) {
		printf("write:%s@%" PRIu64, name_of(error), start);
		return false;
	}
	memset(model + start, tag, n);
	return true;
}

static void load(struct io *io, uint64_t seed, uint64_t ms, uint64_t max)
{
	uint64_t end = now_ms() + ms, state = seed * 2654435761u + 88172645463325252u, start, n, writes = 0;
	char *model = malloc(io->sectors);
	bool good = model && model_whole(io, model, true);

	while (good && now_ms() < end) {
		n = 1 + next_random(&state) % max;
		start = next_random(&state) % (io->sectors - n + 1);
		if (next_random(&state) % 3) {
			good = one_write(io, model, start, n, (char)('a' + next_random(&state) % 26));
			writes++;
		} else {
			good = model_read(io, model, start, n, false);
		}
	}
	if (good && model_whole(io, model, false))
		printf("ok:%" PRIu64, writes);
	free(model);
}

/* ---- what dm-log-writes recorded (Documentation/admin-guide/device-mapper/log-writes.rst) --------- */

static uint64_t le64(const unsigned char *p)
{
	uint64_t v = 0;
	int i;

	for (i = 7; i >= 0; i--)
		v = v << 8 | p[i];
	return v;
}

static void log_flags(FILE *out, uint64_t flags)
{
	static const char letters[] = "FADM";
	int i;

	if (!(flags & 15))
		fputc('-', out);
	for (i = 0; i < 4; i++) {
		if (flags >> i & 1)
			fputc(letters[i], out);
	}
}

static void log_content(FILE *out, const unsigned char *sector)
{
	if (!memcmp(sector, "SnAp", 4))
		fprintf(out, " header%u\n", sector[4]);
	else
		fprintf(out, " %c\n", tag_of(sector, 0, true));
}

static int read_log(struct io *io, const char *file)
{
	uint64_t nr, i, at, unit, count, flags;
	unsigned char entry[32];
	FILE *out = fopen(file, "w");
	int error;

	if (!out)
		return errno;
	error = transfer(io, false, io->fd, 0, 1);
	nr = le64(io->buf + 16);
	unit = (le64(io->buf + 24) & 0xffffffff) / SECTOR;
	at = unit;
	for (i = 0; !error && i < nr; i++) {
		error = transfer(io, false, io->fd, at, unit);
		memcpy(entry, io->buf, sizeof(entry));
		count = le64(entry + 8);
		flags = le64(entry + 16);
		at += unit;
		fprintf(out, "%" PRIu64 " %" PRIu64 " ", le64(entry), count);
		log_flags(out, flags);
		if (count && !(flags & 4)) {
			error = transfer(io, false, io->fd, at, 1);
			log_content(out, io->buf);
			at += count * unit;
		} else {
			fputs(" none\n", out);
		}
	}
	fclose(out);
	return error;
}

/* ---- commands ------------------------------------------------------------------------------------ */

static bool run_words(struct io *io, const char *word)
{
	char *text = strchr(word + 2, ':');

	switch (word[0]) {
	case 'L':
		printf("%s", name_of(read_log(io, word + 2)));
		return true;
	case 'p':
		if (!text)
			return false;
		printf("%s", name_of(put_bytes(io, strtoull(word + 2, NULL, 0), text + 1)));
		return true;
	}
	return false;
}

static bool run(struct io *io, const char *word)
{
	uint64_t start = 0, count = 0, step = 0;
	char tag = 0;
	int n = sscanf(word + 1, ":%" SCNu64 ":%" SCNu64 ":%" SCNu64, &start, &count, &step);

	if (n == 2)
		sscanf(word + 1, ":%*u:%*u:%c", &tag);
	if (word[0] == 's' && !word[1])
		printf("%s", name_of(fsync(io->fd) ? errno : 0));
	else if (strchr("wW", word[0]) && tag)
		printf("%s", name_of(write_tag(io, word[0] == 'w' ? io->fd : io->dsync_fd, start,
					       count, tag)));
	else if (word[0] == 'r' && tag)
		verify(io, start, count, tag);
	else if (strchr("mb", word[0]) && n == 3 && step)
		map(io, start, count, step, word[0] == 'b');
	else if (word[0] == 'd' && n == 2)
		printf("%s", name_of(range(io, BLKDISCARD, start, count)));
	else if (word[0] == 'z' && n == 2)
		printf("%s", name_of(range(io, BLKZEROOUT, start, count)));
	else if (word[0] == 'x' && n == 2)
		show_bytes(io, start, count);
	else if (word[0] == 'l' && n == 3 && step && step <= BUFFER_SECTORS)
		load(io, start, count, step);
	else
		return word[0] && word[1] == ':' && run_words(io, word);
	return true;
}

static int open_device(struct io *io)
{
	uint64_t bytes;

	io->fd = open(io->path, O_RDWR | O_DIRECT);
	io->dsync_fd = open(io->path, O_RDWR | O_DIRECT | O_DSYNC);
	if (io->fd < 0)
		io->fd = open(io->path, O_RDONLY | O_DIRECT);
	if (io->fd < 0 || ioctl(io->fd, BLKGETSIZE64, &bytes))
		return errno;
	io->sectors = bytes / SECTOR;
	return posix_memalign((void **)&io->buf, 4096, BUFFER_SECTORS * SECTOR);
}

int main(int argc, char **argv)
{
	struct io io = { .path = argc > 1 ? argv[1] : "" };
	int i, error;

	if (argc < 3) {
		fprintf(stderr, "usage: io DEVICE COMMAND...\n");
		return 16;
	}
	error = open_device(&io);
	if (error) {
		printf("open:%s\n", name_of(error));
		return 8;
	}
	for (i = 2; i < argc; i++) {
		if (i > 2)
			putchar(' ');
		if (!run(&io, argv[i])) {
			fprintf(stderr, "io: %s: no such command\n", argv[i]);
			return 16;
		}
	}
	putchar('\n');
	return 0;
}
