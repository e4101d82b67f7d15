/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Standard output, buffered by hand: rows are written straight into the buffer, and the first error
 * (full disk, closed pipe) is kept, so that every command can tell at its end.
 */
#ifndef DMTOOL_SINK_H
#define DMTOOL_SINK_H

#include <stdbool.h>
#include <stddef.h>

#define SINK_BYTES (256 * 1024)

/*
 * @err: errno of the first failed write; everything after it is dropped
 * @flushed: something has left the buffer
 */
struct sink {
	int fd;
	int err;
	bool flushed;
	size_t len;
	char *buf;
};

int sink_init(struct sink *s, int fd);
/* room for @n bytes (at most SINK_BYTES / 2) in one piece, then tell how many were used */
char *sink_reserve(struct sink *s, size_t n);
void sink_used(struct sink *s, size_t n);
void sink_write(struct sink *s, const void *bytes, size_t n);
void sink_puts(struct sink *s, const char *str);
void sink_printf(struct sink *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* 0 or the first error, negative */
int sink_flush(struct sink *s);
/* forget what has not left the buffer; false if something has */
bool sink_discard(struct sink *s);
/* flush and close the descriptor: 0 or the first error, negative */
int sink_close(struct sink *s);

#endif
