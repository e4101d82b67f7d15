// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * dmfmt-slow symbol=<module:function> loops=<n> - a planted slowdown: whoever calls the function pays
 * for n turns of an empty loop.  The benchmark has to see it.
 */
#include <linux/kprobes.h>
#include <linux/module.h>

static char *symbol;
module_param(symbol, charp, 0444);
MODULE_PARM_DESC(symbol, "the function that becomes slower");
static unsigned int loops = 1000;
module_param(loops, uint, 0444);
MODULE_PARM_DESC(loops, "turns of an empty loop for each call");

static int slow_down(struct kprobe *probe, struct pt_regs *regs)
{
	unsigned int i;

	for (i = 0; i < loops; i++)
		barrier();
	return 0;
}

static struct kprobe probe = { .pre_handler = slow_down };

static int __init slow_init(void)
{
	if (!symbol)
		return -EINVAL;
	probe.symbol_name = symbol;
	return register_kprobe(&probe);
}

static void __exit slow_exit(void)
{
	unregister_kprobe(&probe);
}

module_init(slow_init);
module_exit(slow_exit);

MODULE_DESCRIPTION("dmfmt: a planted slowdown");
MODULE_LICENSE("GPL");
