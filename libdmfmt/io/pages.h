/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pages of content that lie over a device: what a dry run wrote, what undo.c holds back. */
#ifndef DMFMT_IO_PAGES_H
#define DMFMT_IO_PAGES_H

#include <stddef.h>
#include <stdint.h>

#define DMFMT_PAGE_BYTES 4096u

/* @valid: bit n says that sector n of the page is there; for the user of the pages */
struct dmfmt_page {
	struct dmfmt_page *next;	/* in its bucket */
	uint64_t nr;			/* offset / DMFMT_PAGE_BYTES */
	uint8_t valid;
	uint8_t data[DMFMT_PAGE_BYTES];
};

/* all zero is empty */
struct dmfmt_pages {
	struct dmfmt_page **buckets;
	size_t nr_buckets, nr;
};

/* NULL if it is not there */
struct dmfmt_page *dmfmt_pages_find(const struct dmfmt_pages *p, uint64_t nr);
/* add a page that is not there, its content undefined; NULL without memory */
struct dmfmt_page *dmfmt_pages_add(struct dmfmt_pages *p, uint64_t nr);
/* all of them by number, in an array to be freed by the caller; NULL without memory */
struct dmfmt_page **dmfmt_pages_sorted(const struct dmfmt_pages *p);
void dmfmt_pages_clear(struct dmfmt_pages *p);

/* how much of [off, off + len) lies in the page of @off */
static inline size_t dmfmt_page_part(uint64_t off, size_t len)
{
	size_t n = DMFMT_PAGE_BYTES - off % DMFMT_PAGE_BYTES;

	return n < len ? n : len;
}

#endif
