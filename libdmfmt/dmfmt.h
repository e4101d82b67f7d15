/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * DOC: libdmfmt - the on-disk formats of device-mapper targets, offline
 *
 * The library decodes, checks, repairs and creates the metadata of dm-snapshot persistent exception
 * stores (and, as they are added, of writecache, pcache and mirror logs).  It never prints, never
 * exits and keeps no state outside its handles: one handle may be used by one thread at a time,
 * different handles by different threads.
 *
 * Every function that can fail returns 0 or a negative errno, and leaves one line in the context
 * (dmfmt_ctx_error()): thing, place, found, expected.  Usual errors, unless a function says more:
 *
 *   -EINVAL      the caller is wrong           -EILSEQ     the bytes are not what the format says
 *   -EOPNOTSUPP  version or feature not known  -ERANGE     a number points outside the device
 *   -EBUSY       the device is in use          -ECANCELED  the progress callback asked to stop
 *   -EEXIST      a signature would be lost     -ESTALE     the device has moved on (undo)
 *   -EUCLEAN     refused: damage is in the way -EIO -ENOMEM -ENOSPC -EROFS -EACCES as ever
 *
 * Units: `_sectors` are 512 bytes, always.  `_chunks` count from the start of their device.
 * Structs that callers fill begin with `size`, their own sizeof, so that they can grow.
 */
#ifndef DMFMT_H
#define DMFMT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DMFMT_VERSION "0.1.0"
#define DMFMT_API __attribute__((visibility("default")))

/** DMFMT_NONE - "no such number" wherever a record index, an offset or a sector may be missing */
#define DMFMT_NONE UINT64_MAX

struct dmfmt_ctx;	/* callbacks, limits and the last error */
struct dmfmt_dev;	/* an open file or block device, with the layers put on it */
struct dmfmt;		/* a device read as one format */
struct dmfmt_report;	/* what a check or a repair found */
struct dmfmt_builder;	/* metadata being restored */

/** dmfmt_version() - version of the library at run time, as in DMFMT_VERSION; static storage */
DMFMT_API const char *dmfmt_version(void);

/* ---- context ------------------------------------------------------------------------------- */

enum dmfmt_log_level { DMFMT_LOG_ERROR, DMFMT_LOG_WARNING, DMFMT_LOG_INFO, DMFMT_LOG_DEBUG };

/**
 * struct dmfmt_progress - how far long work is
 * @what: what is being done, e.g. "checking"; static storage
 * @pass: which pass this is, from 1
 * @nr_passes: how many are planned; it may grow
 * @done: units done in this pass
 * @total: units in this pass, 0 while unknown
 * @bytes: bytes read and written so far, all passes
 */
struct dmfmt_progress {
	size_t size;
	const char *what;
	unsigned pass, nr_passes;
	uint64_t done, total;
	uint64_t bytes;
};

/**
 * dmfmt_ctx_new() - a context with no callbacks and a memory limit of 64 MiB
 * Return: the context, owned by the caller (dmfmt_ctx_free()), or NULL without memory.
 * It must outlive every handle made with it.
 */
DMFMT_API struct dmfmt_ctx *dmfmt_ctx_new(void);
DMFMT_API void dmfmt_ctx_free(struct dmfmt_ctx *ctx);

/** dmfmt_ctx_set_log() - where warnings and remarks go; @msg is one line, valid during the call */
DMFMT_API void dmfmt_ctx_set_log(struct dmfmt_ctx *ctx,
				 void (*fn)(void *arg, enum dmfmt_log_level level, const char *msg),
				 void *arg);

/**
 * dmfmt_ctx_set_progress() - called every few milliseconds of long work, between two safe steps
 * A return other than 0 asks to stop: the function at work ends at the next safe point with
 * -ECANCELED.
 */
DMFMT_API void dmfmt_ctx_set_progress(struct dmfmt_ctx *ctx,
				      int (*fn)(void *arg, const struct dmfmt_progress *p), void *arg);

/** dmfmt_ctx_set_memory() - @bytes that the process may use in all (at least 16 MiB are taken) */
DMFMT_API void dmfmt_ctx_set_memory(struct dmfmt_ctx *ctx, uint64_t bytes);

/** dmfmt_ctx_error() - the line of the last failure, "" if none; valid until the next call */
DMFMT_API const char *dmfmt_ctx_error(const struct dmfmt_ctx *ctx);

/* ---- devices ------------------------------------------------------------------------------- */

#define DMFMT_OPEN_WRITE  1u	/* for writing: exclusive (O_EXCL, flock), refused when in use */
#define DMFMT_OPEN_LIVE   2u	/* reading: allowed although the device is in use */
#define DMFMT_OPEN_CREATE 4u	/* a new regular file, mode 0600; -EEXIST if the name exists */

/**
 * struct dmfmt_dev_info - facts about an open device
 * @path: as given to dmfmt_dev_open()
 * @size_bytes: whole size; bytes past the last whole sector are not counted
 * @logical_block_bytes: of a block device; 512 for a file
 * @is_block: a block device, else a regular file
 * @holder: who uses the device, in words ("mounted on /mnt", "dm device vg-cow"), or NULL
 * @written_bytes: what was written through this handle so far, dry runs not counted
 *
 * Strings belong to the device.
 */
struct dmfmt_dev_info {
	size_t size;
	const char *path;
	uint64_t size_bytes;
	uint32_t logical_block_bytes;
	bool is_block;
	const char *holder;
	uint64_t written_bytes;
};

/**
 * dmfmt_dev_open() - open a regular file or a block device
 * @flags: DMFMT_OPEN_*; 0 opens for reading
 * @out: the device, owned by the caller (dmfmt_dev_close())
 *
 * Block devices are opened with O_DIRECT.  A device in use (mount, swap, dm, md, loop, another
 * dmtool) is refused with its holder's name; nothing overrides that for writing.
 * Return: 0; -EBUSY in use; -EINVAL neither a regular file nor a block device; errno of open(2).
 */
DMFMT_API int dmfmt_dev_open(struct dmfmt_ctx *ctx, const char *path, unsigned flags,
			     struct dmfmt_dev **out);

/**
 * dmfmt_dev_open_buffer() - a device in memory, for tests and for callers that hold an image
 * @buf: @size_bytes bytes, a multiple of 512; stays the caller's and must outlive the device
 */
DMFMT_API int dmfmt_dev_open_buffer(struct dmfmt_ctx *ctx, void *buf, uint64_t size_bytes,
				    struct dmfmt_dev **out);

/**
 * dmfmt_dev_set_start() - where on the device the format begins, before dmfmt_open() and the others
 * @sectors: writecache's start_sector; 0 without this call
 * Return: 0; -ERANGE at or past the end of the device.
 */
DMFMT_API int dmfmt_dev_set_start(struct dmfmt_dev *dev, uint64_t sectors);

/** dmfmt_dev_truncate() - set the size of a file opened with DMFMT_OPEN_CREATE */
DMFMT_API int dmfmt_dev_truncate(struct dmfmt_dev *dev, uint64_t size_bytes);
DMFMT_API void dmfmt_dev_get_info(const struct dmfmt_dev *dev, struct dmfmt_dev_info *info);

/** dmfmt_dev_sync() - finish what layers hold back and make all of it durable */
DMFMT_API int dmfmt_dev_sync(struct dmfmt_dev *dev);

/** dmfmt_dev_close() - close; writes that were not synced may be lost; NULL is allowed */
DMFMT_API void dmfmt_dev_close(struct dmfmt_dev *dev);

/* ---- dry runs and undo --------------------------------------------------------------------- */

/** struct dmfmt_write - one write of a plan; CRCs are CRC32C of the range before and after */
struct dmfmt_write {
	size_t size;
	uint64_t offset, length;	/* bytes */
	uint32_t old_crc, new_crc;
};

/**
 * dmfmt_dev_set_dry_run() - from now on writes are listed, not done
 * @fn: called for each write in order (may be NULL); a non-zero return ends the work with it
 *
 * Reads see the writes as if they had been done.  Cannot be taken back for this device.
 */
DMFMT_API int dmfmt_dev_set_dry_run(struct dmfmt_dev *dev,
				    int (*fn)(void *arg, const struct dmfmt_write *w), void *arg);

/** dmfmt_dev_set_trace() - like dmfmt_dev_set_dry_run(), but the writes are done as well */
DMFMT_API int dmfmt_dev_set_trace(struct dmfmt_dev *dev,
				  int (*fn)(void *arg, const struct dmfmt_write *w), void *arg);

/**
 * dmfmt_dev_set_undo() - save what each later write overwrites, durably, before it is overwritten
 * @path: the undo file, which must not exist yet; created at the first write
 * @command: what is being done, for the file's header
 *
 * The file and its directory are synced before the first byte of the device changes.
 * Return: 0; -EXDEV the file would lie on the device itself or on something stacked on it;
 * -EEXIST the name exists; errno of open(2).
 */
DMFMT_API int dmfmt_dev_set_undo(struct dmfmt_dev *dev, const char *path, const char *command);

/** dmfmt_dev_undo_path() - the undo file if one was written, else NULL; belongs to the device */
DMFMT_API const char *dmfmt_dev_undo_path(const struct dmfmt_dev *dev);

/** struct dmfmt_undo_info - header of an undo file; strings belong to the handle */
struct dmfmt_undo_info {
	size_t size;
	const char *device, *command, *dmfmt_version;
	uint64_t device_bytes;
	uint64_t time;			/* seconds since the epoch */
	uint64_t nr_writes, bytes;
	bool complete;			/* the command that wrote it came to its end */
};

struct dmfmt_undo;
/** dmfmt_undo_open() - read and verify an undo file; -EILSEQ if it is damaged */
DMFMT_API int dmfmt_undo_open(struct dmfmt_ctx *ctx, const char *path, struct dmfmt_undo **out);
DMFMT_API void dmfmt_undo_get_info(const struct dmfmt_undo *u, struct dmfmt_undo_info *info);
/** dmfmt_undo_list() - the recorded writes, oldest first */
DMFMT_API int dmfmt_undo_list(struct dmfmt_undo *u, int (*fn)(void *arg, const struct dmfmt_write *w),
			      void *arg);
/**
 * dmfmt_undo_apply() - write the old bytes back and sync
 *
 * Before anything is written every recorded range of @dev is compared: each logical block must hold
 * the bytes from before or the recorded new ones; otherwise -ESTALE, and nothing is written.
 * Can be cut and run again.  Works with dmfmt_dev_set_dry_run().
 */
DMFMT_API int dmfmt_undo_apply(struct dmfmt_undo *u, struct dmfmt_dev *dev);
DMFMT_API void dmfmt_undo_close(struct dmfmt_undo *u);

/* ---- fields: named numbers for people and programs ----------------------------------------- */

enum dmfmt_kind { DMFMT_U64, DMFMT_HEX, DMFMT_BOOL, DMFMT_STRING };
enum dmfmt_unit {
	DMFMT_UNIT_NONE, DMFMT_UNIT_SECTORS, DMFMT_UNIT_BYTES, DMFMT_UNIT_CHUNKS, DMFMT_UNIT_BLOCKS,
	DMFMT_UNIT_PERCENT
};

/**
 * struct dmfmt_field - one named value
 * @group: heading it belongs to, or NULL; fields of a group come together
 * @name: the kernel's word for it; also the JSON key
 * @unit_bytes: how many bytes one unit is (chunks, sectors), 0 if that says nothing
 * @u: the value unless @kind is DMFMT_STRING
 * @s: the value if @kind is DMFMT_STRING, else NULL; valid during the callback
 */
struct dmfmt_field {
	const char *group, *name;
	enum dmfmt_kind kind;
	enum dmfmt_unit unit;
	uint64_t unit_bytes;
	uint64_t u;
	const char *s;
};
typedef int (*dmfmt_field_fn)(void *arg, const struct dmfmt_field *field);

/* ---- formats ------------------------------------------------------------------------------- */

/**
 * dmfmt_probe() - which format is on the device, by our own decoders and libblkid
 * @fn: called once per candidate with fields: format, version, offset, confidence (0 to 100),
 *      usage, reason (why, or why not); the best first.  "group" is the candidate's name.
 * Return: 0 if one of our formats is there, 1 if not, negative errno.
 */
DMFMT_API int dmfmt_probe(struct dmfmt_ctx *ctx, struct dmfmt_dev *dev, dmfmt_field_fn fn, void *arg);

/**
 * dmfmt_identify() - is it this format, by our own decoder alone (one read, if the header is sound)
 * @confidence: 0 to 100; 0: it is not
 */
DMFMT_API int dmfmt_identify(struct dmfmt_ctx *ctx, struct dmfmt_dev *dev, const char *format,
			     unsigned *confidence);

/** dmfmt_foreign_signature() - what libblkid sees that is none of ours ("ext4 at 1080"), or "" */
DMFMT_API int dmfmt_foreign_signature(struct dmfmt_ctx *ctx, struct dmfmt_dev *dev, char *buf,
				      size_t len);

#define DMFMT_OPEN_HEADER_ONLY 1u	/* read nothing behind the header */

/**
 * dmfmt_open() - read a device as a format
 * @format: "snapshot", "writecache"
 * @dev: stays the caller's and must outlive the handle
 *
 * Succeeds on damaged headers too (dmfmt_check() says what is wrong with them); functions that need
 * a sound header fail with -EILSEQ or -EOPNOTSUPP.
 * Return: 0; -EINVAL unknown format; -ERANGE the device cannot hold even a header; -EIO.
 */
DMFMT_API int dmfmt_open(struct dmfmt_ctx *ctx, struct dmfmt_dev *dev, const char *format,
			 unsigned flags, struct dmfmt **out);
DMFMT_API void dmfmt_close(struct dmfmt *f);

/** dmfmt_set_origin() - the device that the metadata belongs to; stays the caller's */
DMFMT_API int dmfmt_set_origin(struct dmfmt *f, struct dmfmt_dev *origin);
/** dmfmt_set_origin_size() - its size in sectors, where the device itself is not at hand */
DMFMT_API int dmfmt_set_origin_size(struct dmfmt *f, uint64_t sectors);

/** dmfmt_info() - header, counts and what the kernel would do, field by field */
DMFMT_API int dmfmt_info(struct dmfmt *f, dmfmt_field_fn fn, void *arg);

/** struct dmfmt_column - one column of a record; static storage */
struct dmfmt_column {
	const char *name;	/* the kernel's field name */
	enum dmfmt_unit unit;
};
/** dmfmt_columns() - the columns of this format's records */
DMFMT_API size_t dmfmt_columns(const struct dmfmt *f, const struct dmfmt_column **columns);

/**
 * struct dmfmt_visitor - receives all metadata of a format, in disk order; any callback may be NULL
 * @head: one field of the header as stored
 * @raw: non-zero bytes that no field and no record describes; at most 4096 at a time
 * @records: @nr live records from number @first on; @values holds nr * columns numbers, row by row
 * @stale: a non-zero slot behind the end of the chain: its area, its slot in it, its values
 * @tail: closing fields: counts and metadata_crc32c (over everything that was visited)
 *
 * A callback's return other than 0 ends the walk with it.
 */
struct dmfmt_visitor {
	size_t size;
	void *arg;
	dmfmt_field_fn head;
	int (*raw)(void *arg, uint64_t offset, const void *bytes, size_t len);
	int (*records)(void *arg, uint64_t first, const uint64_t *values, size_t nr);
	int (*stale)(void *arg, uint64_t area, uint64_t slot, const uint64_t *values);
	dmfmt_field_fn tail;
};
/** dmfmt_walk() - visit; memory does not grow with the device */
DMFMT_API int dmfmt_walk(struct dmfmt *f, const struct dmfmt_visitor *v);

/**
 * struct dmfmt_run - consecutive records that continue each other on both sides
 * @record: number of the first record; @from, @to: where it leads, in the format's units
 */
struct dmfmt_run {
	uint64_t record, from, to, length;
};
/** dmfmt_runs() - walk() coalesced into longest runs, in disk order */
DMFMT_API int dmfmt_runs(struct dmfmt *f, int (*fn)(void *arg, const struct dmfmt_run *run), void *arg);

/**
 * dmfmt_find() - where a sector lives
 * @reverse: @sector is on the store, not on the origin
 * @fn: called with the fields of each answer; "group" tells answers apart
 * Return: 0; -ERANGE @sector is past the end.
 */
DMFMT_API int dmfmt_find(struct dmfmt *f, uint64_t sector, bool reverse, dmfmt_field_fn fn, void *arg);

/**
 * dmfmt_occupancy() - how densely a device is used, for pictures
 * @which: "origin" or "store"; writecache: also "age", cells from the oldest epoch to the newest
 * @cells: @nr_cells counters to fill: units used in this cell's share of the device
 * @units_total: how many units (chunks, blocks) the device has; the last cell may cover fewer
 */
DMFMT_API int dmfmt_occupancy(struct dmfmt *f, const char *which, uint64_t *cells, size_t nr_cells,
			      uint64_t *units_total);

/* ---- findings ------------------------------------------------------------------------------ */

enum dmfmt_severity { DMFMT_SEV_NOTE, DMFMT_SEV_WARNING, DMFMT_SEV_REPAIRABLE, DMFMT_SEV_FATAL };

/**
 * struct dmfmt_finding - one thing that is wrong or worth knowing; strings belong to the report
 * @code: stable name, e.g. "snapshot.exception.new_chunk_beyond_device"
 * @number: stable number, never reused
 * @rule: the invariant of dm-snapshot-format(5) (or the family's page) that it breaks
 * @count: how many records it stands for (above the report's limit one finding stands for the rest)
 * @record: index of the record, or DMFMT_NONE; @record2: the other one of a pair
 * @offset: byte offset on the device, or DMFMT_NONE
 * @origin_sector, @origin_nr: the affected range of the origin, DMFMT_NONE and 0 if there is none
 * @loss: how many records mending it gives up; 0: nothing is lost
 * @place, @found, @expected: parts of @message, the line for people
 * @kernel: what the kernel would do with it
 * @suggestion: a command that helps, or ""
 * @mended: dmfmt_repair() mended it
 */
struct dmfmt_finding {
	const char *code;
	unsigned number, rule;
	enum dmfmt_severity severity;
	bool mended;
	uint64_t count, record, record2, offset, origin_sector, origin_nr, loss;
	const char *place, *found, *expected, *message, *kernel, *suggestion;
};

/** struct dmfmt_rule - one row of the format's list of invariants and whether it was looked at */
struct dmfmt_rule {
	unsigned number;
	const char *name;	/* short, e.g. "new_chunk in range" */
	bool checked;
	const char *reason;	/* why not, if not checked; else "" */
};

struct dmfmt_summary {
	size_t size;
	uint64_t fatal, repairable, warnings, notes;	/* records concerned, mended ones not counted */
	uint64_t mended;
	uint64_t records, areas;	/* areas: DMFMT_NONE if the format has none */
	uint64_t loss;		/* what --accept-loss would have to say */
	unsigned passes;	/* over the metadata */
	uint64_t dirty;		/* records whose data the origin still lacks; DMFMT_NONE: not looked at */
};

DMFMT_API size_t dmfmt_report_nr(const struct dmfmt_report *r);
DMFMT_API const struct dmfmt_finding *dmfmt_report_get(const struct dmfmt_report *r, size_t i);
DMFMT_API size_t dmfmt_report_nr_rules(const struct dmfmt_report *r);
DMFMT_API const struct dmfmt_rule *dmfmt_report_rule(const struct dmfmt_report *r, size_t i);
DMFMT_API void dmfmt_report_summary(const struct dmfmt_report *r, struct dmfmt_summary *s);
DMFMT_API void dmfmt_report_free(struct dmfmt_report *r);

/** dmfmt_finding_list() - every kind of finding there is, for documentation; NULL past the end */
DMFMT_API const char *dmfmt_finding_list(size_t i, unsigned *number, enum dmfmt_severity *severity,
					 const char **text);

#define DMFMT_CHECK_DATA 1u	/* read the data that records point to as well */

/**
 * dmfmt_check() - look at everything, change nothing, go on after the first damage
 * @max_each: how many findings of one kind are kept one by one; 0 means 100
 * @out: the report, owned by the caller; also set when the result is -ECANCELED
 * Return: 0 whatever was found; negative errno only if the check itself could not go on.
 */
DMFMT_API int dmfmt_check(struct dmfmt *f, unsigned flags, size_t max_each, struct dmfmt_report **out);

#define DMFMT_REPAIR_YES               0x01u	/* also what needs a person's yes (but loses nothing) */
#define DMFMT_REPAIR_REVALIDATE        0x02u	/* snapshot: valid 0 -> 1 */
#define DMFMT_REPAIR_ORIGIN_UNMODIFIED 0x04u	/* the caller vouches that the origin did not change */
#define DMFMT_REPAIR_REBUILD_HEADER    0x08u
#define DMFMT_REPAIR_KEEP_TAIL         0x10u	/* snapshot, torn area: entries behind the gap are live */
#define DMFMT_REPAIR_INTERRUPTED_CREATE 0x20u	/* snapshot: area 0 is garbage of an interrupted create */
#define DMFMT_REPAIR_SEQ_MAX           0x40u	/* writecache: seq_count becomes the largest of an entry */
#define DMFMT_REPAIR_SEQ_NEXT          0x80u	/* writecache: one more than that */
#define DMFMT_REPAIR_DATA              0x100u	/* each check reads the data as well: DMFMT_CHECK_DATA */

struct dmfmt_repair_opts {
	size_t size;
	unsigned flags;
	uint64_t accept_loss;	/* DMFMT_NONE: no loss accepted; else must equal the summary's loss */
	uint64_t chunk_sectors;	/* with DMFMT_REPAIR_REBUILD_HEADER: only this size; 0 infers it */
	size_t max_each;	/* as in dmfmt_check() */
	dmfmt_field_fn evidence;	/* how a header was inferred; may be NULL */
	void *arg;
	uint64_t block_bytes;	/* with DMFMT_REPAIR_REBUILD_HEADER: only this block size; 0 infers it */
	/* where data blocks go whose entries are given up, asked for before the first of them (writecache):
	 * entry i's at i * block_size.  NULL: they are not kept */
	int (*side)(void *arg, struct dmfmt_dev **dev);
};

/**
 * dmfmt_repair() - check, mend what @opts allows, check again
 * @out: findings of the first check with `mended` set where it is so, and what is left
 *
 * Writes go through @f's device and its layers; each step leaves a store that is no worse.
 * Return: 0; -EUCLEAN refused, with the reason in the context; errors of the device.
 */
DMFMT_API int dmfmt_repair(struct dmfmt *f, const struct dmfmt_repair_opts *opts,
			   struct dmfmt_report **out);

/* ---- create and restore -------------------------------------------------------------------- */

#define DMFMT_CREATE_FORCE 1u	/* overwrite a signature, or a store that lost its header */

/**
 * struct dmfmt_snapshot_params - a new exception store
 * @chunk_sectors: power of two, 1 to 2097152, a multiple of both devices' logical blocks
 * @origin: for the geometry and its block size; may be NULL
 */
struct dmfmt_snapshot_params {
	size_t size;
	uint64_t chunk_sectors;
	struct dmfmt_dev *origin;
	unsigned flags;
};

/** dmfmt_snapshot_geometry() - capacity of a store before it is made, field by field; -EINVAL as the
 *  kernel would refuse it */
DMFMT_API int dmfmt_snapshot_geometry(struct dmfmt_ctx *ctx, struct dmfmt_dev *cow,
				      const struct dmfmt_snapshot_params *p, dmfmt_field_fn fn,
				      void *arg);
/** dmfmt_snapshot_create() - area 0 zeroed and durable, then the header; as the kernel formats it */
DMFMT_API int dmfmt_snapshot_create(struct dmfmt_ctx *ctx, struct dmfmt_dev *cow,
				    const struct dmfmt_snapshot_params *p);

#define DMFMT_RESTORE_METADATA_ONLY 1u	/* the destination holds no store: its data are not there */

/**
 * dmfmt_restore_begin() - rebuild metadata from what a visitor was given
 * @dev: destination; NULL only validates (same errors, nothing written)
 * @dev_sectors: size to validate against when @dev is NULL
 * @head: all fields that visitor->head received, in any order
 *
 * Then raw, records and stale as they came, then dmfmt_restore_commit() with the tail's fields.
 * Nothing becomes valid before the commit: an existing store is marked invalid first, durably.
 */
DMFMT_API int dmfmt_restore_begin(struct dmfmt_ctx *ctx, struct dmfmt_dev *dev, uint64_t dev_sectors,
				  const char *format, const struct dmfmt_field *head, size_t nr,
				  unsigned flags, struct dmfmt_builder **out);
DMFMT_API int dmfmt_restore_raw(struct dmfmt_builder *b, uint64_t offset, const void *bytes, size_t len);
DMFMT_API int dmfmt_restore_records(struct dmfmt_builder *b, const uint64_t *values, size_t nr);
DMFMT_API int dmfmt_restore_stale(struct dmfmt_builder *b, uint64_t area, uint64_t slot,
				  const uint64_t *values);
DMFMT_API int dmfmt_restore_commit(struct dmfmt_builder *b, const struct dmfmt_field *tail, size_t nr);
DMFMT_API void dmfmt_restore_free(struct dmfmt_builder *b);

/**
 * struct dmfmt_writecache_params - a new cache; where it begins: dmfmt_dev_set_start()
 * @block_bytes: power of two, 512 to 65536, not below a logical block size.  0: of a new cache 4096, or
 *               512 if the origin's file system has smaller sectors; of a converted one as it was
 * @origin: for its block size and its file system's; may be NULL (a conversion has the handle's)
 * @flags: DMFMT_CREATE_FORCE
 */
struct dmfmt_writecache_params {
	size_t size;
	uint64_t block_bytes;
	struct dmfmt_dev *origin;
	unsigned flags;
};
/** dmfmt_writecache_geometry() - n_blocks, metadata and kernel memory of a cache before it is made */
DMFMT_API int dmfmt_writecache_geometry(struct dmfmt_ctx *ctx, struct dmfmt_dev *cache,
					const struct dmfmt_writecache_params *p, dmfmt_field_fn fn,
					void *arg);
/** dmfmt_writecache_create() - entries free and durable, the gap behind them zero, then the magic */
DMFMT_API int dmfmt_writecache_create(struct dmfmt_ctx *ctx, struct dmfmt_dev *cache,
				      const struct dmfmt_writecache_params *p);
/**
 * dmfmt_writecache_convert_size() - sectors (behind its start) that a new cache for all dirty blocks
 *                                   of @f needs at least
 */
DMFMT_API int dmfmt_writecache_convert_size(struct dmfmt *f, const struct dmfmt_writecache_params *p,
					    uint64_t *sectors);
/**
 * dmfmt_writecache_convert() - write to @to a cache that holds the same dirty blocks
 *
 * Blocks are split into smaller ones, or joined to larger ones; what a larger one lacks comes from
 * the origin, which must be set then.
 * @fn: receives counts at the end
 * Return: 0; -ENOSPC they do not fit; -EUCLEAN blocks are incomplete and no origin is set.
 */
DMFMT_API int dmfmt_writecache_convert(struct dmfmt *f, struct dmfmt_dev *to,
				       const struct dmfmt_writecache_params *p, dmfmt_field_fn fn,
				       void *arg);
/**
 * dmfmt_writecache_resize() - change n_blocks in place, where the data blocks stay where they are
 * @sectors: size of the cache behind its start; 0: all of the device
 * Return: 0; -EUCLEAN the data blocks would have to move, or blocks that go are in use.
 */
DMFMT_API int dmfmt_writecache_resize(struct dmfmt *f, uint64_t sectors, dmfmt_field_fn fn, void *arg);

/* ---- data: what the target shows, and bringing it home -------------------------------------- */

/*
 * The functions of this part move data, so they stand on a sound store: each runs check's metadata
 * pass first (once per handle) and ends with -EUCLEAN, nothing written, if it has a fatal finding.
 * They also compare the fingerprint, if dmfmt_set_fingerprint() gave one.
 */

/**
 * struct dmfmt_extent - @length bytes that the logical device has at @to and the store holds at @from
 *
 * @from is DMFMT_NONE for zeros that no device holds.  All three in bytes, multiples of 512.
 */
struct dmfmt_extent {
	uint64_t to, from, length;
};

/**
 * dmfmt_extents() - everything the store holds, in the order of the logical device
 * @fn: extents as long as they go; a return other than 0 ends it
 *
 * What is superseded or was never committed is left out: this is what the kernel would serve.
 */
DMFMT_API int dmfmt_extents(struct dmfmt *f, int (*fn)(void *arg, const struct dmfmt_extent *e),
			    void *arg);

struct dmfmt_view;	/* the logical device that the kernel's target would show */

/**
 * dmfmt_view_open() - look at the logical device of @f, whose origin must have been set
 * @out: the view, owned by the caller (dmfmt_view_close()); @f must outlive it
 *
 * Memory: the context's limit holds the store's map in windows; accesses in ascending order cost one
 * pass over the metadata per window.  One thread at a time.
 */
DMFMT_API int dmfmt_view_open(struct dmfmt *f, struct dmfmt_view **out);
/** dmfmt_view_size() - its size in bytes */
DMFMT_API uint64_t dmfmt_view_size(const struct dmfmt_view *v);
/** dmfmt_view_read() - exactly @len bytes at @off; -ERANGE past the end */
DMFMT_API int dmfmt_view_read(struct dmfmt_view *v, uint64_t off, void *buf, size_t len);
/**
 * dmfmt_view_extent() - where the bytes at @off come from, and how far that goes
 * @e: @e->to is @off; @e->from is a byte on the store, or on the origin if not @in_store
 * Return: 0; -ERANGE at or past the end.
 */
DMFMT_API int dmfmt_view_extent(struct dmfmt_view *v, uint64_t off, struct dmfmt_extent *e,
				bool *in_store);
DMFMT_API void dmfmt_view_close(struct dmfmt_view *v);

enum dmfmt_export_format { DMFMT_EXPORT_RAW, DMFMT_EXPORT_QCOW2 };
#define DMFMT_EXPORT_VERIFY 1u	/* read back and compare */

/**
 * struct dmfmt_export_opts - how to write an image
 * @backing: qcow2: the name of the backing file that goes into the header (the origin)
 * @rate: bytes per second at most, 0: no limit
 */
struct dmfmt_export_opts {
	size_t size;
	enum dmfmt_export_format format;
	unsigned flags;
	const char *backing;
	uint64_t rate;
};
/**
 * dmfmt_export() - write the logical device to the new, empty file @to (DMFMT_OPEN_CREATE)
 *
 * Raw: all of it, sparse.  qcow2: an overlay over the origin that holds what the store holds; zero
 * data become zero clusters.  Durable on return.
 * @fn: receives counts at the end: image_bytes, store_bytes, origin_bytes, written_bytes, zero_bytes
 */
DMFMT_API int dmfmt_export(struct dmfmt_view *v, struct dmfmt_dev *to,
			   const struct dmfmt_export_opts *o, dmfmt_field_fn fn, void *arg);

#define DMFMT_WRITEBACK_DRY_RUN    1u	/* plan and count, write nothing */
#define DMFMT_WRITEBACK_VERIFY     2u	/* read back and compare before anything is retired */
#define DMFMT_WRITEBACK_KEEP_GOING 4u	/* what fails stays in the store, the rest goes on */
#define DMFMT_WRITEBACK_ACCEPT_LOSS 8u	/* accept_loss is set */
#define DMFMT_WRITEBACK_DEVICE_CUT 16u	/* the caller vouches that the device was larger (writecache) */

/** struct dmfmt_failure - a range that could not be moved (bytes) and stays in the store */
struct dmfmt_failure {
	size_t size;
	uint64_t to, from, length;
	bool reading;		/* the store could not be read; else the origin not written */
	int error;		/* negative errno */
};

/**
 * struct dmfmt_writeback_opts - how to move a store's data to its origin
 * @rate: bytes per second at most, 0: no limit
 * @failed: told each failure (DMFMT_WRITEBACK_KEEP_GOING); may be NULL
 * @accept_loss: with DMFMT_WRITEBACK_ACCEPT_LOSS: records that are lost already (a truncated device,
 *               metadata that cannot be read) or that lie past the origin's end, in number as
 *               dmfmt_check() gives them; without, either ends it before anything is written
 */
struct dmfmt_writeback_opts {
	size_t size;
	unsigned flags;
	uint64_t rate;
	int (*failed)(void *arg, const struct dmfmt_failure *x);
	void *arg;
	uint64_t accept_loss;
};

/**
 * struct dmfmt_writeback_result - what was done, also after an error
 * @records: moved and retired; @records_left: still in the store
 * @bytes: written to the origin; @writes: coalesced ranges of it
 * @windows: how often the origin was flushed and the metadata followed
 * @failed: records that could not be moved
 * @bytes_beyond: data past the origin's end, which no origin can take
 */
struct dmfmt_writeback_result {
	size_t size;
	uint64_t records, records_left, bytes, writes, windows, failed, bytes_beyond;
};

/**
 * dmfmt_writeback() - move everything the store holds to the origin, then forget it in the store
 *
 * What `snapshot-merge` does in the kernel, or writecache's message `flush`.  Both devices must be
 * open for writing.  At any moment
 * the store is valid and shows, over the origin, the same logical device; a cut or a stop loses
 * nothing, and a second run or the kernel goes on.
 * Return: 0, also if DMFMT_WRITEBACK_KEEP_GOING left failures (@r says how many); -EUCLEAN refused;
 * -ECANCELED stopped at a safe point; errors of the devices.
 */
DMFMT_API int dmfmt_writeback(struct dmfmt *f, const struct dmfmt_writeback_opts *o,
			      struct dmfmt_writeback_result *r);

/**
 * dmfmt_patch() - write what the store holds to the new, empty file @to, each byte at its place on the
 *                 logical device; the rest are holes.  Neither store nor origin is written
 * @o: DMFMT_WRITEBACK_VERIFY, _KEEP_GOING, _ACCEPT_LOSS, _DEVICE_CUT, as dmfmt_writeback() has them
 * @told: told each range that the file holds, ascending; may be NULL
 */
DMFMT_API int dmfmt_patch(struct dmfmt *f, struct dmfmt_dev *to, const struct dmfmt_writeback_opts *o,
			  int (*told)(void *arg, const struct dmfmt_extent *e), void *arg,
			  struct dmfmt_writeback_result *r);

/** dmfmt_discard() - forget everything the store holds; it stays valid, and empty */
DMFMT_API int dmfmt_discard(struct dmfmt *f, uint64_t *records);

/**
 * dmfmt_protect() - give @other the chunks that a write-back of @f is about to change on their origin
 *
 * Both are stores of the same origin, which must be set in both; @other is open for writing.  Each
 * chunk that @f holds and @other does not is copied from the origin into @other, as the kernel would
 * do before a write to the origin, and is durable on return.  Neutral for what @other shows.
 * @copied: chunks that were added
 * Return: 0; -ENOSPC @other has too little room, nothing was written; -EUCLEAN @other is damaged.
 */
DMFMT_API int dmfmt_protect(struct dmfmt *f, struct dmfmt *other, uint64_t *copied);

/* ---- which origin it is -------------------------------------------------------------------- */

/** dmfmt_sha256() - SHA-256 of @len bytes at @buf, as samples have it */
DMFMT_API void dmfmt_sha256(const void *buf, size_t len, uint8_t out[32]);

/** struct dmfmt_sample - SHA-256 of @length bytes at @offset */
struct dmfmt_sample {
	uint64_t offset;
	uint32_t length;
	uint8_t sha256[32];
};

/**
 * dmfmt_fingerprint() - sample a device, so that it can be known again
 * @nr: how many samples at most (0: 4096); they are spread over the device, the first and the last
 *      4096 bytes among them
 * @fn: receives size_sectors, and fs_type, fs_uuid where libblkid knows them
 * @sample: receives the samples in ascending order
 */
DMFMT_API int dmfmt_fingerprint(struct dmfmt_ctx *ctx, struct dmfmt_dev *dev, size_t nr,
				dmfmt_field_fn fn,
				int (*sample)(void *arg, const struct dmfmt_sample *s), void *arg);

/**
 * dmfmt_set_fingerprint() - what the origin of @f was when its store was made
 * @samples: copied
 *
 * Only samples where the store holds nothing are compared; one that differs proves another origin,
 * or a write to it behind device-mapper's back: the functions that move data end with -EUCLEAN.
 * Return: 0; -EUCLEAN the origin's size is another; -EINVAL no origin is set.
 */
DMFMT_API int dmfmt_set_fingerprint(struct dmfmt *f, uint64_t size_sectors,
				    const struct dmfmt_sample *samples, size_t nr);

/* ---- differences --------------------------------------------------------------------------- */

/**
 * struct dmfmt_delta_opts - which difference
 * @other: a second store of the same origin: the two logical devices are compared; NULL: the
 *         logical device and the origin
 * @exact: compare the data as well (the origin must be set): exactly the sectors that differ
 */
struct dmfmt_delta_opts {
	size_t size;
	struct dmfmt *other;
	bool exact;
};
/**
 * dmfmt_delta() - the ranges that may differ, ascending, none touching the next
 * @fn: @sector, @nr: in sectors of the logical device
 *
 * Never misses a difference.  Works without an origin unless @exact.
 */
DMFMT_API int dmfmt_delta(struct dmfmt *f, const struct dmfmt_delta_opts *o,
			  int (*fn)(void *arg, uint64_t sector, uint64_t nr), void *arg);

#define DMFMT_SEND_FORWARD  1u	/* a device in the snapshot's state becomes the origin */
#define DMFMT_SEND_BACKWARD 2u	/* a device in the origin's state becomes the snapshot */

/**
 * dmfmt_send() - write the difference of logical device and origin as a stream (dmfmt-stream(5))
 * @flags: one of the two directions
 * @fd: a file or a pipe
 * @fn: receives counts at the end
 */
DMFMT_API int dmfmt_send(struct dmfmt_view *v, int fd, unsigned flags, dmfmt_field_fn fn, void *arg);

#define DMFMT_RECEIVE_VERIFY_ONLY 1u	/* compare the destination, write nothing */
/**
 * dmfmt_receive() - apply a stream to @dev, which must be in the state that it starts from
 *
 * Every range that will be overwritten, and samples elsewhere, are compared before anything is
 * written; ranges that hold the new bytes already are skipped, so an interrupted receive goes on.
 * Return: 0; -ESTALE the destination holds something else, nothing was written; -EILSEQ the stream
 * is damaged; -ENODATA it ends early (what arrived was applied).
 */
DMFMT_API int dmfmt_receive(struct dmfmt_ctx *ctx, int fd, struct dmfmt_dev *dev, unsigned flags,
			    dmfmt_field_fn fn, void *arg);

/* ---- snapshot: other chunk sizes, sizes in advance ----------------------------------------- */

/**
 * struct dmfmt_convert_params - a store made of another one
 * @chunk_sectors: of the new store; 0: as it is
 * @flags: DMFMT_CREATE_FORCE
 */
struct dmfmt_convert_params {
	size_t size;
	uint64_t chunk_sectors;
	unsigned flags;
};
/**
 * dmfmt_snapshot_convert_size() - sectors that the new store needs at least
 *
 * Already larger by a chunk where the kernel would invalidate at the very end.
 */
DMFMT_API int dmfmt_snapshot_convert_size(struct dmfmt *f, const struct dmfmt_convert_params *p,
					  uint64_t *sectors);
/**
 * dmfmt_snapshot_convert() - write to @to a dense store with the same content, ordered by old_chunk
 *
 * Splitting chunks needs the origin's size, joining them the origin itself.
 * @fn: receives counts at the end
 */
DMFMT_API int dmfmt_snapshot_convert(struct dmfmt *f, struct dmfmt_dev *to,
				     const struct dmfmt_convert_params *p, dmfmt_field_fn fn,
				     void *arg);

/**
 * dmfmt_snapshot_import() - make a store of changed ranges that lie somewhere else (a qcow2 overlay)
 * @source: the file that holds the data; @origin: what the overlay lies over
 * @extents: ascending, not overlapping; `from` is a byte in @source, or DMFMT_NONE for zeros
 * @sectors_needed: if @to is NULL, only this is worked out
 */
DMFMT_API int dmfmt_snapshot_import(struct dmfmt_ctx *ctx, struct dmfmt_dev *source,
				    struct dmfmt_dev *origin, const struct dmfmt_extent *extents,
				    size_t nr, const struct dmfmt_convert_params *p,
				    struct dmfmt_dev *to, uint64_t *sectors_needed,
				    dmfmt_field_fn fn, void *arg);

/**
 * dmfmt_snapshot_size() - how large a COW device has to be
 * @origin_sectors: of the origin; @changed_sectors: how many of them will change
 * @chunk_sectors: with this chunk size
 * @fn: receives the numbers, field by field
 */
DMFMT_API int dmfmt_snapshot_size(struct dmfmt_ctx *ctx, uint64_t origin_sectors,
				  uint64_t changed_sectors, uint64_t chunk_sectors,
				  dmfmt_field_fn fn, void *arg);

/* ---- metadata images for bug reports ------------------------------------------------------- */

#define DMFMT_IMAGE_OBFUSCATE       1u	/* permute origin addresses; equality, runs, range class stay */
#define DMFMT_IMAGE_INCLUDE_SUSPECT 2u	/* also areas that do not decode: they may be user data */

/** dmfmt_image_save() - metadata of @f, compressed, to @fd; @fn receives counts at the end */
DMFMT_API int dmfmt_image_save(struct dmfmt *f, int fd, unsigned flags, dmfmt_field_fn fn, void *arg);
/** dmfmt_image_expand() - the image in @fd as a sparse file @dev (DMFMT_OPEN_CREATE) */
DMFMT_API int dmfmt_image_expand(struct dmfmt_ctx *ctx, int fd, struct dmfmt_dev *dev,
				 dmfmt_field_fn fn, void *arg);

#ifdef __cplusplus
}
#endif
#endif /* DMFMT_H */
