// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "writing.h"

#define MAX_TRIES 1000

int writing_check_options(struct tool *t)
{
	if (t->o.undo && t->o.no_undo)
		return tool_usage(t, "--undo and --no-undo exclude each other");
	return 0;
}

/* ---- where undo files go ---- */

static int make_dirs(char *path)
{
	for (char *p = path + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(path, 0755) && errno != EEXIST && errno != EROFS && errno != EACCES) {
			*p = '/';
			return -errno;
		}
		*p = '/';
	}
	return mkdir(path, 0700) && errno != EEXIST ? -errno : 0;
}

static bool usable_dir(const char *dir)
{
	char path[PATH_MAX];
	struct stat st;

	if ((size_t)snprintf(path, sizeof(path), "%s", dir) >= sizeof(path) || !*path)
		return false;
	if (stat(path, &st) && make_dirs(path))
		return false;
	return !access(path, W_OK | X_OK) && !stat(path, &st) && S_ISDIR(st.st_mode);
}

static const char *choose_dir(bool *volatile_place)
{
	const char *env = getenv("DMTOOL_UNDO_DIR");

	*volatile_place = false;
	if (env && *env)
		return usable_dir(env) ? env : NULL;
	if (usable_dir("/var/lib/dmtool/undo"))
		return "/var/lib/dmtool/undo";
	*volatile_place = true;
	return usable_dir("/run/dmtool/undo") ? "/run/dmtool/undo" : NULL;
}

/* the device's name as part of a file name */
static void file_word(char *buf, size_t len, const char *device)
{
	const char *slash = strrchr(device, '/'), *p = slash && slash[1] ? slash + 1 : device;
	size_t i;

	for (i = 0; p[i] && i + 1 < len; i++)
		buf[i] = (unsigned char)p[i] <= ' ' || p[i] == '/' || p[i] == 0x7f ? '_' : p[i];
	buf[i] = '\0';
}

/* <device>-<command>-<time>-<process>[-n]<suffix>, a name that does not exist */
static bool choose_name(char *buf, size_t len, const char *dir, const char *device,
			const char *command, const char *suffix)
{
	char word[128], stamp[32];
	time_t now = time(NULL);
	struct stat st;
	struct tm tm;

	file_word(word, sizeof(word), device);
	gmtime_r(&now, &tm);
	strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm);
	for (int i = 0; i < MAX_TRIES; i++) {
		char nr[16] = "";

		if (i)
			snprintf(nr, sizeof(nr), "-%d", i);
		if ((size_t)snprintf(buf, len, "%s/%s-%s-%s-%ld%s%s", dir, word, command, stamp,
				     (long)getpid(), nr, suffix) >= len)
			return false;
		if (lstat(buf, &st) && errno == ENOENT)
			return true;
	}
	return false;
}

int undo_setup(struct tool *t, struct dmfmt_dev *dev, const char *device)
{
	const char *path = t->o.undo, *dir;
	bool volatile_place = false;
	char name[PATH_MAX];
	int err;

	if (t->o.no_undo)
		return 0;
	if (!path) {
		dir = choose_dir(&volatile_place);
		if (!dir || !choose_name(name, sizeof(name), dir, device, t->cmd->name, ".undo"))
			return UNDO_NO_PLACE;
		path = name;
	}
	err = dmfmt_dev_set_undo(dev, path, t->line);
	if (err)
		return tool_fail(t, err);
	if (volatile_place)
		tool_warn(t, "%s: this undo file does not survive a reboot", path);
	return 0;
}

bool undo_side_name(struct tool *t, const char *device, const char *suffix, char *buf, size_t len)
{
	const char *undo = t->o.undo, *dir;
	size_t n = undo ? strlen(undo) : 0;
	bool volatile_place;

	if (undo) {
		if (n > 5 && !strcmp(undo + n - 5, ".undo"))
			n -= 5;
		return (size_t)snprintf(buf, len, "%.*s%s", (int)n, undo, suffix) < len;
	}
	dir = choose_dir(&volatile_place);
	return dir && choose_name(buf, len, dir, device, t->cmd->name, suffix);
}

int undo_no_place(struct tool *t)
{
	const char *env = getenv("DMTOOL_UNDO_DIR");

	tool_error(t, "no place for an undo file: %s cannot be written; expected --undo FILE, "
		   "$DMTOOL_UNDO_DIR, or --no-undo", env && *env ? env :
		   "neither /var/lib/dmtool/undo nor /run/dmtool/undo");
	return STATUS_ERROR;
}

/* @path as a word of a shell command */
static void shell_word(char *buf, size_t len, const char *path)
{
	size_t n = 0;

	if (!path[strcspn(path, " \t\n\"'\\$`&|;<>()*?[]{}~#!")]) {
		snprintf(buf, len, "%s", path);
		return;
	}
	buf[n++] = '\'';
	for (; *path && n + 6 < len; path++) {
		if (*path == '\'') {
			memcpy(buf + n, "'\\''", 4);
			n += 4;
		} else {
			buf[n++] = *path;
		}
	}
	buf[n++] = '\'';
	buf[n] = '\0';
}

void undo_report(struct tool *t, const struct dmfmt_dev *dev)
{
	const char *path = dmfmt_dev_undo_path(dev);
	char command[PATH_MAX * 2], word[PATH_MAX * 2 - 32];

	if (!path)
		return;
	shell_word(word, sizeof(word), path);
	snprintf(command, sizeof(command), "dmtool undo %s", word);
	out_str(t->out, "undo", "file", path);
	out_str(t->out, "undo", "command", command);
}

void undo_hint(struct tool *t, const struct dmfmt_dev *dev)
{
	const char *path = dev ? dmfmt_dev_undo_path(dev) : NULL;
	char word[PATH_MAX * 2];

	if (!path)
		return;
	shell_word(word, sizeof(word), path);
	tool_note(t, "what was overwritten is in %s; to take it back: dmtool undo %s", path, word);
}

/* ---- lists of writes ---- */

int write_list_add(void *arg, const struct dmfmt_write *w)
{
	struct write_list *list = arg;

	if (list->nr == list->room) {
		size_t room = list->room ? 2 * list->room : 64;
		struct dmfmt_write *writes = reallocarray(list->writes, room, sizeof(*writes));

		if (!writes)
			return -ENOMEM;
		list->writes = writes;
		list->room = room;
	}
	list->writes[list->nr++] = *w;
	return 0;
}

void writes_begin(struct tool *t)
{
	out_list(t->out, "writes", t->o.dry_run ? "would write (bytes)" : "writes (bytes)",
		 LIST_TABLE);
}

int writes_print(void *arg, const struct dmfmt_write *w)
{
	struct tool *t = arg;
	struct dmfmt_field f[] = {
		OUT_NUM("offset", w->offset), OUT_NUM("length", w->length),
		OUT_HEX("old_crc32c", w->old_crc), OUT_HEX("new_crc32c", w->new_crc),
	};

	return out_item(t->out, f, sizeof(f) / sizeof(f[0]));
}

void writes_end(struct tool *t)
{
	out_list_end(t->out);
}

void write_list_print(struct tool *t, const struct write_list *list)
{
	writes_begin(t);
	for (size_t i = 0; i < list->nr; i++)
		writes_print(t, &list->writes[i]);
	writes_end(t);
}

void write_list_free(struct write_list *list)
{
	free(list->writes);
	*list = (struct write_list){ 0 };
}

int writes_attach(struct tool *t, struct dmfmt_dev *dev,
		  int (*fn)(void *arg, const struct dmfmt_write *w), void *arg)
{
	if (t->o.dry_run)
		return dmfmt_dev_set_dry_run(dev, fn, arg);
	return t->o.list_writes ? dmfmt_dev_set_trace(dev, fn, arg) : 0;
}
