// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "json_in.h"
#include "progress.h"
#include "qcow2_map.h"
#include "store.h"

#define INFO_BYTES (1024 * 1024)	/* of qemu-img info that are read at most */
#define FIRST_FD   10			/* qemu-img gets the image as this descriptor or a later one */

extern char **environ;

/*
 * struct image - an overlay being looked at
 * @fd: the image, open for reading, and left open in qemu-img: it is named by its descriptor, so
 *      that no part of a file name can be taken for an option, a protocol or a driver
 * @name: that name, with the driver, and without a backing file
 * @bytes: size of the file
 * @pid, @out, @err: qemu-img while it runs: what it says, and its messages
 */
struct image {
	struct tool *t;
	const char *path;
	int fd;
	uint64_t bytes;
	char name[160];
	pid_t pid;
	int out, err;
};

/* ---- running qemu-img ---- */

static int cannot(struct image *im, int err)
{
	if (err == ENOENT)
		tool_error(im->t, "%s: found no qemu-img, expected the one of the package qemu-utils",
			   im->path);
	else
		tool_error(im->t, "%s: qemu-img cannot be started: %s", im->path, strerror(err));
	return STATUS_ERROR;
}

static int spawn(struct image *im, const char *verb, int out)
{
	char *const argv[] = { "qemu-img", (char *)verb, "--output=json", im->name, NULL };
	posix_spawn_file_actions_t fa;
	int err = posix_spawn_file_actions_init(&fa);

	if (err)
		return err;
	err = posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
	if (!err)
		err = posix_spawn_file_actions_adddup2(&fa, out, 1);
	if (!err)
		err = posix_spawn_file_actions_adddup2(&fa, im->err, 2);
	if (!err)
		err = posix_spawnp(&im->pid, "qemu-img", &fa, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&fa);
	return err;
}

/* run `qemu-img VERB` on the image; im->out is what it prints */
static int start(struct image *im, const char *verb)
{
	int fds[2], err;

	im->err = memfd_create("messages", MFD_CLOEXEC);
	if (im->err < 0)
		return cannot(im, errno);
	err = pipe2(fds, O_CLOEXEC) ? errno : 0;
	if (!err) {
		im->out = fds[0];
		err = spawn(im, verb, fds[1]);
		close(fds[1]);
		if (err)
			close(im->out);
	}
	if (!err)
		return 0;
	close(im->err);
	return cannot(im, err);
}

/* the first line of what it complained about, without the name that only we know */
static void complaint(struct image *im, char *buf, size_t len)
{
	ssize_t n = pread(im->err, buf, len - 1, 0);
	char *name, *end;

	buf[n > 0 ? n : 0] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	name = strstr(buf, im->name);
	end = name ? strstr(name, "': ") : NULL;
	if (end)
		memmove(buf, end + 3, strlen(end + 3) + 1);
	else if (!strncmp(buf, "qemu-img: ", 10))
		memmove(buf, buf + 10, strlen(buf + 10) + 1);
}

/* it has to have come to a good end; @status: what was said already, then nothing more is */
static int finish(struct image *im, int status)
{
	char why[1024];
	int code;

	close(im->out);
	if (status)
		kill(im->pid, SIGKILL);
	while (waitpid(im->pid, &code, 0) < 0)
		if (errno != EINTR) {
			code = -1;
			break;
		}
	complaint(im, why, sizeof(why));
	close(im->err);
	if (progress_stopped()) {
		tool_error(im->t, "stopped");
		return STATUS_CANCELLED;
	}
	if (status || (WIFEXITED(code) && !WEXITSTATUS(code)))
		return status;
	tool_error(im->t, "%s: qemu-img: %s", im->path, *why ? why : "has failed without a reason");
	return STATUS_ERROR;
}

/* ---- qemu-img info ---- */

static int read_all(struct image *im, char *buf, size_t len, size_t *got)
{
	*got = 0;
	while (*got < len) {
		ssize_t n = read(im->out, buf + *got, len - *got);

		if (n < 0 && errno == EINTR && !progress_stopped())
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		*got += (size_t)n;
	}
	return -E2BIG;
}

static int read_info(struct image *im, struct json_object **info)
{
	char *buf = malloc(INFO_BYTES);
	size_t len;
	int err, status;

	*info = NULL;
	if (!buf)
		return cannot(im, ENOMEM);
	status = start(im, "info");
	if (!status) {
		err = read_all(im, buf, INFO_BYTES - 1, &len);
		buf[len] = '\0';
		status = finish(im, 0);
		if (!status && !err)
			*info = json_tokener_parse(buf);
		if (!status && !json_object_is_type(*info, json_type_object)) {
			tool_error(im->t, "%s: qemu-img info: found no JSON object", im->path);
			status = STATUS_ERROR;
		}
	}
	free(buf);
	return status;
}

static const char *text_of(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) && json_object_is_type(v, json_type_string) ?
	       json_object_get_string(v) : NULL;
}

static bool true_in(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) && json_object_get_boolean(v);
}

static uint64_t number_in(struct json_object *o, const char *key)
{
	struct json_object *v;
	int64_t n = json_object_object_get_ex(o, key, &v) &&
		    json_object_is_type(v, json_type_int) ? json_object_get_int64(v) : 0;

	return n > 0 ? (uint64_t)n : 0;
}

static int refuse(struct image *im, const char *found, const char *expected)
{
	tool_error(im->t, "%s: found %s, expected %s", im->path, found, expected);
	return STATUS_ERROR;
}

/* a relative name counts from where the overlay lies */
static bool is_origin(struct image *im, const char *backing, const char *origin)
{
	const char *slash = strrchr(im->path, '/');
	char path[PATH_MAX];

	if (!strncmp(backing, "file:", 5))
		backing += 5;
	if (*backing == '/' || !slash)
		return store_same_device(backing, origin);
	return (size_t)snprintf(path, sizeof(path), "%.*s/%s", (int)(slash - im->path), im->path,
				backing) < sizeof(path) && store_same_device(path, origin);
}

static int check_backing(struct image *im, struct json_object *info, const char *origin)
{
	const char *backing = text_of(info, "backing-filename");
	const char *format = text_of(info, "backing-filename-format");

	if (!backing)
		return refuse(im, "an image without a backing file",
			      "an overlay over the origin");
	if (format && strcmp(format, "raw"))
		return refuse(im, "a backing file that is not raw",
			      "an overlay over the origin itself; 'qemu-img rebase' or 'qemu-img "
			      "commit' shortens the chain");
	if (!is_origin(im, backing, origin))
		tool_warn(im->t, "%s: its backing file is %s: is %s the same content?", im->path,
			  backing, origin);
	return 0;
}

static int check_info(struct image *im, struct json_object *info, const char *origin,
		      uint64_t origin_bytes)
{
	struct json_object *specific = NULL, *data = NULL;
	uint64_t bytes = number_in(info, "virtual-size");

	if (json_object_object_get_ex(info, "format-specific", &specific))
		json_object_object_get_ex(specific, "data", &data);
	if (true_in(info, "encrypted"))
		return refuse(im, "an encrypted image", "one without encryption; 'qemu-img convert' "
			      "makes it");
	if (data && text_of(data, "data-file"))
		return refuse(im, "an external data file", "an image that holds its data itself");
	if (data && true_in(data, "corrupt"))
		return refuse(im, "the mark of a damaged image", "a sound one; 'qemu-img check' "
			      "says more");
	if (bytes != origin_bytes) {
		tool_error(im->t, "%s: virtual size is %llu bytes, expected the size of %s: %llu; "
			   "'qemu-img resize' changes it", im->path, (unsigned long long)bytes,
			   origin, (unsigned long long)origin_bytes);
		return STATUS_ERROR;
	}
	return check_backing(im, info, origin);
}

/* ---- qemu-img map ---- */

struct piece {
	uint64_t start, length, offset;
	bool present, has_present, zero, has_offset;
};

static int out_of_room(struct image *im, size_t max)
{
	tool_error(im->t, "%s: the overlay has more than %zu pieces, expected fewer, or more memory "
		   "(--memory)", im->path, max);
	return STATUS_ERROR;
}

static int grow(struct image *im, struct qcow2_map *map, size_t max)
{
	size_t room = map->room ? 2 * map->room : 1024;
	struct dmfmt_extent *v;

	if (room > max)
		room = max;
	if (map->nr >= room)
		return out_of_room(im, max);
	v = reallocarray(map->v, room, sizeof(*v));
	if (!v)
		return cannot(im, ENOMEM);
	map->v = v;
	map->room = room;
	return 0;
}

static int add(struct image *im, struct qcow2_map *map, size_t max, struct dmfmt_extent e)
{
	struct dmfmt_extent *last = map->nr ? &map->v[map->nr - 1] : NULL;
	int status;

	if (!e.length)
		return 0;
	if (last && last->to + last->length == e.to &&
	    (e.from == DMFMT_NONE ? last->from == DMFMT_NONE :
	     last->from != DMFMT_NONE && last->from + last->length == e.from)) {
		last->length += e.length;
		return 0;
	}
	status = map->nr == map->room ? grow(im, map, max) : 0;
	if (!status)
		map->v[map->nr++] = e;
	return status;
}

/* what an image's file is too short for reads as zeros */
static int add_data(struct image *im, struct qcow2_map *map, size_t max, const struct piece *p)
{
	struct dmfmt_extent e = { p->start, p->offset, p->length };
	uint64_t there = p->offset < im->bytes ? im->bytes - p->offset : 0;
	int status;

	if (there >= p->length)
		return add(im, map, max, e);
	if (there % 512)
		return refuse(im, "an end of the file inside a sector", "whole sectors");
	e.length = there;
	status = add(im, map, max, e);
	e = (struct dmfmt_extent){ p->start + there, DMFMT_NONE, p->length - there };
	return status ? status : add(im, map, max, e);
}

static int take_piece(struct image *im, struct qcow2_map *map, size_t max, uint64_t size,
		      const struct piece *p)
{
	uint64_t end = map->nr ? map->v[map->nr - 1].to + map->v[map->nr - 1].length : 0;
	char found[64];

	if (!p->has_present)
		return refuse(im, "a map that does not say what is present",
			      "qemu-img 6.1 or later");
	if (p->start < end || p->start > size || p->length > size - p->start ||
	    p->offset > INT64_MAX || (p->start | p->length | p->offset) % 512)
		return refuse(im, "a map that is out of order", "ascending pieces inside the image");
	if (!p->present)
		return 0;
	if (p->zero)
		return add(im, map, max,
			   (struct dmfmt_extent){ p->start, DMFMT_NONE, p->length });
	if (p->has_offset)
		return add_data(im, map, max, p);
	snprintf(found, sizeof(found), "compressed data at byte %llu", (unsigned long long)p->start);
	return refuse(im, found, "an overlay without any; 'qemu-img convert -O qcow2 -B ORIGIN -F "
		      "raw OVERLAY NEW' makes it");
}

static int bad_map(struct image *im, struct json_in *in, enum json_token tok)
{
	if (tok != JSON_ERROR)
		json_fail(in, "found %s", json_token_name(tok));
	tool_error(im->t, "%s: qemu-img map: %s", im->path, in->error);
	return STATUS_ERROR;
}

/* one member of a piece; keys that are not known are skipped if their value is simple */
static int read_member(struct image *im, struct json_in *in, struct piece *p)
{
	char key[16];
	enum json_token tok;

	snprintf(key, sizeof(key), "%.*s", (int)sizeof(key) - 1, in->string);
	tok = json_next(in);
	if (tok == JSON_COLON)
		tok = json_next(in);
	if (tok != JSON_NUMBER && tok != JSON_TRUE && tok != JSON_FALSE && tok != JSON_STRING)
		return bad_map(im, in, tok);
	if (tok == JSON_NUMBER && !strcmp(key, "start"))
		p->start = in->number;
	if (tok == JSON_NUMBER && !strcmp(key, "length"))
		p->length = in->number;
	if (tok == JSON_NUMBER && !strcmp(key, "offset")) {
		p->offset = in->number;
		p->has_offset = true;
	}
	if (!strcmp(key, "present")) {
		p->present = tok == JSON_TRUE;
		p->has_present = true;
	}
	if (!strcmp(key, "zero"))
		p->zero = tok == JSON_TRUE;
	return 0;
}

static int read_piece(struct image *im, struct json_in *in, struct piece *p)
{
	enum json_token tok;
	int status;

	*p = (struct piece){ 0 };
	do {
		tok = json_next(in);
		if (tok != JSON_STRING)
			return bad_map(im, in, tok);
		status = read_member(im, in, p);
		if (status)
			return status;
		tok = json_next(in);
	} while (tok == JSON_COMMA);
	return tok == JSON_OBJECT_END ? 0 : bad_map(im, in, tok);
}

/* the whole document, which begins with @tok */
static int read_pieces(struct image *im, struct json_in *in, enum json_token tok, uint64_t size,
		       size_t max, struct qcow2_map *map)
{
	struct piece p;
	int status = 0;

	if (tok != JSON_ARRAY)
		return bad_map(im, in, tok);
	tok = json_next(in);
	while (!status && tok == JSON_OBJECT) {
		status = read_piece(im, in, &p);
		if (!status)
			status = take_piece(im, map, max, size, &p);
		if (status)
			return status;
		tok = json_next(in);
		if (tok == JSON_COMMA)
			tok = json_next(in);
	}
	return tok == JSON_ARRAY_END ? 0 : bad_map(im, in, tok);
}

static int follow_map(struct image *im, struct json_in *in, uint64_t size, size_t max,
		      struct qcow2_map *map)
{
	enum json_token tok = json_next(in);
	int status;

	if (tok != JSON_END)
		return finish(im, read_pieces(im, in, tok, size, max, map));
	/* its own reason comes first */
	status = finish(im, 0);
	return status ? status : refuse(im, "no map of it", "one from qemu-img");
}

static int read_map(struct image *im, uint64_t size, size_t max, struct qcow2_map *map)
{
	struct json_in *in = malloc(sizeof(*in));
	int err, status;

	if (!in)
		return cannot(im, ENOMEM);
	status = start(im, "map");
	if (!status) {
		err = json_in_open(in, im->out, progress_stopped);
		status = err ? finish(im, cannot(im, -err)) : follow_map(im, in, size, max, map);
		json_in_close(in);
	}
	free(in);
	return status;
}

/* ---- the image ---- */

static int open_image(struct image *im)
{
	int fd = open(im->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	struct stat st;
	off_t size;

	if (fd < 0 || fstat(fd, &st)) {
		tool_error(im->t, "%s: %s", im->path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return STATUS_ERROR;
	}
	/* this one goes to qemu-img */
	im->fd = fcntl(fd, F_DUPFD, FIRST_FD);
	size = lseek(fd, 0, SEEK_END);
	close(fd);
	if (im->fd < 0 || size < 0) {
		tool_error(im->t, "%s: %s", im->path, strerror(errno));
		return STATUS_ERROR;
	}
	im->bytes = (uint64_t)size;
	snprintf(im->name, sizeof(im->name),
		 "json:{\"driver\":\"qcow2\",\"backing\":null,\"file\":{\"driver\":\"%s\","
		 "\"filename\":\"/proc/self/fd/%d\"}}",
		 S_ISBLK(st.st_mode) ? "host_device" : "file", im->fd);
	return 0;
}

int qcow2_map_read(struct tool *t, const char *path, const char *origin, uint64_t origin_bytes,
		   size_t max, struct qcow2_map *map)
{
	struct image im = { .t = t, .path = path, .fd = -1 };
	struct json_object *info = NULL;
	int status;

	*map = (struct qcow2_map){ 0 };
	status = open_image(&im);
	if (!status)
		status = read_info(&im, &info);
	if (!status)
		status = check_info(&im, info, origin, origin_bytes);
	if (!status)
		status = read_map(&im, origin_bytes, max, map);
	json_object_put(info);
	if (im.fd >= 0)
		close(im.fd);
	return status;
}

void qcow2_map_free(struct qcow2_map *map)
{
	free(map->v);
	*map = (struct qcow2_map){ 0 };
}
