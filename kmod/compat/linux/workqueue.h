/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A queue whose work runs on the processor that queued it: newer kernels want this said. */
#ifndef DMFMT_COMPAT_WORKQUEUE_H
#define DMFMT_COMPAT_WORKQUEUE_H

#include_next <linux/workqueue.h>

#ifndef HAVE_WQ_PERCPU
#define WQ_PERCPU 0
#endif

#endif
