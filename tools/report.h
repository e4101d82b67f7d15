/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DMTOOL_REPORT_H
#define DMTOOL_REPORT_H

#include "dmtool.h"

/* how many findings of a kind to keep, as the options say */
size_t report_max_each(const struct tool *t);
/* the exit status that a report asks for */
int report_status(const struct tool *t, const struct dmfmt_report *r);

#endif
