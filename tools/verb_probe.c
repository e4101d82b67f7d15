// SPDX-License-Identifier: GPL-2.0-or-later
/* Which format is on a device, and why not the others. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "dmtool.h"
#include "items.h"
#include "store.h"

/* what udev lets into its database unescaped: everything else as \xNN */
static void put_encoded(struct sink *s, const char *p)
{
	for (; *p; p++)
		if (isalnum((unsigned char)*p) || strchr("#+-.:=@_/", *p))
			sink_write(s, p, 1);
		else
			sink_printf(s, "\\x%02x", (unsigned char)*p);
}

static void put_key(struct sink *s, const char *name)
{
	char key[64] = "ID_DMFMT_";
	size_t n = strlen(key);

	if (!strcmp(name, "format"))
		name = "type";
	for (; *name && n + 1 < sizeof(key); name++)
		key[n++] =
			isalnum((unsigned char)*name) ? (char)toupper((unsigned char)*name) : '_';
	key[n] = '\0';
	sink_printf(s, "%s=", key);
}

static int udev_field(void *arg, const struct dmfmt_field *f)
{
	struct sink *s = arg;

	if (!strcmp(f->name, "reason") || (f->kind == DMFMT_STRING && (!f->s || !*f->s)))
		return 0;
	put_key(s, f->name);
	if (f->kind == DMFMT_STRING)
		put_encoded(s, f->s);
	else
		sink_printf(s, f->kind == DMFMT_HEX ? "0x%" PRIx64 : "%" PRIu64, f->u);
	sink_puts(s, "\n");
	return -s->err;
}

/* only the candidate that was chosen: udev keeps one value per key */
struct filter {
	struct sink *sink;
	const char *format;
	char group[64];
};

static int udev_filter(void *arg, const struct dmfmt_field *f)
{
	struct filter *w = arg;

	if (!strcmp(f->name, "format"))
		snprintf(w->group, sizeof(w->group), "%s", f->s ? f->s : "");
	return strcmp(w->group, w->format) ? 0 : udev_field(w->sink, f);
}

static int print_udev(struct tool *t, struct dmfmt_dev *dev)
{
	struct sink sink = { .fd = -1 };
	struct filter w = { .sink = &sink };
	uint64_t confidence;
	char format[64];
	int err = store_identify(t, dev, format, &confidence);

	if (err)
		return tool_fail(t, err);
	if (!*format)
		return STATUS_LEFT;
	w.format = format;
	err = sink_init(&sink, 1);
	if (err)
		return tool_fail(t, err);
	err = dmfmt_probe(t->ctx, dev, udev_filter, &w);
	err = sink_close(&sink) ?: err < 0 ? err : 0;
	return err ? tool_fail(t, err) : 0;
}

static int print_candidates(struct tool *t, struct dmfmt_dev *dev)
{
	struct items items;
	uint64_t confidence;
	char format[64];
	int err = store_identify(t, dev, format, &confidence), status;

	if (err)
		return tool_fail(t, err);
	status = tool_begin(t, t->arg[0], *format ? format : NULL);
	if (status)
		return status;
	items_begin(&items, t->out, "candidates", "candidates, the best first");
	err = dmfmt_probe(t->ctx, dev, items_field, &items);
	items_end(&items, true);
	if (err < 0)
		return tool_fail(t, err);
	if (!*format)
		out_text(t->out, "none of the known formats is there");
	return tool_end(t, *format ? 0 : STATUS_LEFT);
}

int verb_probe(struct tool *t)
{
	struct dmfmt_dev *dev;
	int status, err;

	if (t->o.udev && t->o.format != OUT_TEXT)
		return tool_usage(t, "--udev and --json exclude each other");
	err = dmfmt_dev_open(t->ctx, t->arg[0], t->o.live ? DMFMT_OPEN_LIVE : 0, &dev);
	if (err)
		return tool_fail(t, err);
	err = store_set_start(t, dev);
	status = err ? tool_fail(t, err) : t->o.udev ? print_udev(t, dev) : print_candidates(t, dev);
	dmfmt_dev_close(dev);
	return status;
}
