/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every kind of damage, once: DMFMT_FINDING(id, number, rule, severity, code, text, kernel).
 *
 * number: never reused, never changed; families have their own thousands (snapshot 1000).
 * rule: the invariant's number in the format's page, dm-snapshot-format(5).
 * severity: NOTE, WARNING, REPAIRABLE (a repair exists that loses nothing), FATAL.
 * text: what it means in general.  kernel: what Linux's target does with it.
 *
 * No include guard: the file is read with DMFMT_FINDING defined in different ways.
 */
DMFMT_FINDING(SNAP_TOO_SMALL, 1001, 1, FATAL, "snapshot.device.too_small",
	"the device has no room for a header and one area",
	"refuses to load it (EIO)")
DMFMT_FINDING(SNAP_NO_DATA_ROOM, 1002, 1, WARNING, "snapshot.device.no_data_room",
	"the device has no room for a single data chunk",
	"loads it; the first copy invalidates the snapshot")
DMFMT_FINDING(SNAP_MAGIC_BAD, 1003, 2, FATAL, "snapshot.header.magic_bad",
	"the header does not begin with the magic SnAp",
	"refuses to load it (ENXIO)")
DMFMT_FINDING(SNAP_MAGIC_ZERO, 1004, 2, FATAL, "snapshot.header.magic_zero",
	"the magic is zero although area 0 holds exceptions",
	"formats the device at activation: every exception is lost")
DMFMT_FINDING(SNAP_BLANK, 1005, 2, FATAL, "snapshot.header.blank",
	"the magic is zero and no exceptions were found: this is not a store",
	"formats the device at activation")
DMFMT_FINDING(SNAP_SWAPPED, 1006, 3, FATAL, "snapshot.header.byte_swapped",
	"the store was written in big-endian byte order",
	"refuses to load it (ENXIO)")
DMFMT_FINDING(SNAP_VERSION, 1007, 4, FATAL, "snapshot.header.version_unknown",
	"the version is not 1",
	"refuses to load it (EINVAL)")
DMFMT_FINDING(SNAP_INVALID, 1008, 5, FATAL, "snapshot.header.invalidated",
	"the store was marked invalid: the snapshot ran full or a copy failed",
	"loads it in the state Invalid: every read and write fails with EIO")
DMFMT_FINDING(SNAP_VALID_ODD, 1009, 5, REPAIRABLE, "snapshot.header.valid_not_1",
	"the valid flag is neither 0 nor 1",
	"treats it as valid")
DMFMT_FINDING(SNAP_CHUNK_SIZE, 1010, 6, FATAL, "snapshot.header.chunk_size_bad",
	"the chunk size is not a power of two from 1 to 2097152 sectors",
	"refuses to load it (EINVAL)")
DMFMT_FINDING(SNAP_CHUNK_BLOCK, 1011, 7, FATAL, "snapshot.header.chunk_size_unaligned",
	"the chunk size is not a multiple of a device's logical block size",
	"refuses to load it (EINVAL)")
DMFMT_FINDING(SNAP_CHUNK_DOUBT, 1012, 6, FATAL, "snapshot.header.chunk_size_contradicted",
	"area 0 makes no sense with this chunk size, but does with another",
	"takes user data for exceptions")
DMFMT_FINDING(SNAP_SIZE_UNALIGNED, 1013, 9, FATAL, "snapshot.device.size_unaligned",
	"a device's size is not a multiple of the logical block size of both",
	"refuses the table (EINVAL)")
DMFMT_FINDING(SNAP_HEADER_TAIL, 1014, 10, WARNING, "snapshot.header.tail_not_zero",
	"bytes behind the header in chunk 0 are not zero",
	"ignores them and loses them at the next header write")
DMFMT_FINDING(SNAP_NEW_RANGE, 1015, 11, FATAL, "snapshot.exception.new_chunk_beyond_device",
	"an exception points past the end of the device",
	"loads it; access fails with EIO, the next write finds no space, a merge stops")
DMFMT_FINDING(SNAP_NEW_METADATA, 1016, 11, FATAL, "snapshot.exception.new_chunk_in_metadata",
	"an exception points to the header or to an area",
	"shows metadata as data and overwrites it; a merge copies it into the origin")
DMFMT_FINDING(SNAP_NEW_TOP_BYTE, 1017, 12, FATAL, "snapshot.exception.new_chunk_above_56_bits",
	"new_chunk needs more than 56 bits",
	"takes the top byte for a run length; may hit a BUG while loading")
DMFMT_FINDING(SNAP_NEW_WRAPS, 1018, 13, FATAL, "snapshot.exception.new_chunk_wraps",
	"the allocation behind new_chunk wraps around 2^64",
	"allocates chunk 0 next and overwrites the header")
DMFMT_FINDING(SNAP_NEW_DUPLICATE, 1019, 14, FATAL, "snapshot.exception.new_chunk_duplicate",
	"two exceptions share one chunk of the device",
	"a write to one origin chunk changes the other")
DMFMT_FINDING(SNAP_OLD_DUPLICATE, 1020, 15, FATAL, "snapshot.exception.old_chunk_duplicate",
	"one origin chunk has two exceptions with different data",
	"shows the first (6.1) or the last (7.2); a merge leaves the first")
DMFMT_FINDING(SNAP_OLD_DUPLICATE_SAME, 1021, 15, REPAIRABLE,
	"snapshot.exception.old_chunk_duplicate_same_data",
	"one origin chunk has two exceptions whose data are identical",
	"shows either; the data are the same")
DMFMT_FINDING(SNAP_EXACT_DUPLICATE, 1022, 15, REPAIRABLE, "snapshot.exception.exact_duplicate",
	"an exception is stored twice, as a removal that was cut leaves it",
	"shows the same data either way")
DMFMT_FINDING(SNAP_OLD_RANGE, 1023, 16, FATAL, "snapshot.exception.old_chunk_beyond_origin",
	"an exception lies past the end of the origin",
	"never reads it; a merge fails at it")
DMFMT_FINDING(SNAP_OLD_AT_END, 1024, 16, WARNING, "snapshot.exception.old_chunk_at_origin_end",
	"an exception begins exactly at the end of the origin",
	"never reads it; a merge drops it")
DMFMT_FINDING(SNAP_OLD_WRAPS, 1025, 17, FATAL, "snapshot.exception.old_chunk_wraps",
	"old_chunk in sectors wraps around 2^64",
	"a merge overwrites low sectors of the origin")
DMFMT_FINDING(SNAP_NO_TERMINATOR, 1026, 18, FATAL, "snapshot.chain.no_room_for_terminator",
	"the last area is full and the next one lies past the end of the device",
	"refuses to load it (EIO)")
DMFMT_FINDING(SNAP_TERMINATOR, 1027, 19, REPAIRABLE, "snapshot.chain.terminator_not_zero",
	"the exception that ends the store has an old_chunk",
	"ignores it")
DMFMT_FINDING(SNAP_STALE_TAIL, 1028, 20, REPAIRABLE, "snapshot.chain.stale_tail",
	"entries behind the end of the store are not zero",
	"ignores them now; the next write makes them live")
DMFMT_FINDING(SNAP_TORN_AREA, 1029, 20, FATAL, "snapshot.chain.torn_area",
	"whole sectors of an area are zero and in-order entries follow: a torn write or a lost sector",
	"ends the store at the gap; the next writes make the entries behind it live")
DMFMT_FINDING(SNAP_STALE_AREA, 1030, 21, FATAL, "snapshot.chain.stale_area",
	"an area is full and the next one holds what cannot belong to this store",
	"takes stale content for exceptions")
DMFMT_FINDING(SNAP_OUT_OF_ORDER, 1031, 22, WARNING, "snapshot.chain.out_of_order",
	"new_chunk does not increase from entry to entry (old kernels and repairs do that)",
	"works")
DMFMT_FINDING(SNAP_HOLES, 1032, 23, NOTE, "snapshot.chain.holes",
	"data chunks below the allocation pointer belong to no exception",
	"never uses them again")
DMFMT_FINDING(SNAP_EDGE, 1033, 24, WARNING, "snapshot.device.edge",
	"the device ends with the last data chunk of an area (T mod stride is 1)",
	"invalidates the snapshot instead of reporting it full")
DMFMT_FINDING(SNAP_TRUNCATED, 1034, 25, FATAL, "snapshot.device.truncated",
	"exceptions in allocation order point past the end: the device was made smaller",
	"loads it; access to the lost chunks fails with EIO")
DMFMT_FINDING(SNAP_AREA_UNREADABLE, 1035, 26, FATAL, "snapshot.chain.area_unreadable",
	"an area cannot be read",
	"refuses to load it (EIO)")
DMFMT_FINDING(SNAP_AREA_BEYOND, 1036, 27, WARNING, "snapshot.chain.area_beyond_end",
	"an area behind the end of the store looks alive: an area before it may have been zeroed",
	"ignores it")
DMFMT_FINDING(SNAP_PARTIAL_CHUNK, 1037, 28, NOTE, "snapshot.exception.partial_last_chunk",
	"the last chunk of the origin is partial; the rest of its data chunk is undefined",
	"clips every copy")
DMFMT_FINDING(SNAP_TAIL_UNUSED, 1038, 29, NOTE, "snapshot.device.tail_unused",
	"the device's size is not a multiple of the chunk size; the remainder is never used",
	"ignores the remainder")
DMFMT_FINDING(SNAP_AREA0_GARBAGE, 1039, 30, FATAL, "snapshot.chain.area_0_implausible",
	"area 0 holds what cannot be exceptions: an interrupted create, or a wrong chunk size",
	"takes garbage for exceptions")
DMFMT_FINDING(SNAP_HEADER_ENTRIES, 1040, 31, FATAL, "snapshot.header.overwritten",
	"chunk 0 holds exceptions, or data, instead of the header",
	"refuses to load it (ENXIO)")
DMFMT_FINDING(SNAP_DATA_UNREADABLE, 1042, 34, FATAL, "snapshot.data.unreadable",
	"a data chunk cannot be read",
	"access to it fails with EIO; a merge stops")
DMFMT_FINDING(SNAP_TOO_MANY, 1043, 35, FATAL, "snapshot.chain.more_than_origin",
	"there are more exceptions than the origin has chunks",
	"loads them; some must be duplicates or out of range")
DMFMT_FINDING(SNAP_MEMORY, 1044, 36, WARNING, "snapshot.chain.kernel_memory",
	"the exceptions need more kernel memory than this machine has",
	"may fail to load it (ENOMEM)")
DMFMT_FINDING(SNAP_CHUNK_OTHER, 1045, 8, WARNING, "snapshot.header.other_chunk_size",
	"the store is empty, but with another chunk size an area of it holds exceptions",
	"shows the origin unchanged")
