// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The list of writes, for a dry run and for a real one.
 *
 * dev.c keeps this layer on top, so both list exactly what the code above has asked for.  A dry run
 * then keeps the new content in pages over the lower layer, and later reads see it; a real run
 * hands the write on.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "../format/crc32c.h"
#include "dev.h"
#include "pages.h"

struct plan_layer {
	struct dmfmt_layer l;
	bool dry;
	int (*fn)(void *arg, const struct dmfmt_write *w);
	void *arg;
	uint64_t lower_size;	/* a dry run may have set another size */
	uint64_t once_from;	/* from here on nothing is read back: a dry run need not keep it */
	struct dmfmt_pages pages;
};

static struct plan_layer *to_plan(struct dmfmt_layer *l)
{
	return (struct plan_layer *)l;
}

/* What the lower layer has; zeros behind its end. */
static int read_lower(struct plan_layer *p, uint64_t off, void *buf, size_t len)
{
	size_t there = len;
	int err = 0;

	if (off >= p->lower_size)
		there = 0;
	else if (len > p->lower_size - off)
		there = p->lower_size - off;
	if (there)
		err = p->l.lower->ops->read(p->l.lower, off, buf, there);
	memset((char *)buf + there, 0, len - there);
	return err;
}

/* How much from @off on, at most @len, has no page over it. */
static size_t bare_part(struct plan_layer *p, uint64_t off, size_t len)
{
	size_t done = 0;

	if (!p->pages.nr)
		return len;
	while (done < len && !dmfmt_pages_find(&p->pages, (off + done) / DMFMT_PAGE_BYTES))
		done += dmfmt_page_part(off + done, len - done);
	return done;
}

static int plan_read(struct dmfmt_layer *l, uint64_t off, void *buf, size_t len)
{
	struct plan_layer *p = to_plan(l);
	int err = 0;

	while (!err && len) {
		size_t n = bare_part(p, off, len);

		if (n) {
			err = read_lower(p, off, buf, n);
		} else {
			n = dmfmt_page_part(off, len);
			memcpy(buf, dmfmt_pages_find(&p->pages, off / DMFMT_PAGE_BYTES)->data +
			       off % DMFMT_PAGE_BYTES, n);
		}
		buf = (char *)buf + n;
		off += n;
		len -= n;
	}
	return err;
}

static int crc_of_old(struct plan_layer *p, uint64_t off, size_t len, uint32_t *crc)
{
	uint8_t buf[DMFMT_PAGE_BYTES];
	int err = 0;

	*crc = 0;
	while (!err && len) {
		size_t n = dmfmt_page_part(off, len);

		err = plan_read(&p->l, off, buf, n);
		*crc = dmfmt_crc32c(*crc, buf, n);
		off += n;
		len -= n;
	}
	return err;
}

static int list_write(struct plan_layer *p, uint64_t off, const void *buf, size_t len)
{
	struct dmfmt_write w = { .size = sizeof(w), .offset = off, .length = len };
	int err;

	if (!p->fn)
		return 0;
	err = crc_of_old(p, off, len, &w.old_crc);
	if (err)
		return err;
	w.new_crc = dmfmt_crc32c(0, buf, len);
	return p->fn(p->arg, &w);
}

/* A new page begins with what is below it, unless all of it will be overwritten. */
static int make_page(struct plan_layer *p, uint64_t nr, bool whole)
{
	uint8_t below[DMFMT_PAGE_BYTES];
	struct dmfmt_page *page;
	int err = 0;

	if (!whole)
		err = read_lower(p, nr * DMFMT_PAGE_BYTES, below, sizeof(below));
	if (err)
		return err;
	page = dmfmt_pages_add(&p->pages, nr);
	if (!page)
		return -ENOMEM;
	if (!whole)
		memcpy(page->data, below, sizeof(below));
	return 0;
}

static int keep(struct plan_layer *p, uint64_t off, const void *buf, size_t len)
{
	int err = 0;

	while (len) {
		uint64_t nr = off / DMFMT_PAGE_BYTES;
		size_t n = dmfmt_page_part(off, len);

		if (!dmfmt_pages_find(&p->pages, nr))
			err = make_page(p, nr, n == DMFMT_PAGE_BYTES);
		if (err)
			return err;
		memcpy(dmfmt_pages_find(&p->pages, nr)->data + off % DMFMT_PAGE_BYTES, buf, n);
		buf = (const char *)buf + n;
		off += n;
		len -= n;
	}
	return 0;
}

static int plan_write(struct dmfmt_layer *l, uint64_t off, const void *buf, size_t len)
{
	struct plan_layer *p = to_plan(l);
	int err;

	err = list_write(p, off, buf, len);
	if (err)
		return err;
	if (!p->dry)
		return l->lower->ops->write(l->lower, off, buf, len);
	return off >= p->once_from ? 0 : keep(p, off, buf, len);
}

static int plan_flush(struct dmfmt_layer *l)
{
	return to_plan(l)->dry ? 0 : l->lower->ops->flush(l->lower);
}

/* What is cut off comes back as zeros if the device grows again. */
static int cut_pages(struct plan_layer *p, uint64_t size)
{
	struct dmfmt_page **all = dmfmt_pages_sorted(&p->pages);
	size_t i;

	if (!all)
		return -ENOMEM;
	for (i = 0; i < p->pages.nr; i++) {
		uint64_t start = all[i]->nr * DMFMT_PAGE_BYTES;
		size_t left = size <= start ? 0 : dmfmt_page_part(start, size - start);

		memset(all[i]->data + left, 0, DMFMT_PAGE_BYTES - left);
	}
	free(all);
	if (size < p->lower_size)
		p->lower_size = size;
	return 0;
}

static int plan_truncate(struct dmfmt_layer *l, uint64_t size)
{
	struct plan_layer *p = to_plan(l);
	int err;

	if (p->dry)
		return cut_pages(p, size);
	if (!l->lower->ops->truncate)
		return -EINVAL;
	err = l->lower->ops->truncate(l->lower, size);
	if (!err)
		p->lower_size = size;
	return err;
}

static void plan_close(struct dmfmt_layer *l)
{
	dmfmt_layer_close(l->lower);
	dmfmt_pages_clear(&to_plan(l)->pages);
	free(l);
}

static bool plan_passes(const struct dmfmt_layer *l)
{
	const struct plan_layer *p = (const struct plan_layer *)l;

	return !p->pages.nr;
}

static const struct dmfmt_layer_ops plan_ops = {
	.name = "plan",
	.read = plan_read,
	.write = plan_write,
	.flush = plan_flush,
	.truncate = plan_truncate,
	.close = plan_close,
	.passes = plan_passes,
};

int dmfmt_dev_set_plan(struct dmfmt_dev *dev, bool dry,
		       int (*fn)(void *arg, const struct dmfmt_write *w), void *arg)
{
	struct plan_layer *p = calloc(1, sizeof(*p));

	if (!p)
		return dmfmt_fail(dev->ctx, -ENOMEM, "%s: no memory for a list of writes",
				  dev->path);
	p->l.ops = &plan_ops;
	p->dry = dry;
	p->fn = fn;
	p->arg = arg;
	p->lower_size = dev->size;
	p->once_from = DMFMT_NONE;
	dmfmt_dev_push(dev, &p->l);
	dev->dry_run |= dry;
	return 0;
}

void dmfmt_dev_written_once(struct dmfmt_dev *dev, uint64_t from)
{
	struct dmfmt_layer *l;

	for (l = dev->top; l; l = l->lower)
		if (l->ops == &plan_ops)
			to_plan(l)->once_from = from;
}
