/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How far long work is, and how it is told to stop. */
#ifndef DMTOOL_PROGRESS_H
#define DMTOOL_PROGRESS_H

#include "../libdmfmt/dmfmt.h"
#include "opts.h"

/*
 * Catch SIGINT and SIGTERM (a flag; the second one kills) and SIGUSR1 (one line), and choose how to
 * show progress.  @device: its name in fsck's format; @rows_to_terminal: the result itself scrolls
 * by, so no bar.
 */
void progress_init(const struct opts *o, const char *device, bool rows_to_terminal);
/* the library's callback: non-zero once a stop was asked for */
int progress_callback(void *arg, const struct dmfmt_progress *p);
/* for work that the tool does itself; likewise */
int progress_report(const char *what, unsigned pass, unsigned nr_passes, uint64_t done,
		    uint64_t total, uint64_t bytes);
/* a stop was asked for */
bool progress_stopped(void);
/* take the bar off the terminal before something else is printed there */
void progress_clear(void);

#endif
