// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * nbdkit plugin: what a target would show, over NBD, read-only.  For machines without the kernel
 * target, and for tools that speak NBD (nbdcopy, qemu-img, guestfish, nbdfuse).
 */
#define NBDKIT_API_VERSION 2
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <nbdkit-plugin.h>

#include "../../libdmfmt/dmfmt.h"

/* one map and one set of buffers for all connections */
#define THREAD_MODEL NBDKIT_THREAD_MODEL_SERIALIZE_ALL_REQUESTS

static char *store_path, *origin_path;
static char *format;
static uint64_t start_sector;
static uint64_t memory_bytes = 1ull << 30;	/* a quarter is for the map: 11 million runs */

static struct dmfmt_ctx *ctx;
static struct dmfmt_dev *store, *origin;
static struct dmfmt *handle;
static struct dmfmt_view *view;

static int set_path(char **to, const char *key, const char *value)
{
	if (*to) {
		nbdkit_error("%s is given twice", key);
		return -1;
	}
	*to = nbdkit_realpath(value);
	return *to ? 0 : -1;
}

static int set_memory(const char *value)
{
	int64_t bytes = nbdkit_parse_size(value);

	if (bytes < 0)
		return -1;
	memory_bytes = (uint64_t)bytes;
	return 0;
}

static int dmfmt_config(const char *key, const char *value)
{
	if (!strcmp(key, "store") || !strcmp(key, "cow"))
		return set_path(&store_path, key, value);
	if (!strcmp(key, "origin"))
		return set_path(&origin_path, key, value);
	if (!strcmp(key, "memory"))
		return set_memory(value);
	if (!strcmp(key, "start-sector"))
		return nbdkit_parse_uint64_t(key, value, &start_sector);
	if (!strcmp(key, "format")) {
		free(format);
		format = strdup(value);
		return format ? 0 : -1;
	}
	nbdkit_error("%s: not a parameter, expected store, origin, format, start-sector or memory", key);
	return -1;
}

static int dmfmt_config_complete(void)
{
	if (store_path && origin_path)
		return 0;
	nbdkit_error("%s is missing: expected store=FILE origin=FILE",
		     store_path ? "origin" : "store");
	return -1;
}

/* ---- opening, before the first connection ---- */

struct guess {
	char name[64], best[64];
	uint64_t confidence;
};

static int on_guess(void *arg, const struct dmfmt_field *f)
{
	struct guess *g = arg;

	if (!strcmp(f->name, "format") && f->kind == DMFMT_STRING && f->s &&
	    strlen(f->s) < sizeof(g->name))
		strcpy(g->name, f->s);
	if (!strcmp(f->name, "confidence") && f->u > g->confidence) {
		g->confidence = f->u;
		memcpy(g->best, g->name, sizeof(g->best));
	}
	return 0;
}

/* 0, or negative with a line in the context */
static int open_store(void)
{
	struct guess g = { .best = "" };
	int err = dmfmt_dev_open(ctx, store_path, 0, &store);

	if (!err && start_sector)
		err = dmfmt_dev_set_start(store, start_sector);
	if (!err)
		err = dmfmt_dev_open(ctx, origin_path, 0, &origin);
	if (!err && !format) {
		err = dmfmt_probe(ctx, store, on_guess, &g);
		if (err > 0)
			nbdkit_error("%s: none of the known formats", store_path);
		if (err)
			return err > 0 ? -EMEDIUMTYPE : err;
	}
	if (!err)
		err = dmfmt_open(ctx, store, format ? format : g.best, 0, &handle);
	if (!err)
		err = dmfmt_set_origin(handle, origin);
	return err ? err : dmfmt_view_open(handle, &view);
}

static void on_log(void *arg, enum dmfmt_log_level level, const char *msg)
{
	(void)arg;
	if (level <= DMFMT_LOG_WARNING)
		nbdkit_error("%s", msg);
	else
		nbdkit_debug("%s", msg);
}

static int dmfmt_get_ready(void)
{
	int err;

	ctx = dmfmt_ctx_new();
	if (!ctx) {
		nbdkit_error("no memory");
		return -1;
	}
	dmfmt_ctx_set_memory(ctx, memory_bytes);
	dmfmt_ctx_set_log(ctx, on_log, NULL);
	err = open_store();
	if (err && *dmfmt_ctx_error(ctx))
		nbdkit_error("%s", dmfmt_ctx_error(ctx));
	return err ? -1 : 0;
}

static void dmfmt_unload(void)
{
	dmfmt_view_close(view);
	dmfmt_close(handle);
	dmfmt_dev_close(origin);
	dmfmt_dev_close(store);
	dmfmt_ctx_free(ctx);
	free(store_path);
	free(origin_path);
	free(format);
}

/* ---- serving ---- */

static void *dmfmt_plugin_open(int readonly)
{
	(void)readonly;
	return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t dmfmt_get_size(void *h)
{
	(void)h;
	return (int64_t)dmfmt_view_size(view);
}

static int no(void *h)
{
	(void)h;
	return 0;
}

static int yes(void *h)
{
	(void)h;
	return 1;
}

static int dmfmt_pread(void *h, void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
	int err;

	(void)h;
	(void)flags;
	err = dmfmt_view_read(view, offset, buf, count);
	if (!err)
		return 0;
	nbdkit_error("%s", dmfmt_ctx_error(ctx));
	nbdkit_set_error(-err);
	return -1;
}

static struct nbdkit_plugin plugin = {
	.name = "dmfmt",
	.version = DMFMT_VERSION,
	.longname = "device-mapper stores, offline",
	.description = "What a device-mapper target would show of a store and its origin, read-only.",
	.magic_config_key = "store",
	.config = dmfmt_config,
	.config_complete = dmfmt_config_complete,
	.config_help = "store=FILE     the store, a device or an image file (required)\n"
		       "origin=FILE    the device that it belongs to (required)\n"
		       "format=NAME    do not probe the store\n"
		       "start-sector=S where the superblock of a cache is (default 0)\n"
		       "memory=SIZE    at most (default 1G); too little makes reads in no order slow",
	.get_ready = dmfmt_get_ready,
	.unload = dmfmt_unload,
	.open = dmfmt_plugin_open,
	.get_size = dmfmt_get_size,
	.can_write = no,
	.can_multi_conn = yes,
	.pread = dmfmt_pread,
};

/* the one name that comes out */
struct nbdkit_plugin *plugin_init(void);
NBDKIT_REGISTER_PLUGIN(plugin)
