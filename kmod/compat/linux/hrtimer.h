/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A timer and its function in one call. */
#ifndef DMFMT_COMPAT_HRTIMER_H
#define DMFMT_COMPAT_HRTIMER_H

#include_next <linux/hrtimer.h>

#ifndef HAVE_HRTIMER_SETUP
static inline void hrtimer_setup(struct hrtimer *timer, enum hrtimer_restart (*function)(struct hrtimer *),
				 clockid_t clock, enum hrtimer_mode mode)
{
	hrtimer_init(timer, clock, mode);
	timer->function = function;
}
#endif

#endif
