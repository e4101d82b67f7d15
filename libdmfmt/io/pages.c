// SPDX-License-Identifier: LGPL-2.1-or-later
/* Pages in a hash table that doubles when it is full. */
#include <stdlib.h>
#include "pages.h"

#define BUCKETS_MIN 64u

static size_t bucket_of(const struct dmfmt_pages *p, uint64_t nr)
{
	return (nr * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (p->nr_buckets - 1);
}

struct dmfmt_page *dmfmt_pages_find(const struct dmfmt_pages *p, uint64_t nr)
{
	struct dmfmt_page *page;

	if (!p->nr)
		return NULL;
	for (page = p->buckets[bucket_of(p, nr)]; page; page = page->next)
		if (page->nr == nr)
			return page;
	return NULL;
}

static void put(struct dmfmt_pages *p, struct dmfmt_page *page)
{
	size_t b = bucket_of(p, page->nr);

	page->next = p->buckets[b];
	p->buckets[b] = page;
}

static int grow(struct dmfmt_pages *p)
{
	size_t nr = p->nr_buckets ? 2 * p->nr_buckets : BUCKETS_MIN, i;
	struct dmfmt_pages old = *p;
	struct dmfmt_page *page, *next;

	p->buckets = calloc(nr, sizeof(*p->buckets));
	if (!p->buckets) {
		*p = old;
		return -1;
	}
	p->nr_buckets = nr;
	for (i = 0; i < old.nr_buckets; i++)
		for (page = old.buckets[i]; page; page = next) {
			next = page->next;
			put(p, page);
		}
	free(old.buckets);
	return 0;
}

struct dmfmt_page *dmfmt_pages_add(struct dmfmt_pages *p, uint64_t nr)
{
	struct dmfmt_page *page;

	if (p->nr >= p->nr_buckets && grow(p))
		return NULL;
	page = malloc(sizeof(*page));
	if (!page)
		return NULL;
	page->nr = nr;
	page->valid = 0;
	put(p, page);
	p->nr++;
	return page;
}

static int by_nr(const void *a, const void *b)
{
	uint64_t x = (*(struct dmfmt_page *const *)a)->nr, y = (*(struct dmfmt_page *const *)b)->nr;

	return (x > y) - (x < y);
}

struct dmfmt_page **dmfmt_pages_sorted(const struct dmfmt_pages *p)
{
	struct dmfmt_page **all = malloc((p->nr + 1) * sizeof(struct dmfmt_page *));
	struct dmfmt_page *page;
	size_t i, n = 0;

	if (!all)
		return NULL;
	for (i = 0; i < p->nr_buckets; i++)
		for (page = p->buckets[i]; page; page = page->next)
			all[n++] = page;
	qsort(all, n, sizeof(struct dmfmt_page *), by_nr);
	return all;
}

void dmfmt_pages_clear(struct dmfmt_pages *p)
{
	struct dmfmt_page *page, *next;
	size_t i;

	for (i = 0; i < p->nr_buckets; i++)
		for (page = p->buckets[i]; page; page = next) {
			next = page->next;
			free(page);
		}
	free(p->buckets);
	*p = (struct dmfmt_pages){ 0 };
}
