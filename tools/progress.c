// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Signals are the one thing here that belongs to the process, so this state does too.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "human.h"
#include "progress.h"

#define BAR_NS	  100000000u
#define JSON_NS	  500000000u
#define FIRST_NS  300000000u	/* short work shows no bar at all */
#define BAR_CELLS 24

static volatile sig_atomic_t stop, wanted_line;

static struct {
	enum progress_mode mode;
	int fd;			/* of PROGRESS_FSCK */
	const char *device;
	uint64_t start_ns, last_ns, pass_ns;
	unsigned pass;
	bool shown;
} progress;

static void on_stop(int sig)
{
	stop = 1;
}

static void on_line(int sig)
{
	wanted_line = 1;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

static void catch_signals(void)
{
	/* no SA_RESTART: a read that waits for a pipe has to notice */
	struct sigaction sa = { .sa_handler = on_stop, .sa_flags = SA_RESETHAND };
	struct sigaction line = { .sa_handler = on_line, .sa_flags = SA_RESTART };
	struct sigaction ignored = { .sa_handler = SIG_IGN };

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGUSR1, &line, NULL);
	sigaction(SIGPIPE, &ignored, NULL);
}

void progress_init(const struct opts *o, const char *device, bool rows_to_terminal)
{
	bool terminal = isatty(STDERR_FILENO) && !rows_to_terminal;

	progress.mode = o->progress ? (enum progress_mode)(o->progress - 1) : PROGRESS_AUTO;
	if (o->progress_fd != DMFMT_NONE) {
		progress.mode = o->progress_fd ? PROGRESS_FSCK : PROGRESS_BAR;
		progress.fd = (int)o->progress_fd;
	}
	if (progress.mode == PROGRESS_AUTO)
		progress.mode = terminal ? PROGRESS_BAR : PROGRESS_NONE;
	progress.device = device;
	progress.start_ns = progress.pass_ns = now_ns();
	catch_signals();
}

bool progress_stopped(void)
{
	return stop;
}

void progress_clear(void)
{
	if (progress.shown)
		fputs("\r\033[K", stderr);
	progress.shown = false;
}

static unsigned percent(const struct dmfmt_progress *p)
{
	return p->total ? (unsigned)(100.0 * (double)p->done / (double)p->total) : 0;
}

/* seconds left in this pass, DMFMT_NONE while unknown */
static uint64_t eta(const struct dmfmt_progress *p, uint64_t now)
{
	double seconds = (double)(now - progress.pass_ns) / 1e9;

	if (!p->done || p->done > p->total)
		return DMFMT_NONE;
	return (uint64_t)(seconds * (double)(p->total - p->done) / (double)p->done);
}

static uint64_t rate(const struct dmfmt_progress *p, uint64_t now)
{
	double seconds = (double)(now - progress.start_ns) / 1e9;

	return seconds > 0 ? (uint64_t)((double)p->bytes / seconds) : 0;
}

/* what is known of it: the end may not be in sight */
static void describe(char *buf, size_t len, const struct dmfmt_progress *p, uint64_t now)
{
	char speed[HUMAN_LEN], left[HUMAN_LEN], part[16] = "", when[HUMAN_LEN + 16] = "";
	uint64_t seconds = eta(p, now);

	if (p->total)
		snprintf(part, sizeof(part), " %3u %%", percent(p));
	if (seconds != DMFMT_NONE)
		snprintf(when, sizeof(when), ", %s left", human_time(left, seconds));
	snprintf(buf, len, "%s (pass %u of %u)%s, %s/s%s", p->what, p->pass, p->nr_passes, part,
		 human_size(speed, rate(p, now), 1), when);
}

static void show_bar(const struct dmfmt_progress *p, uint64_t now)
{
	unsigned full = percent(p) * BAR_CELLS / 100;
	char line[200], bar[BAR_CELLS + 1];
	struct winsize ws = { 0 };
	int width;

	describe(line, sizeof(line), p, now);
	memset(bar, '.', BAR_CELLS);
	memset(bar, '#', full < BAR_CELLS ? full : BAR_CELLS);
	bar[BAR_CELLS] = '\0';
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) || !ws.ws_col)
		ws.ws_col = 80;
	width = ws.ws_col - 1;
	if (p->total && width > BAR_CELLS + 30)
		fprintf(stderr, "\r[%s] %.*s\033[K", bar, width - BAR_CELLS - 3, line);
	else
		fprintf(stderr, "\r%.*s\033[K", width, line);
	progress.shown = true;
}

static void show_json(const struct dmfmt_progress *p, uint64_t now)
{
	uint64_t seconds = eta(p, now);
	char left[24] = "null";

	if (seconds != DMFMT_NONE)
		snprintf(left, sizeof(left), "%" PRIu64, seconds);
	fprintf(stderr,
		"{\"schema\":\"dmtool.progress\",\"schema_version\":1,\"what\":\"%s\","
		"\"pass\":%u,\"nr_passes\":%u,\"done\":%" PRIu64 ",\"total\":%" PRIu64
		",\"bytes\":%" PRIu64 ",\"bytes_per_second\":%" PRIu64 ",\"seconds_left\":%s}\n",
		p->what, p->pass, p->nr_passes, p->done, p->total, p->bytes, rate(p, now), left);
}

static void show_fsck(const struct dmfmt_progress *p)
{
	dprintf(progress.fd, "%u %" PRIu64 " %" PRIu64 " %s\n", p->pass, p->done, p->total,
		progress.device);
}

static void show_line(const struct dmfmt_progress *p, uint64_t now)
{
	char line[200];

	wanted_line = 0;
	progress_clear();
	describe(line, sizeof(line), p, now);
	fprintf(stderr, "dmtool: %s\n", line);
}

int progress_callback(void *arg, const struct dmfmt_progress *p)
{
	uint64_t now = now_ns(), every = progress.mode == PROGRESS_BAR ? BAR_NS : JSON_NS;
	bool due = now - progress.last_ns >= every || (p->total && p->done == p->total);

	if (p->pass != progress.pass) {
		progress.pass = p->pass;
		progress.pass_ns = now;
	}
	if (wanted_line)
		show_line(p, now);
	if (due && (progress.mode != PROGRESS_BAR || now - progress.start_ns >= FIRST_NS)) {
		progress.last_ns = now;
		if (progress.mode == PROGRESS_BAR)
			show_bar(p, now);
		else if (progress.mode == PROGRESS_JSON)
			show_json(p, now);
		else if (progress.mode == PROGRESS_FSCK)
			show_fsck(p);
	}
	return stop;
}

int progress_report(const char *what, unsigned pass, unsigned nr_passes, uint64_t done,
		    uint64_t total, uint64_t bytes)
{
	struct dmfmt_progress p = {
		.size = sizeof(p), .what = what, .pass = pass, .nr_passes = nr_passes,
		.done = done, .total = total, .bytes = bytes,
	};

	return progress_callback(NULL, &p);
}
