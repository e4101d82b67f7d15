// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * mkcache DESCRIPTION FILE - makes a writecache cache, sound or damaged, from a description.
 * One statement a line, '#' begins a comment; numbers as strtoull(3) reads them.
 *
 *   cache B SECTORS [START]     block size in bytes, size of the device and start_sector; first line.
 *                               Superblock as the kernel formats it, all entries free, zeros behind them
 *   blank SECTORS               the same size for all that follows, but nothing is written
 *   superblock M V B PAD N SEQ  its fields instead
 *   seq S                       seq_count of the superblock
 *   entry I SECTOR SEQ          one entry
 *   run I N SECTOR SEQ          N entries from I on, of blocks that follow each other
 *   entries I N SECTOR SEQ      the same
 *   block I BYTE                fill a data block
 *   wipe                        zero the first 4096 bytes from START on, as LVM does before it attaches
 *   fill OFFSET LENGTH BYTE     anything, from the start of the device
 *   noise OFFSET LENGTH         bytes in no order, none of them zero, the same each time
 *   bytes OFFSET HEX            raw bytes
 *   size BYTES                  cut or grow the file, last
 */
#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t block, start, nr;	/* bytes, bytes, blocks */
static FILE *out;
static unsigned line_nr;

static void die(const char *what)
{
	fprintf(stderr, "mkcache: line %u: %s\n", line_nr, what);
	exit(1);
}

static void put(uint64_t off, const void *p, size_t len)
{
	if (fseeko(out, (off_t)off, SEEK_SET) || fwrite(p, 1, len, out) != len)
		die(strerror(errno));
}

static void put_le(uint64_t off, uint64_t v, unsigned bytes)
{
	unsigned char b[8];
	unsigned i;

	for (i = 0; i < bytes; i++)
		b[i] = (unsigned char)(v >> 8 * i);
	put(off, b, bytes);
}

static void fill(uint64_t off, uint64_t len, unsigned char byte)
{
	while (len--)
		put(off++, &byte, 1);
}

static void noise(uint64_t off, uint64_t len)
{
	uint32_t v = 1;

	while (len--) {
		unsigned char byte;

		v = v * 1664525 + 1013904223;
		byte = (unsigned char)(v >> 24 | 1);
		put(off++, &byte, 1);
	}
}

static uint64_t metadata(uint64_t n)
{
	return (64 + 16 * n + block - 1) / block * block;
}

static void entry(uint64_t i, uint64_t sector, uint64_t seq)
{
	put_le(start + 64 + 16 * i, sector, 8);
	put_le(start + 64 + 16 * i + 8, seq, 8);
}

static void superblock(const uint64_t *a)
{
	put_le(start, a[0], 4);
	put_le(start + 4, a[1], 4);
	put_le(start + 8, a[2], 4);
	put_le(start + 12, a[3], 4);
	put_le(start + 16, a[4], 8);
	put_le(start + 24, a[5], 8);
}

static void size(uint64_t bytes)
{
	fflush(out);
	if (ftruncate(fileno(out), (off_t)bytes))
		die(strerror(errno));
}

static void cache(uint64_t b, uint64_t sectors, uint64_t start_sector)
{
	const uint64_t usable = (sectors - start_sector) * 512;
	uint64_t i;

	block = b;
	start = start_sector * 512;
	nr = usable / (b + 16);
	while (nr && metadata(nr) + nr * b > usable)
		nr--;
	size(sectors * 512);
	superblock((const uint64_t[]){ 0x23489321, 1, b, 0, nr, 0 });
	for (i = 0; i < nr; i++)
		entry(i, UINT64_MAX, UINT64_MAX);
}

static void bytes(uint64_t off, const char *hex)
{
	unsigned v;

	for (; sscanf(hex, "%2x", &v) == 1; hex += 2)
		put_le(off++, v, 1);
}

/* numbers behind the word */
static unsigned numbers(char *line, uint64_t *a, unsigned max)
{
	unsigned n = 0;
	char *p = line, *e;

	while (n < max) {
		uint64_t v = strtoull(p, &e, 0);

		if (e == p)
			break;
		a[n++] = v;
		p = e;
	}
	return n;
}

static void statement(const char *word, char *rest)
{
	uint64_t a[6] = { 0 }, i;
	unsigned n = numbers(rest, a, 6);
	char *hex = strrchr(rest, ' ');

	if (!strcmp(word, "cache") && n >= 2)
		cache(a[0], a[1], n > 2 ? a[2] : 0);
	else if (!strcmp(word, "blank") && n == 1)
		size(a[0] * 512);
	else if (!strcmp(word, "superblock") && n == 6)
		superblock(a);
	else if (!strcmp(word, "seq") && n == 1)
		put_le(start + 24, a[0], 8);
	else if (!strcmp(word, "entry") && n == 3)
		entry(a[0], a[1], a[2]);
	else if ((!strcmp(word, "run") || !strcmp(word, "entries")) && n == 4)
		for (i = 0; i < a[1]; i++)
			entry(a[0] + i, a[2] + i * (block / 512), a[3]);
	else if (!strcmp(word, "block") && n == 2)
		fill(start + metadata(nr) + a[0] * block, block, (unsigned char)a[1]);
	else if (!strcmp(word, "wipe"))
		fill(start, 4096, 0);
	else if (!strcmp(word, "fill") && n == 3)
		fill(a[0], a[1], (unsigned char)a[2]);
	else if (!strcmp(word, "noise") && n == 2)
		noise(a[0], a[1]);
	else if (!strcmp(word, "bytes") && n && hex)
		bytes(a[0], hex + 1);
	else if (!strcmp(word, "size") && n == 1)
		size(a[0]);
	else
		die("not a statement");
}

int main(int argc, char **argv)
{
	char line[4096], word[32];
	FILE *in;
	int used;

	if (argc != 3)
		return 2;
	in = fopen(argv[1], "r");
	out = fopen(argv[2], "w+");
	if (!in || !out)
		die(strerror(errno));
	while (fgets(line, sizeof(line), in)) {
		line_nr++;
		line[strcspn(line, "#\n")] = '\0';
		if (sscanf(line, " %31s%n", word, &used) != 1)
			continue;
		statement(word, line + used);
	}
	fclose(in);
	return fclose(out) ? 1 : 0;
}
