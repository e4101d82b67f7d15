/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a C test needs: checks that say where they failed, and one line per test for the runner
 * ("ok 1 - name", "not ok 2 - name", at the end "1..2").
 *
 *	static void test_decode(void)
 *	{
 *		EQ(dmfmt_snap_x(...), 0);
 *		CHECK(buf[0] == 1);
 *	}
 *	int main(void)
 *	{
 *		RUN(test_decode);
 *		return DONE();
 *	}
 */
#ifndef TESTS_TAP_H
#define TESTS_TAP_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static unsigned tap_tests, tap_failed_tests, tap_failed_checks;

#define CHECK(cond)								\
	do {									\
		if (!(cond)) {							\
			printf("# %s:%d: %s\n", __FILE__, __LINE__, #cond);	\
			tap_failed_checks++;					\
		}								\
	} while (0)

/* two integers are equal */
#define EQ(got, expected)							\
	do {									\
		int64_t g_ = (int64_t)(got), e_ = (int64_t)(expected);		\
		if (g_ != e_) {							\
			printf("# %s:%d: %s: %" PRId64 ", expected %" PRId64 "\n",	\
			       __FILE__, __LINE__, #got, g_, e_);		\
			tap_failed_checks++;					\
		}								\
	} while (0)

/* two strings are equal */
#define STREQ(got, expected)							\
	do {									\
		const char *g_ = (got), *e_ = (expected);			\
		if (!g_ || strcmp(g_, e_)) {					\
			printf("# %s:%d: %s: \"%s\", expected \"%s\"\n",	\
			       __FILE__, __LINE__, #got, g_ ? g_ : "(null)", e_);	\
			tap_failed_checks++;					\
		}								\
	} while (0)

static inline void tap_run(const char *name, void (*fn)(void))
{
	tap_failed_checks = 0;
	fn();
	printf("%sok %u - %s\n", tap_failed_checks ? "not " : "", ++tap_tests, name);
	tap_failed_tests += !!tap_failed_checks;
	fflush(stdout);
}

#define RUN(fn) tap_run(#fn, fn)

static inline int tap_done(void)
{
	printf("1..%u\n", tap_tests);
	return tap_failed_tests ? 1 : 0;
}

#define DONE() tap_done()

#endif
