// SPDX-License-Identifier: GPL-2.0-or-later
/* The parser over the option tables. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dmtool.h"
#include "human.h"

#define MAX_OPTS  96
#define LONG_BASE 1000		/* getopt's code for the long option number i is LONG_BASE + i */

/* the command's options in one list, and what getopt wants to know of them */
struct parser {
	struct tool *t;
	const struct opt *opt[MAX_OPTS];
	size_t nr;
	struct option longs[MAX_OPTS + 1];
	char letters[2 * MAX_OPTS + 2];
};

const char *opts_name(char buf[64], const struct opt *o)
{
	if (o->name)
		snprintf(buf, 64, "--%s", o->name);
	else
		snprintf(buf, 64, "-%c", o->letter);
	return buf;
}

const char *opts_arg(char buf[64], const struct opt *o)
{
	if (!o->arg)
		return "";
	snprintf(buf, 64, o->name ? "=%s" : " %s", o->arg);
	return buf;
}

static void add_option(struct parser *p, const struct opt *o)
{
	size_t n = strlen(p->letters), i = p->nr++;

	p->opt[i] = o;
	p->longs[i] = (struct option){
		/* getopt wants a name for each: this one cannot be typed */
		.name = o->name ? o->name : "=",
		.has_arg = o->arg ? required_argument : no_argument,
		.val = LONG_BASE + (int)i,
	};
	if (!o->letter)
		return;
	p->letters[n++] = o->letter;
	if (o->arg)
		p->letters[n++] = ':';
	p->letters[n] = '\0';
}

static void add_sets(struct parser *p, const struct opt_set *const *sets)
{
	for (; *sets; sets++)
		for (const struct opt *o = (*sets)->opts; o->letter || o->name; o++)
			if (p->nr < MAX_OPTS)
				add_option(p, o);
}

static const struct opt *find_option(const struct parser *p, int code)
{
	if (code >= LONG_BASE)
		return p->opt[code - LONG_BASE];
	for (size_t i = 0; i < p->nr; i++)
		if (p->opt[i]->letter == code)
			return p->opt[i];
	return NULL;
}

static void *place(struct parser *p, const struct opt *o)
{
	return (char *)&p->t->o + o->at;
}

static int set_pick(struct parser *p, const struct opt *o)
{
	int *v = place(p, o);
	char a[64], b[64];

	if (*v && *v != o->value)
		for (size_t i = 0; i < p->nr; i++)
			if (p->opt[i]->kind == OPT_PICK && p->opt[i]->at == o->at &&
			    p->opt[i]->value == *v) {
				tool_usage(p->t, "%s and %s exclude each other",
					   opts_name(a, p->opt[i]), opts_name(b, o));
				return -EINVAL;
			}
	*v = o->value;
	return 0;
}

static int bad_value(struct parser *p, const struct opt *o, const char *arg, const char *expected)
{
	char name[64], clean[128];

	tool_usage(p->t, "%s: found \"%s\", expected %s", opts_name(name, o),
		   human_clean(clean, sizeof(clean), arg), expected);
	return -EINVAL;
}

static int set_choice(struct parser *p, const struct opt *o, const char *arg)
{
	const char *word = o->arg;

	for (int i = 1; ; i++) {
		size_t n = strcspn(word, "|");

		if (strlen(arg) == n && !strncmp(word, arg, n)) {
			*(int *)place(p, o) = i;
			return 0;
		}
		if (!word[n])
			return bad_value(p, o, arg, o->arg);
		word += n + 1;
	}
}

static int set_range(struct parser *p, const struct opt *o, const char *arg)
{
	static const char expected[] = "START-END in sectors or with units, START below END";
	uint64_t *v = place(p, o);
	char *first = strdup(arg), *dash = first ? strchr(first, '-') : NULL;
	int err = dash ? 0 : -EINVAL;

	if (dash) {
		*dash = '\0';
		err = human_parse(first, 512, &v[0]);
		if (!err)
			err = human_parse(dash + 1, 512, &v[1]);
	}
	free(first);
	if (err || v[0] >= v[1])
		return bad_value(p, o, arg, expected);
	return 0;
}

static int set_number(struct parser *p, const struct opt *o, const char *arg)
{
	uint64_t *v = place(p, o);
	int err;

	switch (o->kind) {
	case OPT_SECTORS:
		err = human_parse(arg, 512, v);
		break;
	case OPT_BYTES:
		err = human_parse(arg, 1, v);
		break;
	default:
		err = human_parse_u64(arg, v);
	}
	if (!err && *v == DMFMT_NONE)
		err = -ERANGE;
	if (err == -ERANGE)
		return bad_value(p, o, arg, "a number below 2^64 - 1");
	if (err && o->kind == OPT_NUMBER)
		return bad_value(p, o, arg, "a number");
	if (err)
		return bad_value(p, o, arg, o->kind == OPT_BYTES ?
				 "bytes, or a number with one of B K M G T P" :
				 "sectors, or a whole number of them with one of s B K M G T P");
	return 0;
}

static int add_to_list(struct parser *p, const struct opt *o, const char *arg)
{
	struct opt_list *list = place(p, o);

	if (!*arg)
		return bad_value(p, o, arg, "a name");
	if (list->nr == OPT_LIST_MAX)
		return bad_value(p, o, arg, "not so many of them");
	list->v[list->nr++] = arg;
	return 0;
}

/* up to three digits behind the point, at most 100 */
static int set_percent(struct parser *p, const struct opt *o, const char *arg)
{
	static const char expected[] = "a percentage from 0 to 100, such as 20% or 12.5";
	uint64_t *v = place(p, o), part = 0, unit = 1000;
	char *end;

	if (*arg < '0' || *arg > '9' || strlen(arg) > 9)
		return bad_value(p, o, arg, expected);
	*v = strtoull(arg, &end, 10) * 1000;
	if (*end == '.')
		for (end++; *end >= '0' && *end <= '9' && unit > 1; end++) {
			unit /= 10;
			part += (uint64_t)(*end - '0') * unit;
		}
	*v += part;
	if (*end == '%')
		end++;
	return *end || *v > 100000 ? bad_value(p, o, arg, expected) : 0;
}

/* 0 go on, 1 done, negative usage error */
static int apply(struct parser *p, const struct opt *o, const char *arg)
{
	switch (o->kind) {
	case OPT_FLAG:
		*(bool *)place(p, o) = true;
		return 0;
	case OPT_COUNT:
		++*(int *)place(p, o);
		return 0;
	case OPT_PICK:
		return set_pick(p, o);
	case OPT_CHOICE:
		return set_choice(p, o, arg);
	case OPT_FILE:
	case OPT_DEVICE:
	case OPT_WORD:
		if (!*arg)
			return bad_value(p, o, arg, "a name");
		*(const char **)place(p, o) = arg;
		return 0;
	case OPT_DEVICES:
		return add_to_list(p, o, arg);
	case OPT_PERCENT:
		return set_percent(p, o, arg);
	case OPT_NUMBER:
	case OPT_SECTORS:
	case OPT_BYTES:
		return set_number(p, o, arg);
	case OPT_RANGE:
		return set_range(p, o, arg);
	case OPT_IGNORED:
		return 0;
	case OPT_HELP:
		help_print(p->t, p->t->cmd);
		return 1;
	case OPT_VERSION:
		printf("dmtool %s\n", dmfmt_version());
		return 1;
	case OPT_DESCRIBE:
		describe_print();
		return 1;
	}
	return -EINVAL;
}

static int bad_option(struct parser *p, int code, char **argv)
{
	char clean[128];
	const char *word = optind > 0 ? argv[optind - 1] : "";

	human_clean(clean, sizeof(clean), word);
	if (code == ':' && optopt && optopt < LONG_BASE)
		tool_usage(p->t, "option -%c needs an argument", optopt);
	else if (code == ':')
		tool_usage(p->t, "option %s needs an argument", clean);
	else if (optopt >= LONG_BASE)
		tool_usage(p->t, "option %s takes no argument", clean);
	else if (optopt)
		tool_usage(p->t, "unknown option -%c",
			   optopt >= ' ' && optopt < 0x7f ? optopt : '?');
	else
		tool_usage(p->t, "unknown option %s", clean);
	return -EINVAL;
}

static int take_args(struct tool *t, int argc, char **argv)
{
	int i = 0;

	for (; t->cmd && t->cmd->args[i].name; i++) {
		if (optind < argc) {
			t->arg[i] = argv[optind++];
			if (!*t->arg[i])
				return tool_usage(t, "%s: the name is empty", t->cmd->args[i].name);
		} else if (!t->cmd->args[i].optional) {
			return tool_usage(t, "%s is missing", t->cmd->args[i].name);
		}
	}
	if (optind < argc) {
		char clean[128];

		return tool_usage(t, "one argument too many: %s",
				  human_clean(clean, sizeof(clean), argv[optind]));
	}
	return 0;
}

static void set_defaults(struct opts *o)
{
	memset(o, 0, sizeof(*o));
	o->progress_fd = DMFMT_NONE;
	o->memory_bytes = DMFMT_NONE;
	o->max_findings = DMFMT_NONE;
	o->origin_sectors = DMFMT_NONE;
	o->accept_loss = DMFMT_NONE;
	o->chunk_sectors = DMFMT_NONE;
	o->width = DMFMT_NONE;
	o->origin_range[1] = DMFMT_NONE;
	o->rate = DMFMT_NONE;
	o->offset = DMFMT_NONE;
	o->length = DMFMT_NONE;
	o->size_sectors = DMFMT_NONE;
	o->change = DMFMT_NONE;
	o->samples = DMFMT_NONE;
	o->start_sectors = DMFMT_NONE;
	o->to_start_sectors = DMFMT_NONE;
	o->block_bytes = DMFMT_NONE;
}

int opts_parse(struct tool *t, int argc, char **argv)
{
	static const struct opt_set *const top[] = { &top_options, NULL };
	struct parser p = { .t = t, .letters = ":" };
	int code, err;

	set_defaults(&t->o);
	add_sets(&p, t->cmd ? t->cmd->sets : top);
	opterr = 0;
	optind = 0;
	while ((code = getopt_long(argc, argv, p.letters, p.longs, NULL)) != -1) {
		if (code == '?' || code == ':')
			return bad_option(&p, code, argv);
		err = apply(&p, find_option(&p, code), optarg ? optarg : "");
		if (err)
			return err;
	}
	return t->cmd ? -take_args(t, argc, argv) : 0;
}
