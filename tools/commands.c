// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * All commands on one page, and every option once.  A new family adds a struct family and rows; a
 * new option adds a line to a set.
 */
#include <string.h>

#include "dmtool.h"

#define AT(member) offsetof(struct opts, member)

static const struct opt general_opts[] = {
	{ 'h', "help", OPT_HELP, .help = "show this help" },
	{ 'V', "version", OPT_VERSION, .help = "show the version" },
	{ 'v', "verbose", OPT_COUNT, AT(verbose),
	  .help = "say more; twice: also what goes on inside" },
	{ 0, "progress", OPT_CHOICE, AT(progress), .arg = "auto|bar|json|none",
	  .help = "how to show progress on standard error; auto: a bar if it is a terminal" },
	{ 0 }
};
static const struct opt_set general = { "General", general_opts };

static const struct opt json_opts[] = {
	{ 0, "json", OPT_PICK, AT(format), OUT_JSON, .help = "print one JSON document" },
	{ 0 }
};
static const struct opt_set json = { "Output", json_opts };

static const struct opt json_lines_opts[] = {
	{ 0, "json", OPT_PICK, AT(format), OUT_JSON, .help = "print one JSON document" },
	{ 0, "json-lines", OPT_PICK, AT(format), OUT_LINES,
	  .help = "print one JSON object per finding and a last one with the rest" },
	{ 0 }
};
static const struct opt_set json_lines = { "Output", json_lines_opts };

static const struct opt live_opts[] = {
	{ 0, "live", OPT_FLAG, AT(live),
	  .help = "read the device although it is in use; what is seen may be racy" },
	{ 0 }
};
static const struct opt_set live = { "Reading", live_opts };

static const struct opt memory_opts[] = {
	{ 0, "memory", OPT_BYTES, AT(memory_bytes), .arg = "SIZE",
	  .help = "memory to use in all, at least 16M; default 64M" },
	{ 0 }
};
static const struct opt_set memory = { "Limits", memory_opts };

static const struct opt origin_opts[] = {
	{ 0, "origin", OPT_DEVICE, AT(origin), .arg = "DEV",
	  .help = "the device that the store belongs to" },
	{ 0, "origin-size", OPT_SECTORS, AT(origin_sectors), .arg = "SIZE",
	  .help = "its size in sectors (or with one of s B K M G T) where it is not at hand" },
	{ 0 }
};
static const struct opt_set origin = { "Origin", origin_opts };

static const struct opt judge_opts[] = {
	{ 0, "data", OPT_FLAG, AT(data), .help = "also read the data that the records point to" },
	{ 0, "strict", OPT_FLAG, AT(strict),
	  .help = "let warnings count as damage: exit status 4" },
	{ 0, "max-findings", OPT_NUMBER, AT(max_findings), .arg = "N",
	  .help = "show at most N findings of one kind; default 100" },
	{ 0 }
};
static const struct opt_set judge = { "Checking", judge_opts };

static const struct opt write_opts[] = {
	{ 0, "dry-run", OPT_FLAG, AT(dry_run),
	  .help = "open for reading only and print the writes that would be done" },
	{ 0, "list-writes", OPT_FLAG, AT(list_writes), .help = "print the writes that are done" },
	{ 0, "undo", OPT_FILE, AT(undo), .arg = "FILE",
	  .help = "save what is overwritten to FILE; default: a new file in $DMTOOL_UNDO_DIR, "
		  "/var/lib/dmtool/undo or /run/dmtool/undo" },
	{ 0, "no-undo", OPT_FLAG, AT(no_undo), .help = "overwrite without saving anything" },
	{ 0 }
};
static const struct opt_set writing = { "Writing", write_opts };

static const struct opt repair_opts[] = {
	{ 'n', NULL, OPT_PICK, AT(mode), MODE_CHECK, .help = "only check" },
	{ 'a', NULL, OPT_PICK, AT(mode), MODE_PREEN,
	  .help = "mend what loses nothing, ask nothing" },
	{ 'p', NULL, OPT_PICK, AT(mode), MODE_PREEN, .help = "the same as -a" },
	{ 'y', NULL, OPT_PICK, AT(mode), MODE_YES,
	  .help = "mend also what needs a yes; never gives up a record" },
	{ 'f', NULL, OPT_FLAG, AT(check_clean),
	  .help = "check even if it looks clean (it always does)" },
	{ 'C', NULL, OPT_NUMBER, AT(progress_fd), .arg = "FD",
	  .help = "write progress to descriptor FD as fsck(8) reads it; 0: a bar" },
	{ 0, "accept-loss", OPT_NUMBER, AT(accept_loss), .arg = "N",
	  .help = "give up N records, the number that check printed" },
	{ 0, "revalidate", OPT_FLAG, AT(revalidate),
	  .help = "make an invalidated store valid again; needs --origin-unmodified" },
	{ 0, "origin-unmodified", OPT_FLAG, AT(origin_unmodified),
	  .help = "vouch that nothing changed the origin since the store was invalidated" },
	{ 0, "rebuild-header", OPT_FLAG, AT(rebuild_header),
	  .help = "write a lost header anew, its numbers inferred from the metadata" },
	{ 0, "chunk-size", OPT_SECTORS, AT(chunk_sectors), .arg = "SIZE",
	  .help = "with --rebuild-header: consider only this chunk size (sectors or with a unit)" },
	{ 0, "keep-tail", OPT_FLAG, AT(keep_tail),
	  .help = "of a torn area, take the records behind the gap for live" },
	{ 0, "interrupted-create", OPT_FLAG, AT(interrupted_create),
	  .help = "take an implausible first area for the rest of an interrupted create, "
		  "and empty it" },
	{ 0, "output", OPT_FILE, AT(output), .arg = "FILE",
	  .help = "copy the store to a new sparse FILE and mend that" },
	{ 0 }
};
static const struct opt_set repair = { "Repair", repair_opts };

static const struct opt fsck_opts[] = {
	{ 't', NULL, OPT_IGNORED, .help = "ignored" },
	{ 'r', NULL, OPT_IGNORED, .help = "ignored: asking is the default on a terminal" },
	{ 0 }
};
static const struct opt_set fsck = { "For fsck(8)", fsck_opts };

static const struct opt dump_opts[] = {
	{ 0, "json", OPT_PICK, AT(format), OUT_JSON,
	  .help = "one JSON document; restore reads it" },
	{ 0, "json-lines", OPT_PICK, AT(format), OUT_LINES,
	  .help = "one JSON object per line: head, records, tail; the fastest for restore" },
	{ 0, "ranges", OPT_PICK, AT(format), OUT_RANGES,
	  .help = "runs of consecutive records, as a table" },
	{ 0 }
};
static const struct opt_set dump = { "Output", dump_opts };

static const struct opt restore_opts[] = {
	{ 0, "output", OPT_DEVICE, AT(output), .arg = "COW",
	  .help = "where to write; made if there is no such file" },
	{ 0, "metadata-only", OPT_FLAG, AT(metadata_only),
	  .help = "write to a destination that holds no store, although the data will not "
		  "be there" },
	{ 0, "force", OPT_FLAG, AT(force),
	  .help = "with --metadata-only: overwrite the signature of something else" },
	{ 0 }
};
static const struct opt_set restore = { "Restore", restore_opts };

static const struct opt create_opts[] = {
	{ 0, "chunk-size", OPT_SECTORS, AT(chunk_sectors), .arg = "SIZE",
	  .help = "size of a chunk: sectors, or with a unit (8 and 4K are the same)" },
	{ 0, "origin", OPT_DEVICE, AT(origin), .arg = "DEV",
	  .help = "the device to be snapshotted, for the preview and its block size" },
	{ 0, "force", OPT_FLAG, AT(force),
	  .help = "overwrite a signature, or a store that lost its header" },
	{ 0 }
};
static const struct opt_set create = { "Create", create_opts };

static const struct opt info_opts[] = {
	{ 0, "header-only", OPT_FLAG, AT(header_only), .help = "read nothing behind the header" },
	{ 0 }
};
static const struct opt_set info = { "Info", info_opts };

static const struct opt find_opts[] = { { 0, "reverse", OPT_FLAG, AT(reverse),
					  .help = "SECTOR is on the store, not on the origin" },
					{ 0 } };
static const struct opt_set find = { "Find", find_opts };

static const struct opt ls_opts[] = {
	{ 0, "origin-range", OPT_RANGE, AT(origin_range), .arg = "START-END",
	  .help = "only origin sectors from START up to, not including, END; units are allowed" },
	{ 0 }
};
static const struct opt_set ls = { "Selection", ls_opts };

static const struct opt map_opts[] = { { 0, "svg", OPT_FILE, AT(svg), .arg = "FILE",
					 .help = "write the picture to a new SVG file" },
				       { 0, "width", OPT_NUMBER, AT(width), .arg = "COLUMNS",
					 .help = "how wide; default: the terminal" },
				       { 0, "ascii", OPT_FLAG, AT(ascii),
					 .help = "draw with ASCII characters" },
				       { 0 } };
static const struct opt_set map = { "Picture", map_opts };

static const struct opt probe_opts[] = {
	{ 0, "udev", OPT_FLAG, AT(udev), .help = "print KEY=value lines for udev's IMPORT" },
	{ 0 }
};
static const struct opt_set probe = { "Output", probe_opts };

static const struct opt image_opts[] = {
	{ 0, "output", OPT_FILE, AT(output), .arg = "FILE",
	  .help = "the file to make; it must not exist yet" },
	{ 0, "expand", OPT_FLAG, AT(expand),
	  .help = "SOURCE is an image: make a sparse device file of it" },
	{ 0, "obfuscate", OPT_FLAG, AT(obfuscate),
	  .help = "permute the origin's addresses; what is equal or consecutive stays so" },
	{ 0, "include-suspect", OPT_FLAG, AT(include_suspect),
	  .help = "also save areas that do not decode: they may hold somebody's data" },
	{ 0, "format", OPT_WORD, AT(image_format), .arg = "NAME",
	  .help = "do not probe: SOURCE is of this format" },
	{ 0, "origin-size", OPT_SECTORS, AT(origin_sectors), .arg = "SIZE",
	  .help = "the origin's sectors (or with one of s B K M G T): --obfuscate keeps addresses on "
		  "their side of its end" },
	{ 0 }
};
static const struct opt_set image = { "Image", image_opts };

static const struct opt undo_opts[] = {
	{ 0, "list", OPT_FLAG, AT(list), .help = "only show what the file holds" },
	{ 0, "dry-run", OPT_FLAG, AT(dry_run),
	  .help = "compare the device and print the writes, change nothing" },
	{ 0 }
};
static const struct opt_set undo = { "Undo", undo_opts };

static const struct opt origin_only_opts[] = {
	{ 0, "origin", OPT_DEVICE, AT(origin), .arg = "DEV",
	  .help = "the device that the store belongs to" },
	{ 0, "origin-fingerprint", OPT_DEVICE, AT(origin_fingerprint), .arg = "FILE",
	  .help = "what dmtool fingerprint wrote of the origin when the store was made: stop if it is "
		  "another device or was changed behind device-mapper's back" },
	{ 0 }
};
static const struct opt_set origin_only = { "Origin", origin_only_opts };

static const struct opt proof_opts[] = {
	{ 0, "origin-fingerprint", OPT_DEVICE, AT(origin_fingerprint), .arg = "FILE",
	  .help = "what dmtool fingerprint wrote of the origin when the store was made: stop if it is "
		  "another device or was changed behind device-mapper's back" },
	{ 0 }
};
static const struct opt_set proof = { "Origin", proof_opts };

static const struct opt rate_opts[] = {
	{ 0, "rate", OPT_BYTES, AT(rate), .arg = "SIZE",
	  .help = "write at most SIZE bytes per second (K, M, G: with a unit)" },
	{ 0, "verify", OPT_FLAG, AT(verify), .help = "read back what was written and compare" },
	{ 0 }
};
static const struct opt_set copying = { "Copying", rate_opts };

static const struct opt merge_opts[] = {
	{ 0, "dry-run", OPT_FLAG, AT(dry_run),
	  .help = "open for reading only, check, and say what would be done" },
	{ 0, "only-snapshot", OPT_FLAG, AT(only_snapshot),
	  .help = "vouch that the origin has no other snapshot, active or not" },
	{ 0, "other-cow", OPT_DEVICES, AT(other_cow), .arg = "COW2",
	  .help = "another snapshot of the same origin: give it the chunks that the merge changes "
		  "first; may be repeated" },
	{ 0, "keep-going", OPT_FLAG, AT(keep_going),
	  .help = "leave chunks that cannot be read or written in the store and go on" },
	{ 0, "mapfile", OPT_FILE, AT(mapfile), .arg = "FILE",
	  .help = "with --keep-going: write the origin's ranges that failed to a new FILE, as GNU "
		  "ddrescue's map" },
	{ 0, "save", OPT_FILE, AT(save), .arg = "FILE",
	  .help = "save what is overwritten on the origin to a new FILE for dmtool undo" },
	{ 0, "undo", OPT_FILE, AT(undo), .arg = "FILE",
	  .help = "save what is overwritten on the store to a new FILE for dmtool undo" },
	{ 0 }
};
static const struct opt_set merge = { "Merge", merge_opts };

static const struct opt discard_opts[] = {
	{ 0, "yes", OPT_FLAG, AT(yes), .help = "do it: what the snapshot shows is given up" },
	{ 0 }
};
static const struct opt_set discard = { "Discard", discard_opts };

static const struct opt export_opts[] = {
	{ 0, "output", OPT_FILE, AT(output), .arg = "FILE",
	  .help = "the image to make; it must not exist yet" },
	{ 0, "format", OPT_CHOICE, AT(export_format), .arg = "raw|qcow2",
	  .help = "raw: the whole device, sparse (default); qcow2: an overlay whose backing file is "
		  "the origin" },
	{ 0 }
};
static const struct opt_set export = { "Export", export_opts };

static const struct opt cat_opts[] = {
	{ 0, "offset", OPT_BYTES, AT(offset), .arg = "SIZE",
	  .help = "the first byte; default 0" },
	{ 0, "length", OPT_BYTES, AT(length), .arg = "SIZE",
	  .help = "how many bytes; default: up to the end" },
	{ 0 }
};
static const struct opt_set cat = { "Range", cat_opts };

static const struct opt delta_opts[] = {
	{ 0, "format", OPT_CHOICE, AT(delta_format), .arg = "text|json|json-lines|bmap",
	  .help = "how to print the ranges; bmap: a block map as bmaptool reads it" },
	{ 0, "exact", OPT_FLAG, AT(exact),
	  .help = "compare the data: only sectors that differ; needs the origin" },
	{ 0 }
};
static const struct opt_set delta = { "Delta", delta_opts };

static const struct opt send_opts[] = {
	{ 0, "forward", OPT_PICK, AT(direction), 1,
	  .help = "what makes the origin of the snapshot's state" },
	{ 0, "backward", OPT_PICK, AT(direction), 2,
	  .help = "what makes the snapshot's state of the origin" },
	{ 0, "output", OPT_FILE, AT(output), .arg = "FILE",
	  .help = "write the stream to a new FILE instead of standard output" },
	{ 0 }
};
static const struct opt_set send = { "Stream", send_opts };

static const struct opt convert_opts[] = {
	{ 0, "output", OPT_DEVICE, AT(output), .arg = "COW2",
	  .help = "the new store; made if there is no such file" },
	{ 0, "chunk-size", OPT_SECTORS, AT(chunk_sectors), .arg = "SIZE",
	  .help = "of the new store: sectors, or with a unit; default: as it is" },
	{ 0, "size", OPT_SECTORS, AT(size_sectors), .arg = "SIZE",
	  .help = "of a new file; default: just large enough" },
	{ 0, "from", OPT_CHOICE, AT(from_format), .arg = "qcow2",
	  .help = "COW is a qcow2 overlay over the origin" },
	{ 0, "force", OPT_FLAG, AT(force),
	  .help = "overwrite a signature on COW2, or a store that lost its header" },
	{ 0 }
};
static const struct opt_set convert = { "Convert", convert_opts };

static const struct opt size_opts[] = {
	{ 0, "origin", OPT_DEVICE, AT(origin), .arg = "DEV", .help = "the device to be snapshotted" },
	{ 0, "origin-size", OPT_SECTORS, AT(origin_sectors), .arg = "SIZE",
	  .help = "its size in sectors (or with one of s B K M G T)" },
	{ 0, "change", OPT_PERCENT, AT(change), .arg = "PERCENT",
	  .help = "how much of the origin will be written while the snapshot exists" },
	{ 0, "chunk-size", OPT_SECTORS, AT(chunk_sectors), .arg = "SIZE",
	  .help = "only for this chunk size: sectors, or with a unit; default: all that LVM allows" },
	{ 0 }
};
static const struct opt_set size = { "Size", size_opts };

static const struct opt fingerprint_opts[] = {
	{ 0, "output", OPT_FILE, AT(output), .arg = "FILE",
	  .help = "the file to make; it must not exist yet" },
	{ 0, "samples", OPT_NUMBER, AT(samples), .arg = "N",
	  .help = "how many blocks to sample; default 4096" },
	{ 0 }
};
static const struct opt_set fingerprint = { "Fingerprint", fingerprint_opts };

static const struct opt receive_opts[] = {
	{ 0, "dry-run", OPT_FLAG, AT(dry_run),
	  .help = "open for reading only: say whether the stream fits the device" },
	{ 0, "undo", OPT_FILE, AT(undo), .arg = "FILE",
	  .help = "save what is overwritten to FILE; default: a new file in $DMTOOL_UNDO_DIR, "
		  "/var/lib/dmtool/undo or /run/dmtool/undo" },
	{ 0, "no-undo", OPT_FLAG, AT(no_undo), .help = "overwrite without saving anything" },
	{ 0 }
};
static const struct opt_set receive = { "Receive", receive_opts };

/* ---- writecache ---- */

static const struct opt place_opts[] = {
	{ 0, "start-sector", OPT_SECTORS, AT(start_sectors), .arg = "S",
	  .help = "where the superblock is, as in the table: sectors, or with a unit; default 0" },
	{ 0 }
};
static const struct opt_set place = { "Place", place_opts };

static const struct opt wc_create_opts[] = {
	{ 0, "block-size", OPT_BYTES, AT(block_bytes), .arg = "N",
	  .help = "size of a block in bytes (4096 and 4K are the same); default 4096, or 512 if the "
		  "origin's file system has smaller sectors" },
	{ 0, "origin", OPT_DEVICE, AT(origin), .arg = "DEV",
	  .help = "the device to be cached, for its block size and that of its file system" },
	{ 0, "force", OPT_FLAG, AT(force),
	  .help = "overwrite a signature, a cache, or one that lost its superblock" },
	{ 0 }
};
static const struct opt_set wc_create = { "Create", wc_create_opts };

static const struct opt wc_repair_opts[] = {
	{ 'n', NULL, OPT_PICK, AT(mode), MODE_CHECK, .help = "only check" },
	{ 'a', NULL, OPT_PICK, AT(mode), MODE_PREEN,
	  .help = "mend what loses nothing, ask nothing" },
	{ 'p', NULL, OPT_PICK, AT(mode), MODE_PREEN, .help = "the same as -a" },
	{ 'y', NULL, OPT_PICK, AT(mode), MODE_YES,
	  .help = "mend also what needs a yes; never gives up a block" },
	{ 'f', NULL, OPT_FLAG, AT(check_clean),
	  .help = "check even if it looks clean (it always does)" },
	{ 'C', NULL, OPT_NUMBER, AT(progress_fd), .arg = "FD",
	  .help = "write progress to descriptor FD as fsck(8) reads it; 0: a bar" },
	{ 0, "accept-loss", OPT_NUMBER, AT(accept_loss), .arg = "N",
	  .help = "give up N blocks, the number that check printed" },
	{ 0, "rebuild-superblock", OPT_FLAG, AT(rebuild_header),
	  .help = "write a lost superblock anew, its numbers inferred from device and entries; needs "
		  "--seq-count" },
	{ 0, "seq-count", OPT_CHOICE, AT(seq_count), .arg = "max|max+1",
	  .help = "the superblock's seq_count: max drops the newest epoch, max+1 takes it, although "
		  "it may never have been committed" },
	{ 0, "block-size", OPT_BYTES, AT(block_bytes), .arg = "N",
	  .help = "with --rebuild-superblock: consider only blocks of N bytes" },
	{ 0, "side-file", OPT_FILE, AT(side_file), .arg = "FILE",
	  .help = "keep data blocks whose entries are given up in a new FILE; default: beside the "
		  "undo file" },
	{ 0, "output", OPT_FILE, AT(output), .arg = "FILE",
	  .help = "copy the cache to a new sparse FILE and mend that" },
	{ 0 }
};
static const struct opt_set wc_repair = { "Repair", wc_repair_opts };

static const struct opt wc_dump_opts[] = {
	{ 0, "json", OPT_PICK, AT(format), OUT_JSON,
	  .help = "one JSON document; restore reads it" },
	{ 0, "json-lines", OPT_PICK, AT(format), OUT_LINES,
	  .help = "one JSON object per line: head, records, tail; the fastest for restore" },
	{ 0, "resolved", OPT_PICK, AT(format), OUT_RESOLVED,
	  .help = "what the kernel would serve, as runs in the order of the origin, as a table" },
	{ 0 }
};
static const struct opt_set wc_dump = { "Output", wc_dump_opts };

static const struct opt wc_restore_opts[] = {
	{ 0, "output", OPT_DEVICE, AT(output), .arg = "CACHE",
	  .help = "where to write; made if there is no such file" },
	{ 0, "metadata-only", OPT_FLAG, AT(metadata_only),
	  .help = "write to a destination that holds no such cache, although the data will not "
		  "be there" },
	{ 0, "force", OPT_FLAG, AT(force),
	  .help = "with --metadata-only: overwrite the signature of something else" },
	{ 0 }
};
static const struct opt_set wc_restore = { "Restore", wc_restore_opts };

static const struct opt wc_flush_opts[] = {
	{ 0, "dry-run", OPT_FLAG, AT(dry_run),
	  .help = "open for reading only, check, and say what would be done" },
	{ 0, "to", OPT_FILE, AT(to_file), .arg = "FILE",
	  .help = "write the dirty blocks to a new sparse FILE of the origin's size instead; neither "
		  "cache nor origin is changed" },
	{ 0, "keep-going", OPT_FLAG, AT(keep_going),
	  .help = "leave blocks that cannot be read or written in the cache and go on" },
	{ 0, "accept-loss", OPT_NUMBER, AT(accept_loss), .arg = "N",
	  .help = "go on although N blocks are lost (a truncated cache, with --keep-going) or lie past "
		  "the origin's end: the number that check printed" },
	{ 0, "device-was-cut", OPT_FLAG, AT(device_was_cut),
	  .help = "with --keep-going and --accept-loss: the cache's device was larger, where nothing else "
		  "proves that n_blocks is right" },
	{ 0, "mapfile", OPT_FILE, AT(mapfile), .arg = "FILE",
	  .help = "write a map of the origin to a new FILE, as GNU ddrescue has it: with --keep-going "
		  "what failed, with --to what the file holds" },
	{ 0, "save", OPT_FILE, AT(save), .arg = "FILE",
	  .help = "save what is overwritten on the origin to a new FILE for dmtool undo" },
	{ 0, "undo", OPT_FILE, AT(undo), .arg = "FILE",
	  .help = "save what is overwritten on the cache to a new FILE for dmtool undo" },
	{ 0 }
};
static const struct opt_set wc_flush = { "Flush", wc_flush_opts };

static const struct opt wc_convert_opts[] = {
	{ 0, "output", OPT_DEVICE, AT(output), .arg = "CACHE2",
	  .help = "the new cache; made if there is no such file" },
	{ 0, "block-size", OPT_BYTES, AT(block_bytes), .arg = "N",
	  .help = "of the new cache, in bytes; default: as it is" },
	{ 0, "size", OPT_SECTORS, AT(size_sectors), .arg = "SIZE",
	  .help = "of a new file; default: as large as the old cache" },
	{ 0, "to-start-sector", OPT_SECTORS, AT(to_start_sectors), .arg = "S",
	  .help = "start_sector of the new cache; default: as it is" },
	{ 0, "resize", OPT_FLAG, AT(resize),
	  .help = "change n_blocks in place, to what the device holds or to --size; only where no "
		  "data block moves" },
	{ 0, "force", OPT_FLAG, AT(force),
	  .help = "overwrite a signature on CACHE2, or a cache" },
	{ 0 }
};
static const struct opt_set wc_convert = { "Convert", wc_convert_opts };

static const struct opt top_opts[] = {
	{ 'h', "help", OPT_HELP, .help = "list all commands" },
	{ 'V', "version", OPT_VERSION, .help = "show the version" },
	{ 0, "describe", OPT_DESCRIBE, .help = "print all commands and options as JSON" },
	{ 0 }
};
const struct opt_set top_options = { "Options", top_opts };

static const struct opt_set *const probe_sets[] = { &probe, &place, &json, &live, &general, NULL };
static const struct opt_set *const image_sets[] = {
	&image, &place, &json, &live, &memory, &general, NULL
};
static const struct opt_set *const undo_sets[] = { &undo, &json, &general, NULL };
static const struct opt_set *const check_sets[] = {
	&judge, &origin, &json_lines, &live, &memory, &general, NULL
};
static const struct opt_set *const create_sets[] = { &create, &writing, &json, &general, NULL };
static const struct opt_set *const dump_sets[] = { &dump, &live, &memory, &general, NULL };
static const struct opt_set *const find_sets[] = {
	&find, &origin, &json, &live, &memory, &general, NULL
};
static const struct opt_set *const info_sets[] = {
	&info, &origin, &json, &live, &memory, &general, NULL
};
static const struct opt_set *const ls_sets[] = { &ls, &json, &live, &memory, &general, NULL };
static const struct opt_set *const map_sets[] = {
	&map, &origin, &json, &live, &memory, &general, NULL
};
static const struct opt_set *const repair_sets[] = {
	&repair, &judge, &origin, &writing, &json_lines, &live, &memory, &fsck, &general, NULL
};
static const struct opt_set *const restore_sets[] = {
	&restore, &writing, &json, &memory, &general, NULL
};

static const struct opt_set *const merge_sets[] = {
	&merge, &copying, &origin_only, &json, &memory, &general, NULL
};
static const struct opt_set *const discard_sets[] = {
	&discard, &writing, &json, &memory, &general, NULL
};
static const struct opt_set *const export_sets[] = {
	&export, &copying, &origin_only, &json, &live, &memory, &general, NULL
};
static const struct opt_set *const cat_sets[] = {
	&cat, &origin_only, &place, &live, &memory, &general, NULL
};
static const struct opt_set *const delta_sets[] = {
	&delta, &origin, &proof, &json_lines, &live, &memory, &general, NULL
};
static const struct opt_set *const send_sets[] = {
	&send, &origin_only, &json, &live, &memory, &general, NULL
};
static const struct opt_set *const receive_sets[] = { &receive, &json, &memory, &general, NULL };
static const struct opt_set *const convert_sets[] = {
	&convert, &origin, &proof, &json, &memory, &general, NULL
};
static const struct opt_set *const size_sets[] = { &size, &json, &general, NULL };
static const struct opt_set *const fingerprint_sets[] = { &fingerprint, &json, &live, &general, NULL };

/* writecache */
static const struct opt_set *const wc_check_sets[] = {
	&judge, &origin, &place, &json_lines, &live, &memory, &general, NULL
};
static const struct opt_set *const wc_create_sets[] = {
	&wc_create, &place, &writing, &json, &general, NULL
};
static const struct opt_set *const wc_dump_sets[] = {
	&wc_dump, &place, &live, &memory, &general, NULL
};
static const struct opt_set *const wc_find_sets[] = {
	&find, &origin, &place, &json, &live, &memory, &general, NULL
};
static const struct opt_set *const wc_info_sets[] = {
	&info, &origin, &place, &json, &live, &memory, &general, NULL
};
static const struct opt_set *const wc_map_sets[] = {
	&map, &origin, &place, &json, &live, &memory, &general, NULL
};
static const struct opt_set *const wc_repair_sets[] = {
	&wc_repair, &judge, &origin, &place, &writing, &json_lines, &live, &memory, &fsck, &general,
	NULL
};
static const struct opt_set *const wc_restore_sets[] = {
	&wc_restore, &place, &writing, &json, &memory, &general, NULL
};
static const struct opt_set *const wc_flush_sets[] = {
	&wc_flush, &copying, &origin_only, &place, &json, &memory, &general, NULL
};
static const struct opt_set *const wc_export_sets[] = {
	&export, &copying, &origin_only, &place, &json, &live, &memory, &general, NULL
};
static const struct opt_set *const wc_convert_sets[] = {
	&wc_convert, &origin, &proof, &place, &writing, &json, &memory, &general, NULL
};

#define CACHE  { "CACHE", ARG_DEVICE, false, "the cache device: a block device, an image file" }
#define COW    { "COW", ARG_DEVICE, false, "the exception store, a device or an image file" }
#define ORIGIN { "ORIGIN", ARG_DEVICE, true, "the device that it belongs to; the same as --origin" }
#define SECTOR { "SECTOR", ARG_SECTOR, false, "a sector number, or an offset with a unit" }

static const char *const snapshot_pictures[] = { "origin", "store", NULL };
static const struct family snapshot = {
	.name = "snapshot",
	.what = "dm-snapshot exception store",
	.records = "exceptions",
	.record = "exception",
	.unit_field = "chunk_size",
	.unit_field_bytes = 512,
	.pictures = snapshot_pictures,
	.data_verb = "merge",
	.header = "header",
	.data_done = "the origin is what the snapshot showed, and the store is empty",
	.data_none = "the store is empty: there is nothing to do",
	.data_left = "what could not be moved stays in the store: run it again, or read it with "
		     "snapshot-export",
	.shared_origin = true,
};

static const char *const writecache_pictures[] = { "origin", "store", "age", NULL };
static const struct family writecache = {
	.name = "writecache",
	.what = "dm-writecache cache",
	.records = "entries",
	.record = "entry",
	.unit_field = "block_size",
	.unit_field_bytes = 1,
	.pictures = writecache_pictures,
	.data_verb = "flush",
	.header = "superblock",
	.data_done = "the origin alone is the whole device, and the cache is clean: every entry is free",
	.data_none = "the cache is clean: every entry is free",
	.data_left = "what could not be moved stays in the cache, and the origin must not be used without "
		     "it: run it again",
};
const struct family *const families[] = { &snapshot, &writecache, NULL };

const struct command commands[] = {
	{ "cat", verb_cat, NULL,
	  "write a part of what the target would show to standard output", cat_sets,
	  .args = { { "STORE", ARG_DEVICE, false, "the store, a device or an image file" }, ORIGIN },
	  .notes = "The format of STORE is found out as probe does." },
	{ "fingerprint", verb_fingerprint, NULL,
	  "note what a device holds, to know it again", fingerprint_sets,
	  .args = { { "DEV", ARG_DEVICE, false, "a device or an image file: an origin" } },
	  .notes = "A store does not say which origin it belongs to. Take the fingerprint when the "
		   "snapshot is made, and give it to the commands that move data as "
		   "--origin-fingerprint." },
	{ "image", verb_image, NULL,
	  "save metadata alone, compressed, for a bug report", image_sets,
	  .args = { { "SOURCE", ARG_DEVICE, false, "the device, or with --expand the image" } },
	  .notes = "The image holds no data, only metadata; with --obfuscate not even where the "
		   "data were. The file that --expand makes gives the same findings as the "
		   "device did. Without --output, --expand writes to SOURCE.expanded." },
	{ "probe", verb_probe, NULL,
	  "say which format is on a device", probe_sets,
	  .args = { { "DEV", ARG_DEVICE, false, "a device or an image file" } },
	  .notes = "Exit status 4 if none of the known formats is there." },
	{ "snapshot-check", verb_check, &snapshot,
	  "look for damage, change nothing", check_sets,
	  .args = { COW, ORIGIN } },
	{ "snapshot-convert", verb_convert_snapshot, &snapshot,
	  "copy a store to another chunk size or device size", convert_sets,
	  .args = { COW, ORIGIN },
	  .notes = "The new store is dense and in the order of the origin. The old one is only read." },
	{ "snapshot-create", verb_create_snapshot, &snapshot,
	  "make an empty store as the kernel would", create_sets,
	  .args = { COW, ORIGIN } },
	{ "snapshot-delta", verb_delta, &snapshot,
	  "list what differs: snapshot and origin, or two snapshots", delta_sets,
	  .args = { COW, { "COW2", ARG_DEVICE, true,
			   "the store of another snapshot of the same origin" } } },
	{ "snapshot-discard", verb_discard, &snapshot,
	  "forget everything that the store holds", discard_sets,
	  .args = { COW },
	  .notes = "The store stays valid, and is empty. The origin is not touched." },
	{ "snapshot-dump", verb_dump, &snapshot,
	  "print all metadata; restore reads it back", dump_sets,
	  .args = { COW } },
	{ "snapshot-export", verb_export, &snapshot,
	  "write what the snapshot shows to an image", export_sets,
	  .args = { COW, ORIGIN } },
	{ "snapshot-find", verb_find, &snapshot,
	  "where a sector of the origin lives, and the reverse", find_sets,
	  .args = { COW, SECTOR } },
	{ "snapshot-info", verb_info, &snapshot,
	  "header, counts, and what the kernel would do", info_sets,
	  .args = { COW, ORIGIN } },
	{ "snapshot-ls", verb_ls, &snapshot,
	  "list what the store holds, in runs of sectors", ls_sets,
	  .args = { COW } },
	{ "snapshot-map", verb_map, &snapshot,
	  "draw where origin and store are occupied", map_sets,
	  .args = { COW, ORIGIN } },
	{ "snapshot-merge", verb_writeback, &snapshot,
	  "bring the snapshot's content back to the origin (rollback)", merge_sets,
	  .args = { COW, ORIGIN },
	  .notes = "Afterwards the origin is what the snapshot showed, and the store is empty. A cut "
		   "or a stop loses nothing: run it again, or let the kernel's snapshot-merge go on." },
	{ "snapshot-receive", verb_receive, &snapshot,
	  "apply a stream of snapshot-send to a device", receive_sets,
	  .args = { { "STREAM", ARG_FILE, false,
		      "what snapshot-send wrote; - is standard input" },
		    { "DEV", ARG_DEVICE, false, "the device or image file to change" } },
	  .notes = "Nothing is written unless the device is in the state that the stream starts from." },
	{ "snapshot-repair", verb_repair, &snapshot,
	  "mend what can be mended", repair_sets,
	  .args = { COW, ORIGIN },
	  .fsck = "DM_snapshot_cow",
	  .notes = "Without -n, -a, -p and -y: on a terminal the plan is shown and one question "
		   "asked; elsewhere nothing is changed." },
	{ "snapshot-restore", verb_restore, &snapshot,
	  "rebuild the metadata from a dump", restore_sets,
	  .args = { { "DUMP", ARG_FILE, false,
		      "what snapshot-dump --json or --json-lines wrote; - is standard input" } },
	  .notes = "Data chunks are never touched. An existing destination is only written to "
		   "after the whole dump was read once and found sound." },
	{ "snapshot-send", verb_send, &snapshot,
	  "write the difference of snapshot and origin as a stream", send_sets,
	  .args = { COW, ORIGIN } },
	{ "snapshot-size", verb_size_snapshot, &snapshot,
	  "how large a store has to be", size_sets, .args = { { 0 } } },
	{ "undo", verb_undo, NULL,
	  "take back what a command wrote", undo_sets,
	  .args = { { "FILE", ARG_FILE, false, "the undo file" },
		    { "DEV", ARG_DEVICE, true, "the device, if its name has changed" } },
	  .notes = "Refuses when the device no longer holds what the command left." },
	{ "writecache-check", verb_check, &writecache,
	  "look for damage, change nothing", wc_check_sets,
	  .args = { CACHE, ORIGIN } },
	{ "writecache-convert", verb_convert_writecache, &writecache,
	  "copy a cache to another block size, device size or start_sector", wc_convert_sets,
	  .args = { CACHE, ORIGIN },
	  .notes = "The old cache is only read, except with --resize." },
	{ "writecache-create", verb_create_writecache, &writecache,
	  "make an empty cache as the kernel would", wc_create_sets,
	  .args = { CACHE, ORIGIN } },
	{ "writecache-dump", verb_dump, &writecache,
	  "print all metadata; restore reads it back", wc_dump_sets,
	  .args = { CACHE } },
	{ "writecache-export", verb_export, &writecache,
	  "write what the cached device shows to an image", wc_export_sets,
	  .args = { CACHE, ORIGIN } },
	{ "writecache-find", verb_find, &writecache,
	  "where a sector of the origin lives, and the reverse", wc_find_sets,
	  .args = { CACHE, SECTOR } },
	{ "writecache-flush", verb_writeback, &writecache,
	  "write all dirty blocks back to the origin", wc_flush_sets,
	  .args = { CACHE, ORIGIN },
	  .notes = "Afterwards the origin alone is the whole device, and the cache is clean. A cut or a "
		   "stop loses nothing: run it again, or let the kernel go on." },
	{ "writecache-info", verb_info, &writecache,
	  "superblock, counts, and what the kernel would do", wc_info_sets,
	  .args = { CACHE, ORIGIN } },
	{ "writecache-map", verb_map, &writecache,
	  "draw where origin and cache are occupied, and how old the blocks are", wc_map_sets,
	  .args = { CACHE, ORIGIN } },
	{ "writecache-repair", verb_repair, &writecache,
	  "mend what can be mended", wc_repair_sets,
	  .args = { CACHE, ORIGIN },
	  .fsck = "dm_writecache",
	  .notes = "Without -n, -a, -p and -y: on a terminal the plan is shown and one question "
		   "asked; elsewhere nothing is changed." },
	{ "writecache-restore", verb_restore, &writecache,
	  "rebuild the metadata from a dump", wc_restore_sets,
	  .args = { { "DUMP", ARG_FILE, false,
		      "what writecache-dump --json or --json-lines wrote; - is standard input" } },
	  .notes = "Data blocks are never touched. An existing destination is only written to "
		   "after the whole dump was read once and found sound." },
	{ 0 }
};

const struct command *command_by_name(const char *name)
{
	for (const struct command *c = commands; c->name; c++)
		if (!strcmp(c->name, name))
			return c;
	return NULL;
}

const struct command *command_by_fsck(const char *type)
{
	for (const struct command *c = commands; c->name; c++)
		if (c->fsck && !strcmp(c->fsck, type))
			return c;
	return NULL;
}
