// SPDX-License-Identifier: GPL-2.0-or-later
#include <inttypes.h>
#include <langinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "human.h"
#include "picture.h"



uint64_t picture_cell_units(const struct picture *p, size_t i)
{
	uint64_t start = i * p->per_cell;

	return p->units - start < p->per_cell ? p->units - start : p->per_cell;
}

unsigned picture_shade(const struct picture *p, size_t i)
{
	uint64_t all = p->unit_bytes ? picture_cell_units(p, i) : p->full, used = p->cells[i];

	if (!used || !all)
		return 0;
	if (used >= all)
		return 4;
	return 1 + (unsigned)((double)used * 3 / (double)all);
}

unsigned picture_columns(void)
{
	const char *env = getenv("COLUMNS");
	struct winsize ws;
	uint64_t n;

	if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) && ws.ws_col)
		return ws.ws_col;
	if (env && !human_parse_u64(env, &n) && n && n < 10000)
		return (unsigned)n;
	return 80;
}

bool picture_unicode(void)
{
	return !strcmp(nl_langinfo(CODESET), "UTF-8");
}

static const char *glyph(unsigned shade, bool unicode)
{
	static const char *const blocks[PICTURE_SHADES] = {
		"\u00b7", "\u2591", "\u2592", "\u2593", "\u2588"
	};
	static const char *const ascii[PICTURE_SHADES] = { ".", ":", "+", "*", "#" };

	return unicode ? blocks[shade] : ascii[shade];
}

static void label(char *buf, size_t len, const struct picture *p, size_t cell)
{
	char size[HUMAN_LEN];

	if (p->unit_bytes)
		human_size(size, cell * p->per_cell, p->unit_bytes);
	else
		snprintf(size, sizeof(size), "+%" PRIu64, (uint64_t)(cell * p->per_cell));
	snprintf(buf, len, "%*s  ", PICTURE_LABEL - 2, size);
}

/* what the picture shows, in one line */
static void heading(char *buf, size_t len, const struct picture *p)
{
	char size[HUMAN_LEN];

	if (p->unit_bytes)
		snprintf(buf, len, "%s: %" PRIu64 " units of %s each, %" PRIu64 " in one cell", p->which,
			 p->units, human_size(size, p->unit_bytes, 1), p->per_cell);
	else
		snprintf(buf, len, "%s: %" PRIu64 " epochs, the oldest first, %" PRIu64
			 " in one cell; the fullest cell has %" PRIu64, p->which, p->units, p->per_cell,
			 p->full);
}

void picture_text(struct out *o, const struct picture *p, unsigned columns, bool unicode)
{
	size_t width = columns > PICTURE_LABEL + 1 ? columns - PICTURE_LABEL : 1,
	       room = PICTURE_LABEL + 3 * width + 16;
	char *line = malloc(room), head[160];

	if (!line)
		return;
	heading(head, sizeof(head), p);
	out_text(o, "%s", "");
	out_text(o, "%s", head);
	for (size_t i = 0; i < p->nr_cells; i += width) {
		size_t n = p->nr_cells - i < width ? p->nr_cells - i : width;
		char *end;

		label(line, room, p, i);
		end = line + strlen(line);
		for (size_t j = 0; j < n; j++)
			end = stpcpy(end, glyph(picture_shade(p, i + j), unicode));
		out_text(o, "%s", line);
	}
	free(line);
}

void picture_legend(struct out *o, bool unicode)
{
	out_text(o, "%s", "");
	out_text(o, "%s empty  %s below a third  %s below two thirds  %s not full  %s full",
		 glyph(0, unicode), glyph(1, unicode), glyph(2, unicode), glyph(3, unicode),
		 glyph(4, unicode));
}

/* ---- SVG ---- */

#define CELL	 10
#define PER_LINE 64
#define MARGIN	 20
#define HEADING	 28

static size_t nr_lines(const struct picture *p)
{
	return (p->nr_cells + PER_LINE - 1) / PER_LINE;
}

static size_t height(const struct picture *p)
{
	return HEADING + nr_lines(p) * CELL + MARGIN;
}

static void svg_text(struct sink *s, const char *text)
{
	for (; *text; text++)
		switch (*text) {
		case '<':
			sink_puts(s, "&lt;");
			break;
		case '>':
			sink_puts(s, "&gt;");
			break;
		case '&':
			sink_puts(s, "&amp;");
			break;
		default:
			/* bytes that no XML may hold, or that may not be UTF-8 */
			sink_write(s,
				   (unsigned char)*text < 0x20 || (unsigned char)*text > 0x7e
					   ? "?"
					   : text,
				   1);
		}
}

static void svg_cells(struct sink *s, const struct picture *p, size_t top)
{
	for (size_t i = 0; i < p->nr_cells; i++)
		sink_printf(s,
			    "<rect class=\"s%u\" x=\"%zu\" y=\"%zu\" width=\"%d\" height=\"%d\">"
			    "<title>%" PRIu64 " + %" PRIu64 ": %" PRIu64 " used</title></rect>\n",
			    picture_shade(p, i), MARGIN + i % PER_LINE * CELL,
			    top + i / PER_LINE * CELL, CELL - 1, CELL - 1, i * p->per_cell,
			    picture_cell_units(p, i), p->cells[i]);
}

static void svg_picture(struct sink *s, const struct picture *p, size_t top)
{
	char head[160];

	heading(head, sizeof(head), p);
	sink_printf(s, "<text x=\"%d\" y=\"%zu\">%s</text>\n", MARGIN, top + HEADING - 10, head);
	svg_cells(s, p, top + HEADING);
}

static void svg_legend(struct sink *s, size_t top)
{
	static const char *const words[PICTURE_SHADES] = {
		"empty", "below a third", "below two thirds", "not full", "full"
	};

	for (unsigned i = 0; i < PICTURE_SHADES; i++)
		sink_printf(s,
			    "<rect class=\"s%u\" x=\"%u\" y=\"%zu\" width=\"%d\" height=\"%d\"/>"
			    "<text x=\"%u\" y=\"%zu\">%s</text>\n",
			    i, MARGIN + i * 130, top, CELL - 1, CELL - 1,
			    MARGIN + i * 130 + CELL + 4, top + CELL - 1, words[i]);
}

void picture_svg(struct sink *s, const struct picture *p, size_t nr, const char *title)
{
	size_t width = 2 * MARGIN + PER_LINE * CELL, top = MARGIN + HEADING, all = top + 2 * MARGIN;

	for (size_t i = 0; i < nr; i++)
		all += height(&p[i]);
	sink_printf(s,
		    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		    "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%zu\" height=\"%zu\" "
		    "viewBox=\"0 0 %zu %zu\">\n"
		    "<style>text{font:12px sans-serif;fill:#222}.s0{fill:#e8e8e8}.s1{fill:#b8d4ec}"
		    ".s2{fill:#7fb2dd}.s3{fill:#3f85c4}.s4{fill:#174a7c}</style>\n"
		    "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n"
		    "<text x=\"%d\" y=\"%d\" font-weight=\"bold\">",
		    width, all, width, all, MARGIN, MARGIN + 8);
	svg_text(s, title);
	sink_puts(s, "</text>\n");
	for (size_t i = 0; i < nr; i++) {
		svg_picture(s, &p[i], top);
		top += height(&p[i]);
	}
	svg_legend(s, top);
	sink_puts(s, "</svg>\n");
}
