// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sink.h"

int sink_init(struct sink *s, int fd)
{
	*s = (struct sink){ .fd = fd };
	s->buf = malloc(SINK_BYTES);
	return s->buf ? 0 : -ENOMEM;
}

static int write_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t done = write(fd, p, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return errno;
		p += done;
		n -= done;
	}
	return 0;
}

int sink_flush(struct sink *s)
{
	if (s->len && !s->err) {
		s->err = write_all(s->fd, s->buf, s->len);
		s->flushed = true;
	}
	s->len = 0;
	return -s->err;
}

bool sink_discard(struct sink *s)
{
	if (s->flushed)
		return false;
	s->len = 0;
	return true;
}

char *sink_reserve(struct sink *s, size_t n)
{
	if (SINK_BYTES - s->len < n)
		sink_flush(s);
	return s->buf + s->len;
}

void sink_used(struct sink *s, size_t n)
{
	s->len += n;
}

void sink_write(struct sink *s, const void *bytes, size_t n)
{
	const char *p = bytes;

	while (n) {
		size_t part = n < SINK_BYTES / 2 ? n : SINK_BYTES / 2;

		memcpy(sink_reserve(s, part), p, part);
		sink_used(s, part);
		p += part;
		n -= part;
	}
}

void sink_puts(struct sink *s, const char *str)
{
	sink_write(s, str, strlen(str));
}

void sink_printf(struct sink *s, const char *fmt, ...)
{
	char small[512], *big = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(small, sizeof(small), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(small)) {
		sink_write(s, small, n);
		return;
	}
	va_start(ap, fmt);
	n = vasprintf(&big, fmt, ap);
	va_end(ap);
	if (n < 0) {
		s->err = s->err ? s->err : ENOMEM;
		return;
	}
	sink_write(s, big, n);
	free(big);
}

int sink_close(struct sink *s)
{
	sink_flush(s);
	if (s->fd >= 0 && close(s->fd) && !s->err && errno != EINTR)
		s->err = errno;
	s->fd = -1;
	free(s->buf);
	s->buf = NULL;
	return -s->err;
}
