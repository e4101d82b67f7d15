/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random numbers, recognisable data, direct I/O one by one and many at once, and the way out: fail()
 * prints what was done last.
 */
#ifndef TARGET_IO_H
#define TARGET_IO_H

#include <linux/aio_abi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dm.h"

#define SECTOR 512

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

uint64_t rnd(void);
uint64_t rnd_below(uint64_t n);
/* true in @percent of the cases */
bool chance(unsigned int percent);
void rnd_seed(uint64_t seed);

uint64_t now_ms(void);

/* remember a line; fail() shows the last ones, and all are shown if @notes_shown */
extern bool notes_shown;
void note(const char *format, ...) FORMAT(1, 2);
void fail(const char *format, ...) FORMAT(1, 2) __attribute__((noreturn));
/* an errno (or 0) that must be 0 */
void must(int err, const char *format, ...) FORMAT(2, 3);

/* memory that direct I/O takes */
void *pages(size_t bytes);

/*
 * Sectors that say who wrote them: every word of each depends on @tag and the sector's number, and the
 * tag can be read back from it.
 */
void fill(void *buf, uint64_t sector, uint64_t nr, uint64_t tag);
uint64_t tag_of(const void *sector);
/* number of the first sector that differs, or @nr */
uint64_t differs(const void *a, const void *b, uint64_t nr);

int open_direct(const char *node);
/* whole ranges: 0, or a negative errno; a short transfer is -EIO */
int sectors_read(int fd, void *buf, uint64_t sector, uint64_t nr);
int sectors_write(int fd, const void *buf, uint64_t sector, uint64_t nr);

/* many at once */
struct batch {
	struct iocb *cb;
	struct iocb **list;
	int *result;			/* 0 or a negative errno, in the order in which they were added */
	unsigned int nr, max;
	aio_context_t context;
};

void batch_init(struct batch *b, unsigned int max);
void batch_add(struct batch *b, int fd, bool write, void *buf, uint64_t sector, uint64_t nr);
/* submit all, wait for all; the batch can be filled anew after batch_reset() */
void batch_run(struct batch *b);
void batch_reset(struct batch *b);

#endif
