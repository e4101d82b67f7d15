/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A map of a device in the format of GNU ddrescue's mapfiles, so that its tools can show it, invert it, or
 * be told to work just there: either with what could not be written, or with what a patch holds.
 */
#ifndef DMTOOL_MAPFILE_H
#define DMTOOL_MAPFILE_H

#include <stdio.h>

#include "newfile.h"

/* bytes on the device, and where on the store they are */
struct map_range {
	uint64_t to, length, from;
	bool reading;
	int error;
};

/*
 * struct mapfile - ranges that failed, and the file that they go to
 * @gap: ranges no farther apart than this are one: above a limit the map becomes coarser, so that
 *       its size does not grow with the damage
 * @held: the map of a patch: its ranges are written as they come, up to @at so far
 */
struct mapfile {
	struct newfile file;
	int fd;
	struct map_range *v;
	size_t nr, room;
	uint64_t gap;
	FILE *held;
	uint64_t at;
};

/* make the file under a temporary name, so that it does not fail only in the end; 0 or the exit
 * status, mapfile_drop() either way */
int mapfile_init(struct tool *t, struct mapfile *m, const char *path);
/* a range that failed; 0 or -ENOMEM.  The map of a patch does not have them: they are not in it */
int mapfile_add(struct mapfile *m, const struct map_range *r);
/* write the map of a device of @size bytes; !@complete: what did not fail was not looked at either */
int mapfile_commit(struct tool *t, struct mapfile *m, uint64_t size, bool complete);
/* instead: a map of what a patch holds, finished ('+'); the rest was not tried ('?').  Between begin and
 * commit the ranges, ascending.  0, the exit status, or a negative errno for mapfile_held(). */
int mapfile_begin_held(struct tool *t, struct mapfile *m);
int mapfile_held(struct mapfile *m, uint64_t to, uint64_t length);
int mapfile_commit_held(struct tool *t, struct mapfile *m, uint64_t size);
void mapfile_drop(struct mapfile *m);
/* what went wrong, in words */
const char *mapfile_error(const struct map_range *r);

#endif
