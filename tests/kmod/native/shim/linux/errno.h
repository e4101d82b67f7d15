/* SPDX-License-Identifier: GPL-2.0-or-later */
/* the C library comes here as well */
#include_next <linux/errno.h>
