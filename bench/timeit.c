/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * timeit - run a command once: CPU seconds, wall seconds, peak memory
 *
 * usage: timeit [-o OUT] [-e ERR] [-s STATUS] COMMAND [ARG...]
 *
 * Standard output of the command goes to OUT (default /dev/null), standard error to ERR (default: ours).
 * Prints "USER SYSTEM WALL RSS_KIB STATUS" and fails when the status is not the expected one (0).
 * posix_spawn() keeps our own pages out of the child's peak.
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static double seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	const char *out = "/dev/null", *err = NULL;
	posix_spawn_file_actions_t actions;
	int expected = 0, status, code, rc, c;
	struct rusage ru;
	double start;
	pid_t pid;

	while ((c = getopt(argc, argv, "+o:e:s:")) != -1) {
		switch (c) {
		case 'o': out = optarg; break;
		case 'e': err = optarg; break;
		case 's': expected = atoi(optarg); break;
		default: return 16;
		}
	}
	if (optind >= argc)
		return 16;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 1, out, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (err)
		posix_spawn_file_actions_addopen(&actions, 2, err, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	start = now();
	rc = posix_spawnp(&pid, argv[optind], &actions, NULL, argv + optind, environ);
	if (rc) {
		fprintf(stderr, "timeit: %s: %s\n", argv[optind], strerror(rc));
		return 8;
	}
	while (wait4(pid, &status, 0, &ru) < 0)
		if (errno != EINTR)
			return 8;
	code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	printf("%.4f %.4f %.4f %ld %d\n", seconds(ru.ru_utime), seconds(ru.ru_stime), now() - start,
	       ru.ru_maxrss, code);
	if (code != expected)
		fprintf(stderr, "timeit: %s: exit status %d, expected %d\n", argv[optind], code,
			expected);
	return code == expected ? 0 : 1;
}
