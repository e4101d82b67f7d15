// SPDX-License-Identifier: GPL-2.0-or-later
/* Find the row, read the options, run it, set the exit status. */
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dmtool.h"
#include "human.h"
#include "progress.h"

__attribute__((format(printf, 3, 0)))
static void say(const struct tool *t, const char *kind, const char *fmt, va_list ap)
{
	char line[2048], clean[2048];

	vsnprintf(line, sizeof(line), fmt, ap);
	progress_clear();
	fprintf(stderr, "%s: %s%s\n", t->name, kind, human_clean(clean, sizeof(clean), line));
}

void tool_error(struct tool *t, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(t, "", fmt, ap);
	va_end(ap);
}

void tool_warn(struct tool *t, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(t, "warning: ", fmt, ap);
	va_end(ap);
}

void tool_note(struct tool *t, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(t, "", fmt, ap);
	va_end(ap);
}

int tool_usage(struct tool *t, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(t, "", fmt, ap);
	va_end(ap);
	if (t->cmd && !t->as_fsck)
		fprintf(stderr, "Try '%s %s --help'.\n", t->name, t->cmd->name);
	else
		fprintf(stderr, "Try '%s --help'.\n", t->name);
	return STATUS_USAGE;
}

int tool_abort(struct tool *t, int status, const char *why)
{
	if (t->out)
		out_abort(t->out, why);
	t->out = NULL;
	return status;
}

static void output_failed(struct tool *t, int err)
{
	tool_error(t, "standard output: %s", strerror(err));
}

int tool_fail(struct tool *t, int err)
{
	int out_err = t->out ? t->out->sink.err : 0;
	char why[2048];

	snprintf(why, sizeof(why), "%s", dmfmt_ctx_error(t->ctx));
	if (!*why)
		snprintf(why, sizeof(why), "%s: %s", t->arg[0] ? t->arg[0] : t->name,
			 strerror(-err));
	if (err == -ECANCELED)
		snprintf(why, sizeof(why), "stopped");
	tool_abort(t, 0, why);
	if (out_err && err == -out_err) {
		output_failed(t, out_err);
		return STATUS_ERROR;
	}
	tool_error(t, "%s", why);
	return err == -ECANCELED ? STATUS_CANCELLED : err == -EUCLEAN ? STATUS_LEFT : STATUS_ERROR;
}

static enum out_kind out_kind(const struct tool *t)
{
	switch (t->o.format) {
	case OUT_JSON:
		return OUT_KIND_JSON;
	case OUT_LINES:
		return t->cmd->run == verb_dump ? OUT_KIND_LINES : OUT_KIND_LINES_HEAD_LAST;
	default:
		return OUT_KIND_TEXT;
	}
}

int tool_begin(struct tool *t, const char *device, const char *format)
{
	struct out_head head = {
		.command = t->cmd->name, .device = device, .format = format, .live = t->o.live,
	};

	int fd;

	/* a copy: closing it shows late errors, and a second document may follow */
	fd = dup(STDOUT_FILENO);
	t->out = fd < 0 ? NULL : out_new(out_kind(t), fd, t->o.verbose > 0);
	if (!t->out) {
		output_failed(t, errno);
		return STATUS_ERROR;
	}
	t->out->dry_run = t->o.dry_run;
	out_begin(t->out, &head);
	if (t->o.dry_run)
		out_bool(t->out, NULL, "dry_run", true);
	return 0;
}

int tool_end(struct tool *t, int status)
{
	int err = t->out ? out_end(t->out) : 0;

	t->out = NULL;
	if (!err)
		return status;
	output_failed(t, -err);
	return status | STATUS_ERROR;
}

static void on_log(void *arg, enum dmfmt_log_level level, const char *msg)
{
	struct tool *t = arg;

	if (level <= DMFMT_LOG_WARNING)
		tool_warn(t, "%s", msg);
	else if ((int)level <= (int)DMFMT_LOG_WARNING + t->o.verbose)
		tool_note(t, "%s", msg);
}

static int with_context(struct tool *t)
{
	bool rows = t->o.format != OUT_TEXT || t->cmd->run == verb_dump || t->cmd->run == verb_ls;
	int status;

	t->ctx = dmfmt_ctx_new();
	if (!t->ctx) {
		tool_error(t, "%s", strerror(ENOMEM));
		return STATUS_ERROR;
	}
	if (t->o.memory_bytes != DMFMT_NONE)
		dmfmt_ctx_set_memory(t->ctx, t->o.memory_bytes);
	dmfmt_ctx_set_log(t->ctx, on_log, t);
	progress_init(&t->o, t->arg[0], rows && isatty(STDOUT_FILENO));
	dmfmt_ctx_set_progress(t->ctx, progress_callback, NULL);
	status = t->cmd->run(t);
	progress_clear();
	if (t->out)
		status = tool_end(t, status);
	dmfmt_ctx_free(t->ctx);
	return status;
}

/* a missing standard descriptor must not become the device: a message would be written over it */
static void fill_standard_descriptors(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
			if (open("/dev/null", fd == STDERR_FILENO ? O_WRONLY : O_RDONLY) != fd)
				_exit(STATUS_ERROR);
}

/* what stdio wrote (help, --describe): the same care as for results */
static int close_stdio(struct tool *t, int status)
{
	if (!fflush(stdout) && !ferror(stdout))
		return status;
	output_failed(t, errno ? errno : EIO);
	return status | STATUS_ERROR;
}

static int run_top(struct tool *t, int argc, char **argv)
{
	int err;

	if (argc < 2) {
		help_print_usage(t);
		return STATUS_USAGE;
	}
	err = opts_parse(t, argc, argv);
	if (err)
		return err < 0 ? STATUS_USAGE : close_stdio(t, STATUS_OK);
	help_print_usage(t);
	return STATUS_USAGE;
}

static int run_command(struct tool *t, int argc, char **argv)
{
	int err = opts_parse(t, argc, argv);

	if (err)
		return err < 0 ? STATUS_USAGE : close_stdio(t, STATUS_OK);
	return with_context(t);
}

static void keep_line(struct tool *t, int argc, char **argv)
{
	size_t n = 0;

	for (int i = 0; i < argc; i++) {
		char clean[256];
		int len = snprintf(t->line + n, sizeof(t->line) - n, "%s%s", i ? " " : "",
				   i ? human_clean(clean, sizeof(clean), argv[i]) : t->name);

		if (len < 0 || (size_t)len >= sizeof(t->line) - n)
			return;
		n += len;
	}
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash[1] ? slash + 1 : path;
}

int main(int argc, char **argv)
{
	struct tool t = { .name = argc > 0 && argv[0] ? base_name(argv[0]) : "dmtool" };

	fill_standard_descriptors();
	setlocale(LC_CTYPE, "");
	keep_line(&t, argc, argv);
	if (!strncmp(t.name, "fsck.", 5)) {
		t.cmd = command_by_fsck(t.name + 5);
		t.as_fsck = t.cmd;
	}
	if (t.cmd)
		return run_command(&t, argc, argv);
	t.name = "dmtool";
	if (argc < 2 || argv[1][0] == '-')
		return run_top(&t, argc, argv);
	t.cmd = command_by_name(argv[1]);
	if (!t.cmd)
		return tool_usage(&t, "unknown command \"%s\"", argv[1]);
	return run_command(&t, argc - 1, argv + 1);
}
