// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "human.h"
#include "mapfile.h"

#define RANGES_MAX (256u << 10)
#define COMMENTS_MAX 4096u

const char *mapfile_error(const struct map_range *r)
{
	return r->error == -EILSEQ ? "reads back differently" : strerror(-r->error);
}

int mapfile_init(struct tool *t, struct mapfile *m, const char *path)
{
	int status;

	*m = (struct mapfile){ .fd = -1 };
	if (!path)
		return 0;
	status = newfile_init(t, &m->file, path);
	if (status)
		return status;
	m->fd = newfile_open(&m->file);
	if (m->fd >= 0)
		return 0;
	tool_error(t, "%s: %s", m->file.temp, strerror(-m->fd));
	return STATUS_ERROR;
}

/* ---- ranges ---- */

static int by_place(const void *a, const void *b)
{
	const struct map_range *x = a, *y = b;

	return x->to < y->to ? -1 : x->to > y->to;
}

/* sort, and join what touches or is nearer than the gap */
static void join(struct mapfile *m)
{
	size_t i, n = 0;

	if (m->nr > 1)
		qsort(m->v, m->nr, sizeof(*m->v), by_place);
	for (i = 0; i < m->nr; i++) {
		struct map_range *last = n ? &m->v[n - 1] : NULL, r = m->v[i];
		uint64_t end = r.to + r.length;

		if (!last || r.to > last->to + last->length + m->gap)
			m->v[n++] = r;
		else if (end > last->to + last->length)
			last->length = end - last->to;
	}
	m->nr = n;
}

int mapfile_add(struct mapfile *m, const struct map_range *r)
{
	if (!m->file.made || m->held)
		return 0;
	if (m->nr == RANGES_MAX) {
		join(m);
		while (m->nr > RANGES_MAX / 2) {
			m->gap = m->gap ? 2 * m->gap : 4096;
			join(m);
		}
	}
	if (m->nr == m->room) {
		size_t room = m->room ? 2 * m->room : 64;
		struct map_range *v = reallocarray(m->v, room, sizeof(*v));

		if (!v)
			return -ENOMEM;
		m->v = v;
		m->room = room;
	}
	m->v[m->nr++] = *r;
	return 0;
}

/* ---- the file ---- */

static void line(FILE *out, uint64_t pos, uint64_t size, char status)
{
	if (size)
		fprintf(out, "0x%08" PRIX64 "  0x%08" PRIX64 "  %c\n", pos, size, status);
}

static void head(struct tool *t, FILE *out)
{
	char clean[sizeof(t->line)];

	fprintf(out, "# Mapfile. Created by dmtool %s\n# Command line: %s\n", dmfmt_version(),
		human_clean(clean, sizeof(clean), t->line));
}

static void position(FILE *out, uint64_t pos, char status)
{
	fprintf(out, "# current_pos  current_status  current_pass\n0x%08" PRIX64 "     %c               1\n",
		pos, status);
	fprintf(out, "#      pos        size  status\n");
}

static void comments(struct tool *t, const struct mapfile *m, FILE *out)
{
	size_t i;

	head(t, out);
	for (i = 0; i < m->nr && i < COMMENTS_MAX; i++)
		fprintf(out, "# 0x%08" PRIX64 " is on the store at 0x%08" PRIX64 ": %s: %s\n",
			m->v[i].to, m->v[i].from, m->v[i].reading ? "read" : "write",
			mapfile_error(&m->v[i]));
	if (m->nr > i)
		fprintf(out, "# and %zu more\n", m->nr - i);
	if (m->gap)
		fprintf(out, "# ranges up to %" PRIu64 " bytes apart are joined\n", m->gap);
}

static void print(struct tool *t, const struct mapfile *m, FILE *out, uint64_t size, bool complete)
{
	char rest = complete ? '+' : '?';
	uint64_t at = 0;
	size_t i;

	comments(t, m, out);
	position(out, complete ? size : 0, rest);
	for (i = 0; i < m->nr; i++) {
		line(out, at, m->v[i].to - at, rest);
		line(out, m->v[i].to, m->v[i].length, '-');
		at = m->v[i].to + m->v[i].length;
	}
	line(out, at, size - at, rest);
}

static int fail(struct tool *t, const struct mapfile *m, int err)
{
	tool_error(t, "%s: %s", m->file.temp, strerror(err));
	return STATUS_ERROR;
}

/* what was printed is durable and the file gets its name; @out is closed */
static int finish(struct tool *t, struct mapfile *m, FILE *out)
{
	int err = fflush(out) || ferror(out) || fsync(fileno(out)) ? errno : 0;

	if (fclose(out) && !err)
		err = errno;
	return err ? fail(t, m, err) : newfile_commit(t, &m->file);
}

static FILE *take_file(struct mapfile *m)
{
	FILE *out = fdopen(m->fd, "w");

	if (out)
		m->fd = -1;
	return out;
}

int mapfile_commit(struct tool *t, struct mapfile *m, uint64_t size, bool complete)
{
	FILE *out;

	if (!m->file.made)
		return 0;
	join(m);
	out = take_file(m);
	if (!out)
		return fail(t, m, errno);
	print(t, m, out, size, complete);
	return finish(t, m, out);
}

/* ---- of a patch ---- */

int mapfile_begin_held(struct tool *t, struct mapfile *m)
{
	if (!m->file.made)
		return 0;
	m->held = take_file(m);
	if (!m->held)
		return fail(t, m, errno);
	head(t, m->held);
	position(m->held, 0, '?');
	return 0;
}

int mapfile_held(struct mapfile *m, uint64_t to, uint64_t length)
{
	if (!m->held)
		return 0;
	line(m->held, m->at, to - m->at, '?');
	line(m->held, to, length, '+');
	m->at = to + length;
	return ferror(m->held) ? -EIO : 0;
}

int mapfile_commit_held(struct tool *t, struct mapfile *m, uint64_t size)
{
	FILE *out = m->held;

	if (!out)
		return 0;
	if (size > m->at)
		line(out, m->at, size - m->at, '?');
	m->held = NULL;
	return finish(t, m, out);
}

void mapfile_drop(struct mapfile *m)
{
	if (m->held)
		fclose(m->held);
	else if (m->file.made && m->fd >= 0)
		close(m->fd);
	newfile_drop(&m->file);
	free(m->v);
	*m = (struct mapfile){ .fd = -1 };
}
