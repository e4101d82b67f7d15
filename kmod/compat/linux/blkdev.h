/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What block layers of the kernels that we name call by other names. */
#ifndef DMFMT_COMPAT_BLKDEV_H
#define DMFMT_COMPAT_BLKDEV_H

#include_next <linux/blkdev.h>

/* newer ones have modes of their own for opening a block device */
#ifndef HAVE_BLK_MODE_T
typedef fmode_t blk_mode_t;
#define BLK_OPEN_READ FMODE_READ
#define BLK_OPEN_WRITE FMODE_WRITE
#endif

/* newer ones tell what the hardware can from what the user allows */
static inline void dmfmt_limit_discards(struct queue_limits *limits, unsigned int sectors)
{
#ifndef HAVE_MAX_USER_DISCARD_SECTORS
	limits->max_hw_discard_sectors = limits->max_discard_sectors = sectors;
#else
	limits->max_hw_discard_sectors = sectors;
#endif
}

#endif
