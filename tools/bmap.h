/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Block maps as bmaptool(1) reads them, version 2.0: an XML file with the ranges of blocks that an
 * image is made of, and a checksum over the file itself.
 */
#ifndef DMTOOL_BMAP_H
#define DMTOOL_BMAP_H

#include <stdint.h>
#include <stdio.h>

#define BMAP_BLOCK 4096

struct bmap;

/* of a device of @sectors; NULL without memory */
struct bmap *bmap_new(uint64_t sectors);
/* ascending; rounded outwards to whole blocks; 0 or -ENOMEM */
int bmap_add(struct bmap *m, uint64_t sector, uint64_t nr);
/* the end of it; 0 or a negative errno */
int bmap_print(struct bmap *m, FILE *out);
void bmap_free(struct bmap *m);

#endif
