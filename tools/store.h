/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening what a command works on, the same way for every command. */
#ifndef DMTOOL_STORE_H
#define DMTOOL_STORE_H

#include "dmtool.h"

struct store {
	struct dmfmt_dev *dev, *origin;
	struct dmfmt *f;
};

/*
 * Open the device @path (@dev_flags: DMFMT_OPEN_*) as the command's format, and the origin if one
 * was given.  Refuses swapped arguments, and devices that plainly hold something else.
 * Return: 0, or the exit status after the reason was printed; store_close() either way.
 */
int store_open(struct tool *t, struct store *s, const char *path, unsigned dev_flags,
	       unsigned format_flags);
/* likewise the device and the origin that the arguments name, the origin with flags of its own */
int store_open_both(struct tool *t, struct store *s, unsigned dev_flags, unsigned origin_flags);
/* the same for reading, allowing for --live */
int store_open_read(struct tool *t, struct store *s, unsigned format_flags);
void store_close(struct store *s);
/* --start-sector, on a device that was just opened */
int store_set_start(struct tool *t, struct dmfmt_dev *dev);

/* the origin as an argument or as --origin, NULL if neither; *err: both, or the store itself */
const char *store_origin_path(struct tool *t, int *err);
/* the two names are one file or one block device */
bool store_same_device(const char *a, const char *b);
/* what the device at hand is: "" or the name of one of our formats, with the best confidence */
int store_identify(struct tool *t, struct dmfmt_dev *dev, char format[64], uint64_t *confidence);
/* the columns that the family's records have, without a device at hand */
int store_columns(struct tool *t, const struct family *family, const struct dmfmt_column **columns,
		  size_t *nr);

#endif
