// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * mkimage DESCRIPTION FILE - makes a snapshot exception store, sound or damaged, from a description.
 * One statement a line, '#' begins a comment; numbers as strtoull(3) reads them.
 *
 *   chunk_size C          chunk size in sectors used for positions (and in the header); first line
 *   chunks T              size of the device in chunks; `sectors N` adds or replaces with sectors
 *   header M V VER C      the four header fields (default 0x70416e53 1 1 chunk_size)
 *   entry AREA SLOT O N   one exception: old_chunk O, new_chunk N
 *   dense AREA N FIRST    slots 0..N-1 in allocation order, old_chunk FIRST, FIRST+3, FIRST+6 ..
 *   data CHUNK BYTE       fill a chunk
 *   fill CHUNK BYTE       the same (reads better for an area of garbage)
 *   bytes OFFSET HEX      raw bytes
 *   swap                  reverse the byte order of everything written so far (4 fields, then pairs)
 *   size BYTES            cut or grow the file, last
 */
#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t chunk = 8;	/* sectors */
static FILE *out;
static unsigned line_nr;

static void die(const char *what)
{
	fprintf(stderr, "mkimage: line %u: %s\n", line_nr, what);
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

static uint64_t area_offset(uint64_t area)
{
	uint64_t stride = chunk * 32 + 1;

	return (1 + area * stride) * chunk * 512;
}

static void entry(uint64_t area, uint64_t slot, uint64_t o, uint64_t n)
{
	put_le(area_offset(area) + slot * 16, o, 8);
	put_le(area_offset(area) + slot * 16 + 8, n, 8);
}

static void fill(uint64_t nr, uint64_t byte)
{
	unsigned char buf[512];
	uint64_t i;

	memset(buf, (int)byte, sizeof(buf));
	for (i = 0; i < chunk; i++)
		put((nr * chunk + i) * 512, buf, sizeof(buf));
}

static void header(const uint64_t *v)
{
	unsigned i;

	for (i = 0; i < 4; i++)
		put_le(4 * i, v[i], 4);
}

static void hex(uint64_t off, const char *s)
{
	unsigned byte;

	for (; sscanf(s, "%2x", &byte) == 1; s += 2)
		put_le(off++, byte, 1);
}

static void swap_bytes(uint64_t off, unsigned bytes)
{
	unsigned char b[8], r[8];
	unsigned i;

	if (fseeko(out, (off_t)off, SEEK_SET) || fread(b, 1, bytes, out) != bytes)
		die("nothing to swap");
	for (i = 0; i < bytes; i++)
		r[i] = b[bytes - 1 - i];
	put(off, r, bytes);
}

static void swap(void)
{
	uint64_t i;

	fflush(out);
	for (i = 0; i < 4; i++)
		swap_bytes(4 * i, 4);
	for (i = 0; i < chunk * 64; i++)
		swap_bytes(area_offset(0) + 8 * i, 8);
}

static void resize(uint64_t bytes)
{
	if (fflush(out) || ftruncate(fileno(out), (off_t)bytes))
		die(strerror(errno));
}

static void statement(char *line)
{
	char word[32], text[600] = "";
	uint64_t v[4] = { 0 };
	char *p = line;
	unsigned i, n;

	if (sscanf(p, "%31s%n", word, &n) != 1)
		return;
	p += n;
	if (!strcmp(word, "bytes")) {
		v[0] = strtoull(p, &p, 0);
		if (sscanf(p, "%599s", text) != 1)
			die("no bytes");
		hex(v[0], text);
		return;
	}
	for (i = 0; i < 4; i++)
		v[i] = strtoull(p, &p, 0);
	if (!strcmp(word, "chunk_size")) {
		chunk = v[0];
		header((const uint64_t[]){ 0x70416e53, 1, 1, chunk });
	} else if (!strcmp(word, "chunks")) {
		resize(v[0] * chunk * 512);
	} else if (!strcmp(word, "size")) {
		resize(v[0]);
	} else if (!strcmp(word, "header")) {
		header(v);
	} else if (!strcmp(word, "entry")) {
		entry(v[0], v[1], v[2], v[3]);
	} else if (!strcmp(word, "dense")) {
		for (i = 0; i < v[1]; i++)
			entry(v[0], i, v[2] + 3 * i, v[0] * (chunk * 32 + 1) + 2 + i);
	} else if (!strcmp(word, "data") || !strcmp(word, "fill")) {
		fill(v[0], v[1]);
	} else if (!strcmp(word, "swap")) {
		swap();
	} else {
		die("not a statement");
	}
}

int main(int argc, char **argv)
{
	char line[1024];
	FILE *in;

	if (argc != 3) {
		fprintf(stderr, "usage: mkimage DESCRIPTION FILE\n");
		return 16;
	}
	in = fopen(argv[1], "r");
	out = fopen(argv[2], "w+");
	if (!in || !out)
		die(strerror(errno));
	while (fgets(line, sizeof(line), in)) {
		line_nr++;
		line[strcspn(line, "#\n")] = 0;
		statement(line);
	}
	fclose(in);
	if (fclose(out))
		die(strerror(errno));
	return 0;
}
