// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The reader of dumps and the JSON reader below it, on any bytes; what is read goes into a restore
 * that only validates.  The first byte says whether the input comes in one piece or through a pipe (bit 0),
 * and of which family it is taken to be (bit 1).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../../libdmfmt/dmfmt.h"
#include "../../tools/dump_in.h"

#define PIPE_MAX 60000u

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t len);

static void tokens(const uint8_t *in, size_t len)
{
	static struct json_in j;
	enum json_token t;
	size_t nr = 0;

	if (json_in_open_buffer(&j, in, len))
		return;
	do {
		t = json_next(&j);
		if (!json_token_name(t) || ++nr > len + 2)
			abort();
		if (t == JSON_STRING && (j.string_len > JSON_STRING_MAX || strlen(j.string) != j.string_len))
			abort();
	} while (t != JSON_ERROR && t != JSON_END);
	if (t == JSON_ERROR && !j.error[0])
		abort();
	json_in_close(&j);
}

static void restore(struct dump_in *d)
{
	struct dmfmt_ctx *ctx = dmfmt_ctx_new();
	struct dmfmt_builder *b = NULL;
	enum dump_kind kind;
	int err = 0;

	do {
		kind = dump_next(d);
		switch (kind) {
		case DUMP_HEAD:
			err = dmfmt_restore_begin(ctx, NULL, 1 << 20, d->format, d->field, d->nr, 0, &b);
			break;
		case DUMP_RAW_BYTES:
			err = b ? dmfmt_restore_raw(b, d->offset, d->raw, d->nr) : -1;
			break;
		case DUMP_RECORDS:
			err = b ? dmfmt_restore_records(b, d->values, d->nr) : -1;
			break;
		case DUMP_STALE:
			err = b ? dmfmt_restore_stale(b, d->area, d->slot, d->values) : -1;
			break;
		case DUMP_TAIL:
			err = b ? dmfmt_restore_commit(b, d->field, d->nr) : -1;
			break;
		case DUMP_ERROR:
			if (!d->in.error[0])
				abort();
			break;
		}
	} while (!err && kind != DUMP_ERROR && kind != DUMP_TAIL);
	if (err && err != -1 && !dmfmt_ctx_error(ctx)[0])
		abort();
	dmfmt_restore_free(b);
	dmfmt_ctx_free(ctx);
}

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t len)
{
	static struct dump_in d;
	int fds[2] = { -1, -1 };

	if (!len)
		return 0;
	tokens(in + 1, len - 1);
	memset(&d, 0, sizeof(d));
	if ((in[0] & 1) && len <= PIPE_MAX) {
		if (pipe2(fds, O_CLOEXEC) || write(fds[1], in + 1, len - 1) != (ssize_t)len - 1)
			abort();
		close(fds[1]);
		if (json_in_open(&d.in, fds[0], NULL))
			abort();
	} else if (json_in_open_buffer(&d.in, in + 1, len - 1)) {
		abort();
	}
	d.format = in[0] & 2 ? "writecache" : "snapshot";
	d.records = in[0] & 2 ? "entries" : "exceptions";
	d.names[0] = in[0] & 2 ? "original_sector" : "old_chunk";
	d.names[1] = in[0] & 2 ? "seq_count" : "new_chunk";
	d.nr_columns = 2;
	if (!dump_in_init(&d))
		restore(&d);
	json_in_close(&d.in);
	if (fds[0] >= 0)
		close(fds[0]);
	return 0;
}
