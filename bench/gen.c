/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gen - make a snapshot exception store of N records, or the same mappings as XML for the peers
 *
 * Only the header and the metadata areas are written, data chunks stay holes, so that a store with
 * 16 Mi records takes 256 MiB.  new_chunk is dense, as kernels allocate it; old_chunk is a seeded
 * permutation of the key span.  One line of key=value pairs on standard output says what was made.
 */
#include <fcntl.h>
#include <getopt.h>
#include <unistd.h>

#include "bench.h"

enum plant { PLANT_NONE, PLANT_DUPLICATE, PLANT_OUT_OF_RANGE, PLANT_TAIL };

struct job {
	struct geometry g;
	struct permutation perm;
	uint64_t records, seed;
	enum plant plant;
	uint64_t planted;		/* the record that is wrong */
	struct exception_disk wrong;	/* host order */
	bool sync;
};

static const char *const plant_names[] = { "none", "duplicate", "out-of-range", "tail" };
static const char *const order_names[] = { "random", "odd", "sequential" };

static unsigned pick(const char *what, const char *s, const char *const *names, unsigned nr)
{
	unsigned i;

	for (i = 0; i < nr; i++)
		if (!strcmp(s, names[i]))
			return i;
	die(16, "%s: not known: %s", what, s);
}

static uint64_t dense_chunk(const struct geometry *g, uint64_t record)
{
	return area_chunk(g, record / g->entries) + 1 + record % g->entries;
}

/* room for all records and the area that ends the chain, and never a last area without a successor */
static void fit(struct job *j, uint64_t chunk_sectors)
{
	uint64_t entries = chunk_sectors * 32;
	uint64_t total = j->records + j->records / entries + 2 + 8;

	if (total % (entries + 1) == 1)
		total++;
	geometry_set(&j->g, chunk_sectors, total);
}

/* somewhere in the last 64th of the records, so that a checker has to come as far as that */
static void plan_fault(struct job *j)
{
	uint64_t back = j->records / 64 ? j->records / 64 : 1;
	uint64_t r = mix64(j->seed + j->plant);

	j->planted = j->records - 1 - r % back;
	j->wrong.old_chunk = permute(&j->perm, j->planted);
	j->wrong.new_chunk = dense_chunk(&j->g, j->planted);
	switch (j->plant) {
	case PLANT_DUPLICATE:
		j->wrong.old_chunk = permute(&j->perm, mix64(r) % j->planted);
		break;
	case PLANT_OUT_OF_RANGE:
		j->wrong.new_chunk = j->g.total_chunks + mix64(r) % 1000;
		break;
	case PLANT_TAIL:	/* a slot behind the terminator; the numbers say nothing of a lost record */
		j->planted = j->records + 2;
		j->wrong.old_chunk = 5;
		j->wrong.new_chunk = 3;
		break;
	case PLANT_NONE:
		j->planted = UINT64_MAX;
		break;
	}
}

static void fill_area(const struct job *j, uint64_t area, struct exception_disk *e)
{
	uint64_t first = area * j->g.entries;
	uint64_t chunk = area_chunk(&j->g, area) + 1;
	uint64_t i;

	memset(e, 0, j->g.chunk_bytes);
	for (i = 0; i < j->g.entries && first + i < j->records; i++) {
		e[i].old_chunk = htole64(permute(&j->perm, first + i));
		e[i].new_chunk = htole64(chunk + i);
	}
	if (j->planted >= first && j->planted - first < j->g.entries) {
		e[j->planted - first].old_chunk = htole64(j->wrong.old_chunk);
		e[j->planted - first].new_chunk = htole64(j->wrong.new_chunk);
	}
}

static void put(int fd, const char *path, const void *buf, size_t len, uint64_t off)
{
	ssize_t done = pwrite(fd, buf, len, (off_t)off);

	if (done < 0 || (size_t)done != len)
		die(8, "%s: write at %llu: %s", path, (unsigned long long)off,
		    done < 0 ? strerror(errno) : "short");
}

static void write_store(const struct job *j, const char *path)
{
	struct header_disk h = {
		.magic = htole32(SNAP_MAGIC), .valid = htole32(1), .version = htole32(1),
		.chunk_size = htole32((uint32_t)j->g.chunk_sectors),
	};
	struct exception_disk *e = malloc(j->g.chunk_bytes);
	uint64_t areas = j->records / j->g.entries + 1;
	uint64_t k;
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (fd < 0 || !e)
		die(8, "%s: %s", path, strerror(errno));
	for (k = 0; k < areas; k++) {
		fill_area(j, k, e);
		put(fd, path, e, j->g.chunk_bytes, area_chunk(&j->g, k) * j->g.chunk_bytes);
	}
	put(fd, path, &h, sizeof(h), 0);
	if (ftruncate(fd, (off_t)(j->g.total_chunks * j->g.chunk_bytes)) ||
	    (j->sync && fsync(fd)) || close(fd))
		die(8, "%s: %s", path, strerror(errno));
	free(e);
}

/* ---- the same number of scattered mappings for the peers ------------------------------------- */

static void write_thin_xml(const struct job *j, FILE *out)
{
	unsigned long long i, n = j->records;

	fprintf(out, "<superblock uuid=\"\" time=\"0\" transaction=\"1\" version=\"2\" "
		"data_block_size=\"128\" nr_data_blocks=\"%llu\">\n"
		"  <device dev_id=\"1\" mapped_blocks=\"%llu\" transaction=\"0\" "
		"creation_time=\"0\" snap_time=\"0\">\n",
		(unsigned long long)j->perm.span, n);
	for (i = 0; i < n; i++)
		fprintf(out, "    <single_mapping origin_block=\"%llu\" data_block=\"%llu\" "
			"time=\"0\"/>\n", i, (unsigned long long)permute(&j->perm, i));
	fprintf(out, "  </device>\n</superblock>\n");
}

static void write_cache_xml(const struct job *j, FILE *out)
{
	unsigned long long i, n = j->records;

	fprintf(out, "<superblock uuid=\"\" block_size=\"128\" nr_cache_blocks=\"%llu\" "
		"policy=\"smq\" hint_width=\"4\">\n  <mappings>\n", n);
	for (i = 0; i < n; i++)
		fprintf(out, "    <mapping cache_block=\"%llu\" origin_block=\"%llu\" "
			"dirty=\"false\"/>\n", i, (unsigned long long)permute(&j->perm, i));
	fprintf(out, "  </mappings>\n  <hints>\n  </hints>\n</superblock>\n");
}

static void write_xml(const struct job *j, const char *kind, const char *path)
{
	FILE *out = fopen(path, "w");

	if (!out)
		die(8, "%s: %s", path, strerror(errno));
	if (!strcmp(kind, "thin"))
		write_thin_xml(j, out);
	else if (!strcmp(kind, "cache"))
		write_cache_xml(j, out);
	else
		die(16, "--xml: not known: %s", kind);
	if (ferror(out) || fclose(out))
		die(8, "%s: %s", path, strerror(errno));
}

static void report(const struct job *j)
{
	printf("records=%llu chunk_sectors=%llu total_chunks=%llu span=%llu areas=%llu "
	       "plant=%s record=%lld old_chunk=%llu new_chunk=%llu end_area_offset=%llu\n",
	       (unsigned long long)j->records, (unsigned long long)j->g.chunk_sectors,
	       (unsigned long long)j->g.total_chunks, (unsigned long long)j->perm.span,
	       (unsigned long long)(j->records / j->g.entries + 1), plant_names[j->plant],
	       (long long)j->planted, (unsigned long long)j->wrong.old_chunk,
	       (unsigned long long)j->wrong.new_chunk,
	       (unsigned long long)(area_chunk(&j->g, j->records / j->g.entries) * j->g.chunk_bytes));
}

static const char usage[] =
	"usage: gen [options] FILE\n"
	"  --records N        how many exceptions (default 1Mi; 16Mi, 2^28)\n"
	"  --chunk-size S     sectors (default 8)\n"
	"  --span CHUNKS      old_chunk is below this (default: the origin, or N)\n"
	"  --origin-size B    bytes of the origin, instead of --span\n"
	"  --seed X           default 1\n"
	"  --order O          random (default), odd (odd multiplier), sequential\n"
	"  --plant F          duplicate, out-of-range, tail (entry behind the terminator)\n"
	"  --xml thin|cache   write the mappings as XML for thin_restore, cache_restore\n"
	"  --no-sync          do not wait for the disk\n";

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "records", required_argument, NULL, 'n' },
		{ "chunk-size", required_argument, NULL, 'c' },
		{ "span", required_argument, NULL, 's' },
		{ "origin-size", required_argument, NULL, 'o' },
		{ "seed", required_argument, NULL, 'r' },
		{ "order", required_argument, NULL, 'O' },
		{ "plant", required_argument, NULL, 'p' },
		{ "xml", required_argument, NULL, 'x' },
		{ "no-sync", no_argument, NULL, 'S' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct job j = { .records = 1 << 20, .seed = 1, .sync = true };
	uint64_t chunk_sectors = 8, span = 0, origin_bytes = 0;
	enum order order = ORDER_RANDOM;
	const char *xml = NULL;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'n': j.records = parse_number("--records", optarg); break;
		case 'c': chunk_sectors = parse_number("--chunk-size", optarg); break;
		case 's': span = parse_number("--span", optarg); break;
		case 'o': origin_bytes = parse_number("--origin-size", optarg); break;
		case 'r': j.seed = parse_number("--seed", optarg); break;
		case 'O': order = pick("--order", optarg, order_names, 3); break;
		case 'p': j.plant = pick("--plant", optarg, plant_names, 4); break;
		case 'x': xml = optarg; break;
		case 'S': j.sync = false; break;
		case 'h': fputs(usage, stdout); return 0;
		default: fputs(usage, stderr); return 16;
		}
	}
	if (optind + 1 != argc || chunk_sectors < 1 || chunk_sectors & (chunk_sectors - 1) ||
	    chunk_sectors > 1 << 21)
		die(16, "%s", usage);
	if (origin_bytes)
		span = (origin_bytes + chunk_sectors * 512 - 1) / (chunk_sectors * 512);
	if (!span)
		span = j.records;
	if (j.records < 2 || span < j.records)
		die(16, "--records: %llu do not fit into %llu origin chunks",
		    (unsigned long long)j.records, (unsigned long long)span);
	fit(&j, chunk_sectors);
	/* what the tail fault writes must land behind the terminator of the last area */
	if (j.plant == PLANT_TAIL && j.records % j.g.entries + 2 >= j.g.entries)
		die(16, "--plant tail: no room behind %llu records", (unsigned long long)j.records);
	permutation_init(&j.perm, span, j.seed, order);
	plan_fault(&j);
	if (xml)
		write_xml(&j, xml, argv[optind]);
	else
		write_store(&j, argv[optind]);
	report(&j);
	return 0;
}
