// SPDX-License-Identifier: GPL-2.0-or-later
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "human.h"

const char *human_size(char buf[HUMAN_LEN], uint64_t n, uint64_t unit_bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double v = (double)n * (double)unit_bytes;
	size_t i = 0;

	for (; v >= 1024 && i + 1 < sizeof(units) / sizeof(units[0]); i++)
		v /= 1024;
	snprintf(buf, HUMAN_LEN, i ? "%.1f %s" : "%.0f %s", v, units[i]);
	return buf;
}

const char *human_time(char buf[HUMAN_LEN], uint64_t seconds)
{
	unsigned m = seconds / 60 % 60, s = seconds % 60;

	if (seconds >= 3600)
		snprintf(buf, HUMAN_LEN, "%" PRIu64 ":%02u:%02u", seconds / 3600, m, s);
	else
		snprintf(buf, HUMAN_LEN, "%u:%02u", m, s);
	return buf;
}

const char *human_unit(enum dmfmt_unit unit)
{
	switch (unit) {
	case DMFMT_UNIT_SECTORS:
		return "sectors";
	case DMFMT_UNIT_BYTES:
		return "bytes";
	case DMFMT_UNIT_CHUNKS:
		return "chunks";
	case DMFMT_UNIT_BLOCKS:
		return "blocks";
	default:
		return "";
	}
}

static uint64_t unit_bytes(const struct dmfmt_field *f)
{
	if (f->unit_bytes)
		return f->unit_bytes;
	if (f->unit == DMFMT_UNIT_SECTORS)
		return 512;
	return f->unit == DMFMT_UNIT_BYTES;
}

static void number(char *buf, size_t len, const struct dmfmt_field *f)
{
	const char *unit = human_unit(f->unit);
	char size[HUMAN_LEN];
	int n;

	n = snprintf(buf, len, "%" PRIu64 "%s%s", f->u,
		     f->unit == DMFMT_UNIT_PERCENT ? " %" : *unit ? " " : "", unit);
	if (f->u == 1 && *unit && n > 0 && (size_t)n < len)
		buf[--n] = '\0';
	if (!unit_bytes(f) || n < 0 || (size_t)n >= len)
		return;
	if (f->unit == DMFMT_UNIT_BYTES && f->u < 1024)
		return;
	snprintf(buf + n, len - n, " (%s)", human_size(size, f->u, unit_bytes(f)));
}

void human_field(char *buf, size_t len, const struct dmfmt_field *f)
{
	switch (f->kind) {
	case DMFMT_U64:
		number(buf, len, f);
		break;
	case DMFMT_HEX:
		snprintf(buf, len, "0x%" PRIx64, f->u);
		break;
	case DMFMT_BOOL:
		snprintf(buf, len, "%s", f->u ? "yes" : "no");
		break;
	case DMFMT_STRING:
		human_clean(buf, len, f->s ? f->s : "");
		break;
	}
}

const char *human_clean(char *buf, size_t len, const char *s)
{
	size_t i;

	for (i = 0; s[i] && i + 1 < len; i++)
		buf[i] = (unsigned char)s[i] < 0x20 || s[i] == 0x7f ? '?' : s[i];
	buf[i] = '\0';
	return buf;
}

static int digits(const char **s, uint64_t *out)
{
	uint64_t v = 0;
	const char *p = *s;

	if (!isdigit((unsigned char)*p))
		return -EINVAL;
	for (; isdigit((unsigned char)*p); p++)
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
			return -ERANGE;
	*s = p;
	*out = v;
	return 0;
}

int human_parse_u64(const char *s, uint64_t *out)
{
	int err = digits(&s, out);

	return err ? err : *s ? -EINVAL : 0;
}

/* bytes of the unit that @s spells out, 0 if it is none */
static uint64_t suffix_bytes(const char *s)
{
	static const char letters[] = "KMGTP";
	const char *p = strchr(letters, toupper((unsigned char)*s));

	if (!strcmp(s, "s"))
		return 512;
	if (!strcmp(s, "B"))
		return 1;
	if (!p || (s[1] && strcmp(s + 1, "iB")))
		return 0;
	return 1ULL << (10 * (p - letters + 1));
}

int human_parse(const char *s, uint64_t unit, uint64_t *out)
{
	uint64_t n, bytes;
	int err = digits(&s, &n);

	if (err)
		return err;
	bytes = *s ? suffix_bytes(s) : unit;
	if (!bytes)
		return -EINVAL;
	if (bytes >= unit)
		return __builtin_mul_overflow(n, bytes / unit, out) ? -ERANGE : 0;
	if (n % (unit / bytes))
		return -EINVAL;
	*out = n / (unit / bytes);
	return 0;
}
