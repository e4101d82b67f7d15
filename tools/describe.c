// SPDX-License-Identifier: GPL-2.0-or-later
/* The option tables for people (--help) and for programs (--describe). */
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "dmtool.h"

#define HELP_COLUMN 28
#define HELP_WIDTH  80

static const struct {
	int status;
	const char *text;
} exit_statuses[] = {
	{ STATUS_OK, "nothing wrong" },
	{ STATUS_MENDED, "something was mended" },
	{ STATUS_LEFT, "something wrong is left" },
	{ STATUS_ERROR, "the work could not be done" },
	{ STATUS_USAGE, "wrong usage" },
	{ STATUS_CANCELLED, "cancelled" },
};

/* words of @s between column @from and HELP_WIDTH; the line stands at @from already */
static void wrapped(const char *s, size_t from)
{
	size_t column = from;

	while (*s) {
		size_t n = strcspn(s, " ");

		if (column > from && column + 1 + n > HELP_WIDTH) {
			printf("\n%*s", (int)from, "");
			column = from;
		} else if (column > from) {
			putchar(' ');
			column++;
		}
		printf("%.*s", (int)n, s);
		column += n;
		s += n + (s[n] == ' ');
	}
	putchar('\n');
}

static void print_option(const struct opt *o)
{
	char left[160], arg[64];
	int n;

	if (o->letter && o->name)
		n = snprintf(left, sizeof(left), "  -%c, --%s%s", o->letter, o->name,
			     opts_arg(arg, o));
	else if (o->letter)
		n = snprintf(left, sizeof(left), "  -%c%s", o->letter, opts_arg(arg, o));
	else
		n = snprintf(left, sizeof(left), "      --%s%s", o->name, opts_arg(arg, o));
	printf("%s", left);
	if (n >= HELP_COLUMN) {
		putchar('\n');
		n = 0;
	}
	printf("%*s", HELP_COLUMN - n, "");
	wrapped(o->help, HELP_COLUMN);
}

static void print_sets(const struct opt_set *const *sets)
{
	for (; *sets; sets++) {
		if ((*sets)->title)
			printf("\n%s:\n", (*sets)->title);
		for (const struct opt *o = (*sets)->opts; o->letter || o->name; o++)
			print_option(o);
	}
}

static void print_statuses(void)
{
	puts("\nExit status (or-ed):");
	for (size_t i = 0; i < sizeof(exit_statuses) / sizeof(exit_statuses[0]); i++)
		printf("  %3d  %s\n", exit_statuses[i].status, exit_statuses[i].text);
}

static void print_synopsis(const struct tool *t, const struct command *cmd)
{
	printf("Usage: %s%s%s [OPTION]...", t->name, t->as_fsck ? "" : " ",
	       t->as_fsck ? "" : cmd->name);
	for (const struct command_arg *a = cmd->args; a->name; a++)
		printf(a->optional ? " [%s]" : " %s", a->name);
	putchar('\n');
}

void help_print(struct tool *t, const struct command *cmd)
{
	if (!cmd) {
		help_print_all(t);
		return;
	}
	print_synopsis(t, cmd);
	printf("%s%s%s\n\n", cmd->family ? cmd->family->what : "", cmd->family ? ": " : "",
	       cmd->help);
	for (const struct command_arg *a = cmd->args; a->name; a++) {
		printf("  %-*s", HELP_COLUMN - 2, a->name);
		wrapped(a->help, HELP_COLUMN);
	}
	print_sets(cmd->sets);
	if (cmd->notes) {
		putchar('\n');
		wrapped(cmd->notes, 0);
	}
	print_statuses();
}

static void print_family(const struct family *family)
{
	printf("\n%s:\n", family ? family->what : "any format");
	for (const struct command *c = commands; c->name; c++)
		if (c->family == family)
			printf("  %-18s %s\n", c->name, c->help);
}

void help_print_usage(struct tool *t)
{
	fprintf(stderr, "Usage: %s COMMAND [OPTION]... STORE [ORIGIN]\n"
		"Try '%s --help' for the commands.\n", t->name, t->name);
}

void help_print_all(struct tool *t)
{
	static const struct opt_set *const top[] = { &top_options, NULL };

	printf("Usage: %s COMMAND [OPTION]... STORE [ORIGIN]\n"
	       "Look after the on-disk metadata of device-mapper targets, offline.\n"
	       "The store always comes first, then the device that it belongs to.\n", t->name);
	for (const struct family *const *f = families; *f; f++)
		print_family(*f);
	print_family(NULL);
	print_sets(top);
	printf("\n'%s COMMAND --help' shows the options of a command.\n", t->name);
	print_statuses();
}

/* ---- as JSON ---- */

static const char *kind_word(enum opt_kind kind)
{
	static const char *const words[] = {
		[OPT_FLAG] = "flag",	 [OPT_COUNT] = "flag",	  [OPT_PICK] = "flag",
		[OPT_CHOICE] = "choice", [OPT_FILE] = "file",	  [OPT_DEVICE] = "device",
		[OPT_WORD] = "word",	 [OPT_NUMBER] = "number", [OPT_SECTORS] = "sectors",
		[OPT_BYTES] = "bytes",	 [OPT_RANGE] = "range",	  [OPT_IGNORED] = "flag",
		[OPT_DEVICES] = "device", [OPT_PERCENT] = "number",
		[OPT_HELP] = "flag",	 [OPT_VERSION] = "flag",  [OPT_DESCRIBE] = "flag",
	};

	return words[kind];
}

static struct json_object *string_or_null(const char *s)
{
	return s ? json_object_new_string(s) : NULL;
}

static struct json_object *choices(const char *arg)
{
	struct json_object *array = json_object_new_array();

	while (*arg) {
		size_t n = strcspn(arg, "|");

		json_object_array_add(array, json_object_new_string_len(arg, (int)n));
		arg += n + (arg[n] == '|');
	}
	return array;
}

static struct json_object *describe_option(const struct opt *o, const char *title)
{
	struct json_object *obj = json_object_new_object();

	json_object_object_add(obj, "short",
			       o->letter ? json_object_new_string_len(&o->letter, 1) : NULL);
	json_object_object_add(obj, "long", string_or_null(o->name));
	json_object_object_add(obj, "kind", json_object_new_string(kind_word(o->kind)));
	json_object_object_add(obj, "argument", string_or_null(o->arg));
	if (o->kind == OPT_CHOICE)
		json_object_object_add(obj, "choices", choices(o->arg));
	json_object_object_add(obj, "group", string_or_null(title));
	json_object_object_add(obj, "help", json_object_new_string(o->help));
	return obj;
}

static struct json_object *describe_sets(const struct opt_set *const *sets)
{
	struct json_object *array = json_object_new_array();
	const char *title = NULL;

	for (; *sets; sets++) {
		title = (*sets)->title ? (*sets)->title : title;
		for (const struct opt *o = (*sets)->opts; o->letter || o->name; o++)
			json_object_array_add(array, describe_option(o, title));
	}
	return array;
}

static struct json_object *describe_args(const struct command *c)
{
	static const char *const kinds[] = {
		[ARG_DEVICE] = "device", [ARG_FILE] = "file", [ARG_SECTOR] = "sectors",
	};
	struct json_object *array = json_object_new_array();

	for (const struct command_arg *a = c->args; a->name; a++) {
		struct json_object *obj = json_object_new_object();

		json_object_object_add(obj, "name", json_object_new_string(a->name));
		json_object_object_add(obj, "kind", json_object_new_string(kinds[a->kind]));
		json_object_object_add(obj, "optional", json_object_new_boolean(a->optional));
		json_object_object_add(obj, "help", json_object_new_string(a->help));
		json_object_array_add(array, obj);
	}
	return array;
}

static struct json_object *describe_command(const struct command *c)
{
	struct json_object *obj = json_object_new_object();
	char fsck[64];

	json_object_object_add(obj, "name", json_object_new_string(c->name));
	json_object_object_add(obj, "family", string_or_null(c->family ? c->family->name : NULL));
	json_object_object_add(obj, "help", json_object_new_string(c->help));
	json_object_object_add(obj, "notes", string_or_null(c->notes));
	if (c->fsck) {
		snprintf(fsck, sizeof(fsck), "fsck.%s", c->fsck);
		json_object_object_add(obj, "fsck", json_object_new_string(fsck));
	}
	json_object_object_add(obj, "arguments", describe_args(c));
	json_object_object_add(obj, "options", describe_sets(c->sets));
	return obj;
}

static struct json_object *describe_families(void)
{
	struct json_object *array = json_object_new_array();

	for (const struct family *const *f = families; *f; f++) {
		struct json_object *obj = json_object_new_object();

		json_object_object_add(obj, "name", json_object_new_string((*f)->name));
		json_object_object_add(obj, "what", json_object_new_string((*f)->what));
		json_object_object_add(obj, "records", json_object_new_string((*f)->records));
		json_object_array_add(array, obj);
	}
	return array;
}

static struct json_object *describe_statuses(void)
{
	struct json_object *array = json_object_new_array();

	for (size_t i = 0; i < sizeof(exit_statuses) / sizeof(exit_statuses[0]); i++) {
		struct json_object *obj = json_object_new_object();

		json_object_object_add(obj, "status", json_object_new_int(exit_statuses[i].status));
		json_object_object_add(obj, "help", json_object_new_string(exit_statuses[i].text));
		json_object_array_add(array, obj);
	}
	return array;
}

void describe_print(void)
{
	static const struct opt_set *const top[] = { &top_options, NULL };
	struct json_object *doc = json_object_new_object(), *list = json_object_new_array();

	json_object_object_add(doc, "schema", json_object_new_string("dmtool.describe"));
	json_object_object_add(doc, "schema_version", json_object_new_int(1));
	json_object_object_add(doc, "dmtool_version", json_object_new_string(dmfmt_version()));
	json_object_object_add(doc, "options", describe_sets(top));
	json_object_object_add(doc, "exit_statuses", describe_statuses());
	json_object_object_add(doc, "families", describe_families());
	for (const struct command *c = commands; c->name; c++)
		json_object_array_add(list, describe_command(c));
	json_object_object_add(doc, "commands", list);
	puts(json_object_to_json_string_ext(doc, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
					    JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(doc);
}
