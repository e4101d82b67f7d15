/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files that appear whole or not at all: made under a temporary name in the same directory, synced,
 * then renamed.  An existing file is never replaced.
 */
#ifndef DMTOOL_NEWFILE_H
#define DMTOOL_NEWFILE_H

#include "dmtool.h"

struct newfile {
	char *final, *temp;
	bool made;	/* the temporary file exists and has to be renamed or removed */
};

/* choose the temporary name; 0 or the exit status (the name is taken, no memory), newfile_drop()
 * either way */
int newfile_init(struct tool *t, struct newfile *nf, const char *path);
/* make and open the temporary file for writing; the descriptor or a negative errno */
int newfile_open(struct newfile *nf);
/* the content is durable: give it its name, durably; 0 or the exit status */
int newfile_commit(struct tool *t, struct newfile *nf);
/* remove what was not committed */
void newfile_drop(struct newfile *nf);

/* copy all of @from to the empty file @to, leaving holes where it is zero; 0 or the exit status */
int newfile_copy(struct tool *t, const char *from, int to);

#endif
