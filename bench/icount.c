// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A plugin for QEMU's TCG: counts the instructions that a guest with one x86-64 processor runs between
 * two marks.
 *
 *	-plugin FILE,out=FILE[,profile=on]
 *
 * Marks are no-ops that compilers do not emit: "xchg %bx,%bx" begins a run, "xchg %cx,%cx" ends it.  For
 * each run one line goes to the file out:
 *
 *	run NUMBER user N kernel N modules N
 *
 * and, with profile=on, what each 16 bytes of code took:
 *
 *	at ADDRESS INSTRUCTIONS
 *
 * Lines of a run come after its "run" line.  Instructions are counted per translated block: a block that
 * an interrupt or a fault cuts short has been counted whole, which happens at the same places each time.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "qemu_plugin.h"

#define KERNEL_BASE 0xffffffff80000000ULL
#define MODULES_BASE 0xffffffffc0000000ULL
/* the last 2 GiB of the address space: 1 GiB for the kernel's image, the rest for modules */
#define CELL_SHIFT 4
#define NR_CELLS ((0 - KERNEL_BASE) >> CELL_SHIFT)

QEMU_PLUGIN_EXPORT int qemu_plugin_version = 1;

/* Where blocks count; what lies below KERNEL_BASE but is not user space is the kernel's as well. */
static uint64_t user, kernel_low, *cells;

/* what they were when the run began */
static uint64_t user_begun, kernel_low_begun, *cells_begun;
/* cells in use, so that a run costs nothing for the others */
static uint32_t *used;
static size_t nr_used;

static FILE *out;
static bool profile, running;
static unsigned int runs;

static uint64_t *counter_of(uint64_t address)
{
	uint32_t cell;

	if (address >> 63 == 0)
		return &user;
	if (address < KERNEL_BASE)
		return &kernel_low;
	cell = (address - KERNEL_BASE) >> CELL_SHIFT;
	/* the value before the first use is 0 */
	if (!(cells[cell] & 1ULL << 63)) {
		cells[cell] |= 1ULL << 63;
		cells_begun[cell] |= 1ULL << 63;
		used[nr_used++] = cell;
	}
	return &cells[cell];
}

static uint64_t address_of(uint32_t cell)
{
	return KERNEL_BASE + ((uint64_t)cell << CELL_SHIFT);
}

static void run_begin(unsigned int vcpu, void *unused)
{
	size_t i;

	(void)vcpu;
	(void)unused;
	running = true;
	user_begun = user;
	kernel_low_begun = kernel_low;
	for (i = 0; i < nr_used; i++)
		cells_begun[used[i]] = cells[used[i]];
}

static void print_profile(void)
{
	uint64_t n;
	size_t i;

	for (i = 0; i < nr_used; i++) {
		n = cells[used[i]] - cells_begun[used[i]];
		if (n)
			fprintf(out, "at %" PRIx64 " %" PRIu64 "\n", address_of(used[i]), n);
	}
}

static void run_end(unsigned int vcpu, void *unused)
{
	uint64_t kernel = kernel_low - kernel_low_begun, modules = 0, n;
	size_t i;

	(void)vcpu;
	(void)unused;
	if (!running)
		return;
	running = false;
	for (i = 0; i < nr_used; i++) {
		n = cells[used[i]] - cells_begun[used[i]];
		if (address_of(used[i]) >= MODULES_BASE)
			modules += n;
		else
			kernel += n;
	}
	fprintf(out, "run %u user %" PRIu64 " kernel %" PRIu64 " modules %" PRIu64 "\n", ++runs,
		user - user_begun, kernel, modules);
	if (profile)
		print_profile();
	fflush(out);
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t n = qemu_plugin_tb_n_insns(tb), i;
	struct qemu_plugin_insn *insn;
	const unsigned char *bytes;

	(void)id;
	qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64,
						 counter_of(qemu_plugin_tb_vaddr(tb)), n);
	for (i = 0; i < n; i++) {
		insn = qemu_plugin_tb_get_insn(tb, i);
		if (qemu_plugin_insn_size(insn) != 3)
			continue;
		bytes = qemu_plugin_insn_data(insn);
		if (bytes[0] != 0x66 || bytes[1] != 0x87)
			continue;
		if (bytes[2] == 0xdb)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, run_begin, QEMU_PLUGIN_CB_NO_REGS,
							       NULL);
		else if (bytes[2] == 0xc9)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, run_end, QEMU_PLUGIN_CB_NO_REGS, NULL);
	}
}

static void finish(qemu_plugin_id_t id, void *unused)
{
	(void)id;
	(void)unused;
	fclose(out);
}

/* room that takes memory where it is used only */
static void *reserve(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		       0);

	return p == MAP_FAILED ? NULL : p;
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc,
					   char **argv)
{
	const char *file = NULL;
	int i;

	(void)info;
	for (i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "out=", 4)) {
			file = argv[i] + 4;
		} else if (!strcmp(argv[i], "profile=on")) {
			profile = true;
		} else {
			fprintf(stderr, "icount: %s: unknown option\n", argv[i]);
			return -1;
		}
	}
	out = file ? fopen(file, "w") : NULL;
	cells = reserve(NR_CELLS * sizeof(*cells));
	cells_begun = reserve(NR_CELLS * sizeof(*cells_begun));
	used = reserve(NR_CELLS * sizeof(*used));
	if (!out || !cells || !cells_begun || !used) {
		fprintf(stderr, "icount: out=%s: cannot be written, or no memory\n", file ? file : "");
		return -1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, finish, NULL);
	return 0;
}
