/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading what the dump commands write, as a document or as lines.  The input is hostile until
 * proven otherwise: everything is bounded, no key may come twice or be unknown where it matters.
 */
#ifndef DMTOOL_DUMP_IN_H
#define DMTOOL_DUMP_IN_H

#include "json_in.h"

#define DUMP_BATCH	4096	/* records in one item */
#define DUMP_FIELDS	64	/* scalars in the head, and in the tail */
#define DUMP_TEXT	32768	/* bytes of their names and strings together */
#define DUMP_RAW	4096	/* bytes of one raw item */

enum dump_kind {
	DUMP_ERROR,	/* in->error */
	DUMP_HEAD,	/* field[nr] */
	DUMP_RAW_BYTES,	/* offset, raw[nr] */
	DUMP_RECORDS,	/* values, nr rows */
	DUMP_STALE,	/* area, slot, values */
	DUMP_TAIL,	/* field[nr]; nothing follows */
};

/* what may come next inside an array */
enum dump_comma { DUMP_FIRST_OR_END, DUMP_ELEMENT, DUMP_COMMA_OR_END };
enum dump_state { DUMP_AT_START, DUMP_IN_LINES, DUMP_IN_ARRAY, DUMP_BEHIND_ARRAY, DUMP_DONE };

/*
 * struct dump_in - one dump being read
 * @format, @records: the family's name, and its key for records
 * @names: of the columns; @nr_columns
 * @live: the head says that the device was in use
 */
struct dump_in {
	struct json_in in;
	struct json_rows rows;
	const char *format, *records;
	const char *names[ROW_COLUMNS];
	size_t nr_columns;
	bool live;

	enum dump_state state;
	enum dump_kind array;
	unsigned arrays_seen;
	enum dump_comma comma;

	struct dmfmt_field field[DUMP_FIELDS];
	char text[DUMP_TEXT];
	size_t nr, text_len;
	uint64_t offset, area, slot;
	uint64_t values[DUMP_BATCH * ROW_COLUMNS];
	unsigned char raw[DUMP_RAW];
};

/* after json_in_open() or json_in_open_buffer() on d->in, and with the family's words set */
int dump_in_init(struct dump_in *d);
enum dump_kind dump_next(struct dump_in *d);

#endif
