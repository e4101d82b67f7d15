/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Print what is wrong with an exception store. */
#include <dmfmt.h>
#include <inttypes.h>
#include <stdio.h>

static void print_report(const struct dmfmt_report *report)
{
	struct dmfmt_summary sum = { .size = sizeof(sum) };
	size_t i;

	for (i = 0; i < dmfmt_report_nr(report); i++) {
		const struct dmfmt_finding *f = dmfmt_report_get(report, i);

		printf("%s (rule %u): %s\n", f->code, f->rule, f->message);
	}
	dmfmt_report_summary(report, &sum);
	printf("%" PRIu64 " exceptions, %" PRIu64 " fatal\n", sum.records, sum.fatal);
}

int main(int argc, char **argv)
{
	struct dmfmt_ctx *ctx = dmfmt_ctx_new();
	struct dmfmt_dev *dev = NULL;
	struct dmfmt *store = NULL;
	struct dmfmt_report *report = NULL;
	int ret;

	if (!ctx || argc != 2)
		return 16;
	ret = dmfmt_dev_open(ctx, argv[1], 0, &dev);
	if (!ret)
		ret = dmfmt_open(ctx, dev, "snapshot", 0, &store);
	if (!ret)
		ret = dmfmt_check(store, 0, 0, &report);
	if (ret)
		fprintf(stderr, "%s\n", dmfmt_ctx_error(ctx));
	else
		print_report(report);
	dmfmt_report_free(report);
	dmfmt_close(store);
	dmfmt_dev_close(dev);
	dmfmt_ctx_free(ctx);
	return ret ? 8 : 0;
}
