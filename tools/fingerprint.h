/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What `dmtool fingerprint` wrote of an origin. */
#ifndef DMTOOL_FINGERPRINT_H
#define DMTOOL_FINGERPRINT_H

#include "dmtool.h"

#define FINGERPRINT_SAMPLE_BYTES 4096	/* the last one of a device may be shorter */
#define FINGERPRINT_SAMPLES_MAX	 65536

/*
 * Read the file of --origin-fingerprint and give it to @f, whose origin must be set; nothing is done
 * without the option.
 * Return: 0, or the exit status after the reason was printed: 4 if the origin plainly is another.
 */
int fingerprint_apply(struct tool *t, struct dmfmt *f);

#endif
