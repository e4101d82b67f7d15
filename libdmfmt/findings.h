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
DMFMT_FINDING(WC_TOO_SMALL, 2001, 1, FATAL, "writecache.device.too_small",
	"the device has no room for a superblock and one block behind start_sector",
	"refuses the table (Invalid device size)")
DMFMT_FINDING(WC_BLANK, 2002, 2, FATAL, "writecache.superblock.blank",
	"magic and version are zero and no dirty entries were found: this is not a cache (yet)",
	"formats the device when the table is loaded")
DMFMT_FINDING(WC_WIPED, 2003, 2, FATAL, "writecache.superblock.wiped",
	"magic and version are zero although the entries behind them are alive",
	"formats the device when the table is loaded: every dirty block is lost")
DMFMT_FINDING(WC_INTERRUPTED, 2004, 3, REPAIRABLE, "writecache.superblock.format_interrupted",
	"the magic is missing and every entry is free: a format was interrupted",
	"refuses to load it (Invalid magic)")
DMFMT_FINDING(WC_INTERRUPTED_LIVE, 2005, 3, FATAL, "writecache.superblock.magic_missing",
	"the magic is missing and entries are alive: this is no interrupted format",
	"refuses to load it (Invalid magic)")
DMFMT_FINDING(WC_MAGIC, 2006, 4, FATAL, "writecache.superblock.magic_bad",
	"the superblock does not begin with the magic",
	"refuses to load it (Invalid magic)")
DMFMT_FINDING(WC_VERSION, 2007, 5, FATAL, "writecache.superblock.version_unknown",
	"the version is not 1",
	"refuses to load it (Invalid version)")
DMFMT_FINDING(WC_BLOCK_SIZE, 2008, 6, FATAL, "writecache.superblock.block_size_bad",
	"the block size is not a power of two from 512 to 65536 bytes",
	"refuses every table (Block size does not match superblock)")
DMFMT_FINDING(WC_BLOCK_LARGE, 2009, 6, WARNING, "writecache.superblock.block_size_above_4096",
	"the block size needs a kernel with pages of that size",
	"refuses to load it where pages have 4096 bytes (Invalid block size)")
DMFMT_FINDING(WC_BLOCK_DOUBT, 2010, 6, FATAL, "writecache.superblock.block_size_contradicted",
	"with another block size n_blocks is exactly what a format of this device gives",
	"refuses the true table, or takes blocks from wrong places")
DMFMT_FINDING(WC_BLOCK_LOGICAL, 2011, 7, REPAIRABLE, "writecache.superblock.block_size_below_logical",
	"the block size is smaller than a device's logical block size",
	"refuses the table (Block size is smaller than device logical block size)")
DMFMT_FINDING(WC_NO_BLOCKS, 2012, 8, FATAL, "writecache.superblock.n_blocks_zero",
	"n_blocks is 0",
	"refuses to load it (Cannot allocate memory)")
DMFMT_FINDING(WC_TRUNCATED, 2013, 9, FATAL, "writecache.device.truncated",
	"entries and blocks reach past the end of the device: it was made smaller, or n_blocks is damaged",
	"refuses to load it (Memory area is too small)")
DMFMT_FINDING(WC_OVERFLOW, 2014, 9, FATAL, "writecache.superblock.n_blocks_absurd",
	"the size of n_blocks entries and blocks does not fit 64 bits",
	"refuses to load it (Overflow in size calculation)")
DMFMT_FINDING(WC_BLOCK_LOST, 2015, 9, FATAL, "writecache.entry.block_beyond_device",
	"the data of a committed entry lie past the end of the device: they are lost",
	"refuses to load it (Memory area is too small)")
DMFMT_FINDING(WC_FEWER, 2016, 10, WARNING, "writecache.superblock.n_blocks_below_device",
	"n_blocks is smaller than what the device holds: it has grown since, or n_blocks is damaged",
	"loads it and leaves the rest of the device unused")
DMFMT_FINDING(WC_FEWER_LIVE, 2017, 10, FATAL, "writecache.superblock.n_blocks_cuts_entries",
	"behind the last entry there are more that look alive: n_blocks is damaged",
	"ignores them, and takes every block from a wrong place if the metadata were larger")
DMFMT_FINDING(WC_TOO_MANY, 2018, 11, FATAL, "writecache.superblock.n_blocks_above_index",
	"n_blocks is more than the kernel's index holds (2^47 - 1)",
	"refuses to load it")
DMFMT_FINDING(WC_SEQ_LIMIT, 2019, 12, FATAL, "writecache.superblock.seq_count_absurd",
	"seq_count is 2^63 or more, which no cache reaches",
	"loads it and serves entries that were never committed")
DMFMT_FINDING(WC_UNCOMMITTED, 2020, 13, NOTE, "writecache.entry.uncommitted",
	"entries of the epoch that was being collected: normal after a crash",
	"frees them")
DMFMT_FINDING(WC_SEQ_NEWER, 2021, 14, FATAL, "writecache.entry.newer_than_superblock",
	"an entry is newer than the superblock: the superblock was rolled back, the block was acknowledged",
	"frees it SILENTLY: the acknowledged data are lost")
DMFMT_FINDING(WC_UNALIGNED, 2022, 15, FATAL, "writecache.entry.sector_unaligned",
	"the original_sector of a committed entry is not a multiple of the block size",
	"fails reads around it; the write-back overwrites the neighbouring data")
DMFMT_FINDING(WC_WRAPS, 2023, 16, FATAL, "writecache.entry.sector_wraps",
	"the original_sector of a committed entry plus the block size wraps around 2^64",
	"fails the write-back for good (SSD mode) or drops the block (pmem mode)")
DMFMT_FINDING(WC_BEYOND, 2024, 17, WARNING, "writecache.entry.beyond_origin",
	"a committed block lies past the end of the origin: it was made smaller, or it is another one",
	"takes it for written and frees it without a word")
DMFMT_FINDING(WC_PARTIAL, 2025, 17, WARNING, "writecache.entry.partial_last_block",
	"the last block of the origin is partial: only its first sectors have a place there",
	"clips the write-back (SSD mode) or fails it (pmem mode)")
DMFMT_FINDING(WC_SUPERSEDED, 2026, 18, NOTE, "writecache.entry.superseded",
	"a newer committed entry of the same sector exists: normal after a crash",
	"frees the older one")
DMFMT_FINDING(WC_SAME_SEQ, 2027, 19, REPAIRABLE, "writecache.entry.same_sequence",
	"two committed entries have the same sector and the same seq_count",
	"keeps the one with the higher index; every write fails until the table is loaded again")
DMFMT_FINDING(WC_PAD, 2028, 20, WARNING, "writecache.superblock.padding_not_zero",
	"padding bytes of the superblock are not zero",
	"ignores them")
DMFMT_FINDING(WC_UNREADABLE, 2029, 23, FATAL, "writecache.entry.unreadable",
	"entries cannot be read",
	"loads it in the error state and serves STALE data of the origin for every cached block")
DMFMT_FINDING(WC_DATA_UNREADABLE, 2030, 24, FATAL, "writecache.data.unreadable",
	"the data block of a committed entry cannot be read, or lies on a known bad block",
	"fails the write-back; the whole target goes into the error state")
DMFMT_FINDING(WC_START_UNALIGNED, 2031, 25, WARNING, "writecache.device.start_unaligned",
	"start_sector is not a multiple of the block size or of a page",
	"loads it on an SSD; may refuse it on persistent memory")
DMFMT_FINDING(WC_ORIGIN_LENGTH, 2032, 26, WARNING, "writecache.origin.length_unaligned",
	"the origin's size is not a multiple of the block size",
	"refuses a table of that length")
DMFMT_FINDING(WC_MEMORY, 2033, 11, WARNING, "writecache.superblock.kernel_memory",
	"the cache needs more kernel memory than this machine has",
	"refuses to load it (Cannot allocate memory)")
DMFMT_FINDING(WC_N_DAMAGED, 2034, 9, FATAL, "writecache.superblock.n_blocks_beyond_entries",
	"n_blocks is larger than the device and what lies there are no entries: n_blocks is damaged",
	"refuses to load it (Memory area is too small)")
DMFMT_FINDING(WC_N_DOUBT, 2035, 9, FATAL, "writecache.superblock.n_blocks_unproven",
	"n_blocks is larger than the device, and nothing proves that the device was larger",
	"refuses to load it (Memory area is too small)")
