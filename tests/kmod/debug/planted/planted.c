// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * planted - mistakes that the debug kernel must find
 *
 * Loading it with what=NAME makes the mistake of that name once; "none" makes none.  That the module
 * loads says nothing: only the kernel's log, or a scan for leaks, tells.
 */
#include <linux/delay.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

static char *what = "none";
module_param(what, charp, 0);
MODULE_PARM_DESC(what, "which mistake to make");

static DEFINE_SPINLOCK(spin);
static DEFINE_MUTEX(first);
static DEFINE_MUTEX(second);
static int __rcu *shared;
static volatile char sink;

/* the compiler must not see what these pointers are */
static char *hidden(char *p)
{
	OPTIMIZER_HIDE_VAR(p);
	return p;
}

static void plant_none(void)
{
}

static void plant_use_after_free(void)
{
	char *p = hidden(kmalloc(64, GFP_KERNEL));

	kfree(p);
	sink = *(volatile char *)hidden(p);
}

static void plant_out_of_bounds(void)
{
	char *p = hidden(kmalloc(61, GFP_KERNEL));

	if (p)
		*(volatile char *)hidden(p + 61) = 1;
	kfree(p);
}

static void plant_vmalloc(void)
{
	char *p = hidden(vmalloc(PAGE_SIZE - 8));

	if (p)
		sink = *(volatile char *)hidden(p + PAGE_SIZE - 4);
	vfree(p);
}

static void plant_stack(void)
{
	char room[16];
	char *p = hidden(room);

	memset(p, 0, sizeof(room));
	sink = *(volatile char *)hidden(p + sizeof(room));
}

static void plant_double_free(void)
{
	char *p = hidden(kmalloc(64, GFP_KERNEL));

	kfree(p);
	kfree(hidden(p));
}

static void plant_sleep(void)
{
	spin_lock(&spin);
	msleep(20);
	spin_unlock(&spin);
}

static void plant_mutex_in_rcu(void)
{
	rcu_read_lock();
	mutex_lock(&first);
	mutex_unlock(&first);
	rcu_read_unlock();
}

static void plant_order(void)
{
	mutex_lock(&first);
	mutex_lock(&second);
	mutex_unlock(&second);
	mutex_unlock(&first);
	mutex_lock(&second);
	mutex_lock(&first);
	mutex_unlock(&first);
	mutex_unlock(&second);
}

static void plant_rcu(void)
{
	sink = rcu_dereference(shared) != NULL;
}

static void plant_list(void)
{
	struct list_head head, one, *p;

	INIT_LIST_HEAD(&head);
	list_add(&one, &head);
	p = (struct list_head *)hidden((char *)&one);
	__list_del_entry(p);
	one.next = &head;
	one.prev = &head;
	__list_del_entry(p);
}

static void plant_leak(void)
{
	int i;

	/* one may be found in a stale register; not all of them */
	for (i = 0; i < 8; i++)
		memset(hidden(kmalloc(1000, GFP_KERNEL | __GFP_NOFAIL)), i, 1000);
}

static const struct {
	const char *name;
	void (*plant)(void);
} mistakes[] = {
	{ "none", plant_none },
	{ "use_after_free", plant_use_after_free },
	{ "out_of_bounds", plant_out_of_bounds },
	{ "vmalloc", plant_vmalloc },
	{ "stack", plant_stack },
	{ "double_free", plant_double_free },
	{ "sleep", plant_sleep },
	{ "mutex_in_rcu", plant_mutex_in_rcu },
	{ "order", plant_order },
	{ "rcu", plant_rcu },
	{ "list", plant_list },
	{ "leak", plant_leak },
};

static int __init planted_init(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(mistakes); i++) {
		if (strcmp(mistakes[i].name, what))
			continue;
		mistakes[i].plant();
		return 0;
	}
	pr_err("what: %s: no such mistake\n", what);
	return -EINVAL;
}

static void __exit planted_exit(void)
{
}

module_init(planted_init);
module_exit(planted_exit);

MODULE_DESCRIPTION("mistakes that the debug kernel must find");
MODULE_LICENSE("GPL");
