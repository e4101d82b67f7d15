/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where a qcow2 overlay keeps what it changes.  The image is opened by `qemu-img`, which has to be
 * installed, and by nothing else; its backing file is never opened, whatever the image names.
 */
#ifndef DMTOOL_QCOW2_MAP_H
#define DMTOOL_QCOW2_MAP_H

#include "dmtool.h"

/* extents as dmfmt_snapshot_import() wants them */
struct qcow2_map {
	struct dmfmt_extent *v;
	size_t nr, room;
};

/*
 * Read the map of @path, an overlay over the device @origin of @origin_bytes.
 * @max: extents that may be kept
 *
 * Refused: other formats, encrypted or damaged images, external data files, compressed clusters, an
 * overlay of another size, one without a backing file or with one that is itself an overlay.
 * Return: 0, or the exit status after the reason was printed; qcow2_map_free() either way.
 */
int qcow2_map_read(struct tool *t, const char *path, const char *origin, uint64_t origin_bytes,
		   size_t max, struct qcow2_map *map);
void qcow2_map_free(struct qcow2_map *map);

#endif
