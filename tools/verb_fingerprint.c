// SPDX-License-Identifier: GPL-2.0-or-later
/* Note what a device holds, to know it again. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fingerprint.h"
#include "newfile.h"

/*
 * struct taking - one fingerprint on its way out
 * @doc: the document that can be read back: standard output, or the new file's
 * @report: with --output: what is said of it on standard output, else NULL
 */
struct taking {
	struct tool *t;
	struct out *doc, *report;
	bool in_list;
	uint64_t nr;
};

static int on_field(void *arg, const struct dmfmt_field *f)
{
	struct taking *k = arg;
	int err = out_field(k->doc, f);

	return !err && k->report ? out_field(k->report, f) : err;
}

static void begin_list(struct taking *k)
{
	if (k->in_list)
		return;
	out_num(k->doc, NULL, "sample_bytes", FINGERPRINT_SAMPLE_BYTES, DMFMT_UNIT_BYTES);
	out_list(k->doc, "samples", "samples", LIST_TABLE);
	k->in_list = true;
}

static int on_sample(void *arg, const struct dmfmt_sample *s)
{
	struct taking *k = arg;
	char hash[2 * sizeof(s->sha256) + 1];
	struct dmfmt_field row[] = { OUT_NUM("offset", s->offset), OUT_STR("sha256", hash) };

	for (size_t i = 0; i < sizeof(s->sha256); i++)
		snprintf(hash + 2 * i, 3, "%02x", s->sha256[i]);
	begin_list(k);
	k->nr++;
	return out_item(k->doc, row, sizeof(row) / sizeof(row[0]));
}

static int take(struct taking *k, struct dmfmt_dev *dev)
{
	uint64_t nr = k->t->o.samples == DMFMT_NONE ? 0 : k->t->o.samples;
	int err = dmfmt_fingerprint(k->t->ctx, dev, (size_t)nr, on_field, on_sample, k);

	if (err)
		return err;
	begin_list(k);
	out_list_end(k->doc);
	return 0;
}

/* ---- to standard output ---- */

static int take_to_stdout(struct tool *t, struct dmfmt_dev *dev)
{
	struct taking k = { .t = t };
	int status, err;

	t->o.format = OUT_JSON;	/* it is for the commands to read, in any case */
	status = tool_begin(t, t->arg[0], NULL);
	if (status)
		return status;
	k.doc = t->out;
	err = take(&k, dev);
	return err ? tool_fail(t, err) : tool_end(t, 0);
}

/* ---- to a file ---- */

static int cannot_write(struct tool *t, const struct newfile *nf, int err)
{
	tool_error(t, "%s: %s", nf->temp, strerror(-err));
	return tool_abort(t, STATUS_ERROR, strerror(-err));
}

/* the whole document, durable; @fd stays the caller's */
static int write_document(struct taking *k, struct dmfmt_dev *dev, int fd, bool *device_failed)
{
	struct out_head head = { .command = k->t->cmd->name, .device = k->t->arg[0],
				 .live = k->t->o.live };
	int err, own = dup(fd);

	*device_failed = false;
	k->doc = own < 0 ? NULL : out_new(OUT_KIND_JSON, own, false);
	if (!k->doc) {
		err = own < 0 ? -errno : -ENOMEM;
		if (own >= 0)
			close(own);
		return err;
	}
	out_begin(k->doc, &head);
	err = take(k, dev);
	if (err && err != -k->doc->sink.err) {
		*device_failed = true;
		out_abort(k->doc, "not taken");
		return err;
	}
	err = out_end(k->doc);
	return !err && fsync(fd) ? -errno : err;
}

static int make_file(struct tool *t, struct dmfmt_dev *dev, struct newfile *nf)
{
	struct taking k = { .t = t, .report = t->out };
	int status, err, fd = newfile_open(nf);
	bool device_failed;

	if (fd < 0)
		return cannot_write(t, nf, fd);
	err = write_document(&k, dev, fd, &device_failed);
	if (close(fd) && !err)
		err = -errno;
	if (err)
		return device_failed ? tool_fail(t, err) : cannot_write(t, nf, err);
	out_num(t->out, NULL, "nr_samples", k.nr, DMFMT_UNIT_NONE);
	out_str(t->out, NULL, "output", nf->final);
	status = newfile_commit(t, nf);
	return status ? tool_abort(t, status, "the file could not be made") : tool_end(t, 0);
}

static int take_to_file(struct tool *t, struct dmfmt_dev *dev)
{
	struct newfile nf = { 0 };
	int status = newfile_init(t, &nf, t->o.output);

	if (!status)
		status = tool_begin(t, t->arg[0], NULL);
	if (!status)
		status = make_file(t, dev, &nf);
	newfile_drop(&nf);
	return status;
}

int verb_fingerprint(struct tool *t)
{
	struct dmfmt_dev *dev;
	int status, err;

	if (t->o.samples != DMFMT_NONE &&
	    (!t->o.samples || t->o.samples > FINGERPRINT_SAMPLES_MAX))
		return tool_usage(t, "--samples: found %llu, expected 1 to %d",
				  (unsigned long long)t->o.samples, FINGERPRINT_SAMPLES_MAX);
	err = dmfmt_dev_open(t->ctx, t->arg[0], t->o.live ? DMFMT_OPEN_LIVE : 0, &dev);
	if (err)
		return tool_fail(t, err);
	if (t->o.live)
		tool_warn(t, "%s: read while it may change: samples may be of several moments",
			  t->arg[0]);
	status = t->o.output ? take_to_file(t, dev) : take_to_stdout(t, dev);
	dmfmt_dev_close(dev);
	return status;
}
