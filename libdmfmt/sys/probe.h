/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What other software would see on a device.  The only user of libblkid is probe.c. */
#ifndef DMFMT_SYS_PROBE_H
#define DMFMT_SYS_PROBE_H

#include "../io/dev.h"

/**
 * struct dmfmt_signature - one signature that libblkid knows
 * @type: libblkid's name ("ext4", "DM_snapshot_cow", "gpt")
 * @version: as libblkid prints it, or NULL
 * @usage: "filesystem", "raid", "crypto", "other" or "partition-table"
 * @offset: bytes, where its magic stands
 *
 * Strings are valid during the callback.
 */
struct dmfmt_signature {
	const char *type, *version, *usage;
	uint64_t offset;
};

/**
 * dmfmt_signatures() - every signature on @dev, in the order in which libblkid finds them
 * @fn: a return other than 0 ends the search with it
 *
 * A device in memory has none: libblkid reads only what has a file descriptor.  Layers above the
 * bottom (a dry run) are not looked through either: what counts is what lies there now.
 * Return: 0; -EIO the device could not be read; -ENOMEM; errno of open(2).
 */
int dmfmt_signatures(struct dmfmt_dev *dev,
		     int (*fn)(void *arg, const struct dmfmt_signature *sig), void *arg);

/**
 * dmfmt_filesystem() - what libblkid would mount (or assemble) of @dev
 * @fn: called at most once; @type: "ext4"; @uuid: as libblkid prints it, or NULL
 *
 * Nothing is told if there is nothing, or more than one thing.  As for dmfmt_signatures(), a device
 * in memory has none.
 * Return: 0, or what @fn returned; -EIO; -ENOMEM; errno of open(2).
 */
int dmfmt_filesystem(struct dmfmt_dev *dev, int (*fn)(void *arg, const char *type, const char *uuid),
		     void *arg);

/**
 * dmfmt_filesystem_block() - in which blocks the file system on @dev reads and writes
 * @fn: called at most once, as by dmfmt_filesystem(); @bytes: libblkid's BLOCK_SIZE (of xfs the sector
 *      size), a device's logical block must not be larger
 */
int dmfmt_filesystem_block(struct dmfmt_dev *dev,
			   int (*fn)(void *arg, const char *type, uint64_t bytes), void *arg);

#endif
