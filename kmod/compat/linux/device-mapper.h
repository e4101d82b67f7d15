/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What older device-mappers do not export. */
#ifndef DMFMT_COMPAT_DEVICE_MAPPER_H
#define DMFMT_COMPAT_DEVICE_MAPPER_H

#include_next <linux/device-mapper.h>

/* older ones answer with the number itself, 0 for what does not exist */
#ifndef HAVE_DM_DEVT_FROM_PATH
static inline int dm_devt_from_path(const char *path, dev_t *dev_p)
{
	*dev_p = dm_get_dev_t(path);
	return *dev_p ? 0 : -ENODEV;
}
#endif

#endif
