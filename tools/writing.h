/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What all writing commands share: undo files and lists of writes. */
#ifndef DMTOOL_WRITING_H
#define DMTOOL_WRITING_H

#include "dmtool.h"

/*
 * Give @dev (whose name is @device) the undo file that the options ask for.
 * Return: 0; the exit status after the reason was printed; UNDO_NO_PLACE (printed nothing): none
 * was named and none of the usual places can be written.
 */
#define UNDO_NO_PLACE (-1)
int undo_setup(struct tool *t, struct dmfmt_dev *dev, const char *device);
/* a name for a file that goes beside the undo file; false: there is no such place */
bool undo_side_name(struct tool *t, const char *device, const char *suffix, char *buf, size_t len);
/* the line for UNDO_NO_PLACE; returns the exit status */
int undo_no_place(struct tool *t);
/* in the document: which undo file was written and how to use it */
void undo_report(struct tool *t, const struct dmfmt_dev *dev);
/* on standard error: the same, where no document is printed */
void undo_hint(struct tool *t, const struct dmfmt_dev *dev);
/* --undo and --no-undo together, and the like; 0 or STATUS_USAGE */
int writing_check_options(struct tool *t);

/* writes kept until their turn in the document comes */
struct write_list {
	struct dmfmt_write *writes;
	size_t nr, room;
};

/* for dmfmt_dev_set_dry_run() and dmfmt_dev_set_trace(); @list is the struct write_list */
int write_list_add(void *list, const struct dmfmt_write *w);
void write_list_print(struct tool *t, const struct write_list *list);
void write_list_free(struct write_list *list);

/* the same without keeping anything: print each as it comes, between these two */
void writes_begin(struct tool *t);
int writes_print(void *tool, const struct dmfmt_write *w);
void writes_end(struct tool *t);
/* for the options at hand: list, trace, or neither; 0 or a negative errno */
int writes_attach(struct tool *t, struct dmfmt_dev *dev,
		  int (*fn)(void *arg, const struct dmfmt_write *w), void *arg);

#endif
