// SPDX-License-Identifier: LGPL-2.1-or-later
/* The report: findings, rules, counts.  Strings are copied; the list of kinds is findings.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format.h"

#define SEV_NOTE DMFMT_SEV_NOTE
#define SEV_WARNING DMFMT_SEV_WARNING
#define SEV_REPAIRABLE DMFMT_SEV_REPAIRABLE
#define SEV_FATAL DMFMT_SEV_FATAL

static const struct kind {
	unsigned number, rule;
	enum dmfmt_severity severity;
	const char *code, *text, *kernel;
} kinds[] = {
#define DMFMT_FINDING(id, number, rule, severity, code, text, kernel) \
	{ number, rule, SEV_##severity, code, text, kernel },
#include "../findings.h"
#undef DMFMT_FINDING
};

struct item {
	struct dmfmt_finding pub;
	enum dmfmt_code code;
	char *strings;		/* owns every copied string of pub */
};

struct dmfmt_report {
	struct dmfmt_ctx *ctx;
	size_t max_each;
	struct item *items;
	size_t nr, room;
	uint64_t count[DMFMT_F_NR];	/* records */
	size_t kept[DMFMT_F_NR];	/* findings one by one */
	size_t rest[DMFMT_F_NR];	/* item that stands for the rest + 1, or 0 */
	struct dmfmt_rule *rules;
	size_t nr_rules, room_rules;
	uint64_t records, areas, dirty;
	unsigned passes;
};

struct dmfmt_report *dmfmt_report_new(struct dmfmt_ctx *ctx, size_t max_each)
{
	struct dmfmt_report *r = calloc(1, sizeof(*r));

	if (!r) {
		dmfmt_fail(ctx, -ENOMEM, "out of memory for a report");
		return NULL;
	}
	r->ctx = ctx;
	r->dirty = DMFMT_NONE;
	r->max_each = max_each ? max_each : 100;
	return r;
}

void dmfmt_report_free(struct dmfmt_report *r)
{
	size_t i;

	if (!r)
		return;
	for (i = 0; i < r->nr; i++)
		free(r->items[i].strings);
	free(r->items);
	free(r->rules);
	free(r);
}

/* all strings of a finding in one allocation, one after the other */
static int set_strings(struct dmfmt_report *r, struct item *it, const char *place, const char *found,
		       const char *expected, const char *suggestion)
{
	char *s = NULL;
	int n = asprintf(&s, "%s%c%s%c%s%c%s%c%s%s%s%s%s", place, 0, found, 0, expected, 0, suggestion,
			 0, place, place[0] ? ": " : "", found, expected[0] ? ", expected " : "",
			 expected);

	if (n < 0)
		return dmfmt_fail(r->ctx, -ENOMEM, "out of memory for a finding");
	free(it->strings);
	it->strings = s;
	it->pub.place = s;
	it->pub.found = s += strlen(s) + 1;
	it->pub.expected = s += strlen(s) + 1;
	it->pub.suggestion = s += strlen(s) + 1;
	it->pub.message = s + strlen(s) + 1;
	return 0;
}

static struct item *new_item(struct dmfmt_report *r, enum dmfmt_code code)
{
	struct item *it;

	if (r->nr == r->room) {
		size_t room = r->room ? 2 * r->room : 16;
		struct item *more = reallocarray(r->items, room, sizeof(*more));

		if (!more)
			return NULL;
		r->items = more;
		r->room = room;
	}
	it = &r->items[r->nr++];
	memset(it, 0, sizeof(*it));
	it->code = code;
	it->pub.code = kinds[code].code;
	it->pub.number = kinds[code].number;
	it->pub.rule = kinds[code].rule;
	it->pub.severity = kinds[code].severity;
	it->pub.kernel = kinds[code].kernel;
	return it;
}

static void set_at(struct dmfmt_finding *f, const struct dmfmt_at *at)
{
	f->count = at->count;
	f->record = at->record;
	f->record2 = at->record2;
	f->offset = at->offset;
	f->origin_sector = at->origin_sector;
	f->origin_nr = at->origin_nr;
	f->loss = at->loss;
}

/* beyond max_each: one finding stands for all the others of its kind */
static int add_to_rest(struct dmfmt_report *r, enum dmfmt_code code, const struct dmfmt_at *at)
{
	struct item *it;

	if (!r->rest[code]) {
		struct dmfmt_at none = DMFMT_AT_NOWHERE;

		none.count = 0;
		it = new_item(r, code);
		if (!it)
			return dmfmt_fail(r->ctx, -ENOMEM, "out of memory for a finding");
		set_at(&it->pub, &none);
		r->rest[code] = r->nr;
	}
	it = &r->items[r->rest[code] - 1];
	it->pub.count += at->count;
	it->pub.loss += at->loss;
	return it->strings ? 0 : set_strings(r, it, "", "more of this kind", "", "");
}

int dmfmt_report_add(struct dmfmt_report *r, enum dmfmt_code code, const struct dmfmt_at *at,
		     const char *place, const char *found, const char *expected)
{
	struct item *it;

	r->count[code] += at->count;
	if (r->kept[code] >= r->max_each)
		return add_to_rest(r, code, at);
	it = new_item(r, code);
	if (!it)
		return dmfmt_fail(r->ctx, -ENOMEM, "out of memory for a finding");
	r->kept[code]++;
	set_at(&it->pub, at);
	return set_strings(r, it, place, found, expected, at->suggestion ? at->suggestion : "");
}

size_t dmfmt_report_max(const struct dmfmt_report *r)
{
	return r->max_each;
}

uint64_t dmfmt_report_count(const struct dmfmt_report *r, enum dmfmt_code code)
{
	return r->count[code];
}

void dmfmt_report_mended(struct dmfmt_report *r, enum dmfmt_code code, uint64_t record)
{
	size_t i;

	for (i = 0; i < r->nr; i++) {
		struct item *it = &r->items[i];

		if (it->code == code && (record == DMFMT_NONE || it->pub.record == record))
			it->pub.mended = true;
	}
}

void dmfmt_report_last_severity(struct dmfmt_report *r, enum dmfmt_severity s)
{
	if (r->nr)
		r->items[r->nr - 1].pub.severity = s;
}

void dmfmt_report_rule_add(struct dmfmt_report *r, unsigned number, const char *name, bool checked,
			   const char *reason)
{
	if (r->nr_rules == r->room_rules) {
		size_t room = r->room_rules ? 2 * r->room_rules : 40;
		struct dmfmt_rule *more = reallocarray(r->rules, room, sizeof(*more));

		if (!more)
			return;
		r->rules = more;
		r->room_rules = room;
	}
	r->rules[r->nr_rules++] = (struct dmfmt_rule){ number, name, checked, checked ? "" : reason };
}

void dmfmt_report_stats(struct dmfmt_report *r, uint64_t records, uint64_t areas, unsigned passes)
{
	r->records = records;
	r->areas = areas;
	r->passes = passes;
}

void dmfmt_report_dirty(struct dmfmt_report *r, uint64_t records)
{
	r->dirty = records;
}

enum dmfmt_code dmfmt_report_code(const struct dmfmt_report *r, size_t i)
{
	return i < r->nr ? r->items[i].code : DMFMT_F_NR;
}

size_t dmfmt_report_nr(const struct dmfmt_report *r)
{
	return r->nr;
}

const struct dmfmt_finding *dmfmt_report_get(const struct dmfmt_report *r, size_t i)
{
	return i < r->nr ? &r->items[i].pub : NULL;
}

size_t dmfmt_report_nr_rules(const struct dmfmt_report *r)
{
	return r->nr_rules;
}

const struct dmfmt_rule *dmfmt_report_rule(const struct dmfmt_report *r, size_t i)
{
	return i < r->nr_rules ? &r->rules[i] : NULL;
}

void dmfmt_report_summary(const struct dmfmt_report *r, struct dmfmt_summary *s)
{
	struct dmfmt_summary sum = { .size = sizeof(sum) };
	size_t i;

	for (i = 0; i < r->nr; i++) {
		const struct dmfmt_finding *f = &r->items[i].pub;

		if (f->mended) {
			sum.mended += f->count;
			continue;
		}
		sum.loss += f->loss;
		switch (f->severity) {
		case DMFMT_SEV_FATAL:
			sum.fatal += f->count;
			break;
		case DMFMT_SEV_REPAIRABLE:
			sum.repairable += f->count;
			break;
		case DMFMT_SEV_WARNING:
			sum.warnings += f->count;
			break;
		case DMFMT_SEV_NOTE:
			sum.notes += f->count;
			break;
		}
	}
	sum.records = r->records;
	sum.areas = r->areas;
	sum.passes = r->passes;
	sum.dirty = r->dirty;
	if (s->size > sizeof(sum))
		memset((char *)s + sizeof(sum), 0, s->size - sizeof(sum));
	sum.size = s->size;
	memcpy(s, &sum, s->size < sizeof(sum) ? s->size : sizeof(sum));
}

const char *dmfmt_finding_list(size_t i, unsigned *number, enum dmfmt_severity *severity,
			       const char **text)
{
	if (i >= DMFMT_F_NR)
		return NULL;
	*number = kinds[i].number;
	*severity = kinds[i].severity;
	*text = kinds[i].text;
	return kinds[i].code;
}
