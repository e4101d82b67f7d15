# SPDX-License-Identifier: GPL-2.0-or-later
# One Makefile for user space; `make help` lists the targets.

VERSION := 0.1.0
SOVERSION := 0

PREFIX ?= /usr/local
DESTDIR ?=
SBINDIR ?= $(PREFIX)/sbin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DATADIR ?= $(PREFIX)/share
MANDIR ?= $(DATADIR)/man
BUILD ?= build
PKG_CONFIG ?= pkg-config
INSTALL ?= install
CFLAGS ?= -O2 -g

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-6s %s\n'
MAKEFLAGS += --no-print-directory
endif

WARN := -Wall -Wextra -Wmissing-prototypes -Wstrict-prototypes -Wformat=2 -Wundef -Wno-unused-parameter
BASE_CFLAGS := -std=gnu11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -fvisibility=hidden -pthread $(WARN)

# ---- outside libraries: libdevmapper and liburing are used if they are there ----------------------

pkg-exists = $(shell $(PKG_CONFIG) --exists $(1) 2>/dev/null && echo 1)
HAVE_URING ?= $(call pkg-exists,liburing)
HAVE_DEVMAPPER ?= $(call pkg-exists,devmapper)
HAVE_URING := $(HAVE_URING)
HAVE_DEVMAPPER := $(HAVE_DEVMAPPER)
LIB_PKGS := libzstd blkid nettle $(if $(HAVE_URING),liburing) $(if $(HAVE_DEVMAPPER),devmapper)
TOOL_PKGS := json-c
FEATURES := $(if $(HAVE_URING),-DHAVE_LIBURING) $(if $(HAVE_DEVMAPPER),-DHAVE_DEVMAPPER)
PKG_STATIC := $(if $(STATIC),--static)
LIB_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(LIB_PKGS) 2>/dev/null) $(FEATURES)
LIB_LIBS := $(shell $(PKG_CONFIG) $(PKG_STATIC) --libs $(LIB_PKGS) 2>/dev/null) -pthread
TOOL_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(TOOL_PKGS) 2>/dev/null)
TOOL_LIBS := $(shell $(PKG_CONFIG) $(PKG_STATIC) --libs $(TOOL_PKGS) 2>/dev/null)
TOOL_LDFLAGS := $(if $(STATIC),-static)

# ---- sources: whatever lies in the folders ---------------------------------------------------------

LIB_SRCS := $(sort $(wildcard libdmfmt/format/*.c libdmfmt/io/*.c libdmfmt/core/*.c libdmfmt/ops/*.c libdmfmt/sys/*.c))
TOOL_SRCS := $(sort $(wildcard tools/*.c))
TEST_SRCS := $(sort $(wildcard tests/format/*.c tests/io/*.c tests/core/*.c tests/ops/*.c))
HELPER_SRCS := $(sort $(wildcard tests/lib/*.c))
FUZZ_SRCS := $(sort $(wildcard tests/fuzz/fuzz_*.c))
LIB_OBJS := $(LIB_SRCS:%.c=$(BUILD)/%.o)
TOOL_OBJS := $(TOOL_SRCS:%.c=$(BUILD)/%.o)
TEST_PROGS := $(TEST_SRCS:%.c=$(BUILD)/%)
HELPER_PROGS := $(HELPER_SRCS:%.c=$(BUILD)/%)
FUZZ_PROGS := $(FUZZ_SRCS:%.c=$(BUILD)/%)

LIB_A := $(BUILD)/libdmfmt.a
LIB_SO := $(BUILD)/libdmfmt.so.$(SOVERSION)
DMTOOL := $(BUILD)/dmtool
PC := $(BUILD)/libdmfmt.pc
HAVE_NBDKIT ?= $(call pkg-exists,nbdkit)
HAVE_NBDKIT := $(HAVE_NBDKIT)
# the names under which fsck(8) finds it
FSCK_NAMES := fsck.DM_snapshot_cow fsck.dm_writecache
PLUGIN := $(if $(HAVE_NBDKIT),$(BUILD)/nbdkit-dmfmt-plugin.so)

# ---- build -----------------------------------------------------------------------------------------

all: $(LIB_A) $(LIB_SO) $(DMTOOL) $(PC) $(PLUGIN)	## build the library, the tool, the plugin (default)

# objects of other flags are no use: this file changes when the flags do
FLAGS := $(strip $(CC) $(BASE_CFLAGS) $(LIB_CFLAGS) $(TOOL_CFLAGS) $(CFLAGS) $(LDFLAGS) $(LIB_LIBS) $(TOOL_LIBS))
FLAGS_FILE := $(BUILD)/.flags
ifneq ($(FLAGS),$(strip $(shell cat $(FLAGS_FILE) 2>/dev/null)))
$(FLAGS_FILE): FORCE
endif
$(FLAGS_FILE):
	@$(PKG_CONFIG) --print-errors --exists $(LIB_PKGS) $(TOOL_PKGS) || \
		{ echo 'make: libraries are missing: try `make deps`' >&2; exit 1; }
	@mkdir -p $(@D)
	@printf '%s\n' '$(FLAGS)' >$@

$(BUILD)/libdmfmt/%.o: libdmfmt/%.c $(FLAGS_FILE)
	$(say) CC $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(BASE_CFLAGS) $(LIB_CFLAGS) -fPIC $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/tools/%.o: tools/%.c $(FLAGS_FILE)
	$(say) CC $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(BASE_CFLAGS) $(TOOL_CFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(LIB_A): $(LIB_OBJS)
	$(say) AR $@
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(LIB_SO): $(LIB_OBJS) libdmfmt/libdmfmt.map
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,-soname,libdmfmt.so.$(SOVERSION) \
		-Wl,--version-script,libdmfmt/libdmfmt.map $(SO_DEFS) -o $@ $(LIB_OBJS) $(LIB_LIBS)
	$(Q)ln -sf libdmfmt.so.$(SOVERSION) $(BUILD)/libdmfmt.so

# every symbol must be found; a sanitizer's are found when the program starts
SO_DEFS := $(if $(findstring -fsanitize,$(CFLAGS)),,-Wl,-z,defs)

$(DMTOOL): $(TOOL_OBJS) $(LIB_A)
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $(TOOL_LDFLAGS) -o $@ $(TOOL_OBJS) $(LIB_A) $(TOOL_LIBS) $(LIB_LIBS)

# the library is in it, and none of its names come out
$(BUILD)/nbdkit-dmfmt-plugin.so: tools/nbdkit/plugin.c $(LIB_A) $(FLAGS_FILE)
	$(say) LD $@
	$(Q)$(CC) $(BASE_CFLAGS) $(shell $(PKG_CONFIG) --cflags nbdkit) $(CFLAGS) $(LDFLAGS) -fPIC -shared \
		-MMD -MP -MF $@.d -o $@ $< $(LIB_A) -Wl,--exclude-libs,ALL $(LIB_LIBS)

$(PC): libdmfmt/libdmfmt.pc.in $(FLAGS_FILE)
	$(say) GEN $@
	$(Q)sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' \
		-e 's|@VERSION@|$(VERSION)|' -e 's|@REQUIRES@|$(strip $(LIB_PKGS))|' $< >$@

static:						## build/dmtool.static: one file for rescue media
	$(Q)$(MAKE) BUILD=$(BUILD)/static STATIC=1 HAVE_DEVMAPPER= HAVE_NBDKIT= $(BUILD)/static/dmtool
	$(Q)cp $(BUILD)/static/dmtool $(BUILD)/dmtool.static

# ---- tests -----------------------------------------------------------------------------------------

$(BUILD)/tests/%: tests/%.c $(LIB_A) $(FLAGS_FILE)
	$(say) TEST $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(BASE_CFLAGS) $(LIB_CFLAGS) $(CFLAGS) $(LDFLAGS) -MMD -MP -MF $@.d -o $@ $< $(LIB_A) $(LIB_LIBS)

# the tool without its main(), for fuzzers of its readers
$(BUILD)/tools.a: $(filter-out %/dmtool.o,$(TOOL_OBJS))
	$(say) AR $@
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/tests/fuzz/%: tests/fuzz/%.c $(LIB_A) $(BUILD)/tools.a $(FLAGS_FILE)
	$(say) FUZZ $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(BASE_CFLAGS) $(LIB_CFLAGS) $(TOOL_CFLAGS) $(CFLAGS) $(LDFLAGS) $(FUZZ_ENGINE) -MMD -MP -MF $@.d \
		-o $@ $< $(BUILD)/tools.a $(LIB_A) $(TOOL_LIBS) $(LIB_LIBS)

test-programs: $(TEST_PROGS) $(HELPER_PROGS)
fuzz-programs: $(FUZZ_PROGS)

# what is missing may change what can be built: the rest starts anew
check: deps					## install what is missing, build, run every test
	$(Q)$(MAKE) check-nodeps

check-nodeps: all test-programs
	$(Q)tests/run --build $(BUILD)

lint: all					## the rules as tests: layers, freestanding, sparse, drift
	$(Q)tests/run --build $(BUILD) lint

check-asan check-32 check-valgrind check-guest:	## one suite by itself (check-asan check-32 check-valgrind check-guest)
	$(Q)$(MAKE) all test-programs
	$(Q)tests/run --build $(BUILD) $(@:check-%=%)

KERNELS ?= 6.1 6.12 7.2

check-kmod: all test-programs			## our kernel targets in virtual machines; KERNELS="6.1 6.12 7.2"
	$(Q)tests/run --build $(BUILD) $(KERNELS:%=kmod-%)

check-kmod-debug: all test-programs		## the same under a kernel with KASAN, lockdep, fault injection
	$(Q)tests/run --build $(BUILD) kmod-debug kmod-smp

check-kmod-full: all test-programs		## both, also what takes hours
	$(Q)KMOD_FULL=1 tests/run --build $(BUILD) $(KERNELS:%=kmod-%) kmod-debug kmod-smp

try-kmod: all					## a virtual machine with our modules and a snapshot; leaves a shell
	$(Q)BUILD=$(BUILD) tests/kmod/try $(TRY_ARGS)

fuzz: all					## the fuzzers; FUZZ_SECONDS=60 is for all of them together
	$(Q)tests/run --build $(BUILD) fuzz

deps:						## install the Debian packages that are missing
	$(Q)tests/deps

demo: all					## a crashed cache and a damaged store: looked at, mended, brought home
	$(Q)tests/demo.sh $(DMTOOL)

bench: all					## figures: compare with least-work floors and other tools
	$(Q)export DMTOOL='$(abspath $(DMTOOL))' CC='$(CC)' CFLAGS='$(CFLAGS)'; status=0; \
	bench/run $(BENCH_ARGS) || status=$$?; \
	bench/writecache $(BENCH_ARGS) || status=$$?; \
	exit $$status

bench-kmod:					## figures of the kernel targets, ours over upstream's
	$(Q)BUILD='$(BUILD)' CC='$(CC)' CFLAGS='$(CFLAGS)' bench/kmod $(BENCH_ARGS)

completions: $(DMTOOL)				## write the completions anew from dmtool --describe
	$(Q)completions/generate $(DMTOOL) completions

# ---- install ---------------------------------------------------------------------------------------

MAN_PAGES = $(wildcard man/*.[1-9])
SCHEMAS = $(wildcard docs/schema/*.json)
D = $(DESTDIR)

install: all					## into DESTDIR/PREFIX
	$(Q)$(INSTALL) -d $(D)$(SBINDIR) $(D)$(LIBDIR)/pkgconfig $(D)$(INCLUDEDIR) $(D)$(DATADIR)/dmtool/schema
	$(Q)$(INSTALL) -m 755 $(DMTOOL) $(D)$(SBINDIR)/dmtool
	$(Q)for name in $(FSCK_NAMES); do ln -sf dmtool $(D)$(SBINDIR)/$$name; done
	$(Q)$(INSTALL) -m 644 libdmfmt/dmfmt.h $(D)$(INCLUDEDIR)/dmfmt.h
	$(Q)$(INSTALL) -m 644 $(LIB_A) $(D)$(LIBDIR)/libdmfmt.a
	$(Q)$(INSTALL) -m 755 $(LIB_SO) $(D)$(LIBDIR)/libdmfmt.so.$(VERSION)
	$(Q)ln -sf libdmfmt.so.$(VERSION) $(D)$(LIBDIR)/libdmfmt.so.$(SOVERSION)
	$(Q)ln -sf libdmfmt.so.$(SOVERSION) $(D)$(LIBDIR)/libdmfmt.so
	$(Q)$(INSTALL) -m 644 $(PC) $(D)$(LIBDIR)/pkgconfig/libdmfmt.pc
	$(Q)$(foreach p,$(MAN_PAGES),$(INSTALL) -D -m 644 $(p) $(D)$(MANDIR)/man$(patsubst .%,%,$(suffix $(p)))/$(notdir $(p)) &&) :
	$(Q)$(foreach s,$(SCHEMAS),$(INSTALL) -m 644 $(s) $(D)$(DATADIR)/dmtool/schema/ &&) :
	$(Q)$(INSTALL) -D -m 644 completions/dmtool.bash $(D)$(DATADIR)/bash-completion/completions/dmtool
	$(Q)$(INSTALL) -D -m 644 completions/_dmtool $(D)$(DATADIR)/zsh/site-functions/_dmtool
	$(Q)$(INSTALL) -D -m 644 completions/dmtool.fish $(D)$(DATADIR)/fish/vendor_completions.d/dmtool.fish
	$(Q)$(foreach s,hooks/dmtool scripts/init-premount/dmtool,$(INSTALL) -D -m 755 initramfs/$(s) \
		$(D)$(DATADIR)/dmtool/initramfs/$(s) &&) :
	$(Q)$(if $(PLUGIN),$(INSTALL) -D -m 755 $(PLUGIN) $(D)$(LIBDIR)/nbdkit/plugins/nbdkit-dmfmt-plugin.so)

uninstall:					## what install put there, nothing else
	$(Q)rm -f $(D)$(SBINDIR)/dmtool $(FSCK_NAMES:%=$(D)$(SBINDIR)/%) $(D)$(INCLUDEDIR)/dmfmt.h \
		$(D)$(LIBDIR)/libdmfmt.a $(D)$(LIBDIR)/libdmfmt.so $(D)$(LIBDIR)/libdmfmt.so.$(SOVERSION) \
		$(D)$(LIBDIR)/libdmfmt.so.$(VERSION) $(D)$(LIBDIR)/pkgconfig/libdmfmt.pc \
		$(D)$(DATADIR)/bash-completion/completions/dmtool $(D)$(DATADIR)/zsh/site-functions/_dmtool \
		$(D)$(DATADIR)/fish/vendor_completions.d/dmtool.fish
	$(Q)$(foreach p,$(MAN_PAGES),rm -f $(D)$(MANDIR)/man$(patsubst .%,%,$(suffix $(p)))/$(notdir $(p)) &&) :
	$(Q)rm -f $(D)$(LIBDIR)/nbdkit/plugins/nbdkit-dmfmt-plugin.so
	$(Q)rm -rf $(D)$(DATADIR)/dmtool

# ---- kernel modules: built by the kernel's own build system (kmod/Makefile), or by DKMS ------------------

KMOD_TREE := dmfmt-$(VERSION)
KMOD_FILES = $(filter-out kmod/test/%,$(shell find kmod libdmfmt/format -type f ! -name '.*' \
	\( -name '*.[ch]' -o -name Makefile -o -name Kbuild -o -name features \))) LICENSES/GPL-2.0-or-later.txt \
	LICENSES/LGPL-2.1-or-later.txt

modules:					## the kernel modules, for the running kernel or KDIR=...
	$(Q)$(MAKE) -C kmod modules

dkms-dist:					## the sources of the modules for DKMS: BUILD/dkms/dmfmt-VERSION
	$(Q)rm -rf $(BUILD)/dkms/$(KMOD_TREE)
	$(Q)$(MAKE) install-dkms DESTDIR=$(BUILD)/dkms DKMS_SOURCES=

DKMS_SOURCES ?= /usr/src

install-dkms:					## the same into DESTDIR/usr/src; then: dkms install dmfmt/VERSION
	$(Q)$(foreach f,$(KMOD_FILES),$(INSTALL) -D -m 644 $(f) $(D)$(DKMS_SOURCES)/$(KMOD_TREE)/$(f) &&) :
	$(Q)sed 's/@VERSION@/$(VERSION)/' kmod/dkms.conf >$(D)$(DKMS_SOURCES)/$(KMOD_TREE)/dkms.conf
	$(say) DKMS $(D)$(DKMS_SOURCES)/$(KMOD_TREE)

clean:						## remove what was built
	rm -rf $(BUILD)

help:						## this list
	@sed -n 's/^\([a-z0-9][a-z0-9 -]*\):[^#=]*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) | \
		awk -F'|' '{ n = split($$1, t, " "); printf "  %-16s %s\n", (n > 1 ? "check-*" : $$1), $$2 }'
	@echo 'variables: PREFIX DESTDIR CC CFLAGS LDFLAGS PKG_CONFIG BUILD V=1 FUZZ_SECONDS BENCH_ARGS KERNELS KDIR'

-include $(PLUGIN:=.d) $(LIB_OBJS:.o=.d) $(TOOL_OBJS:.o=.d) $(TEST_PROGS:=.d) $(HELPER_PROGS:=.d) $(FUZZ_PROGS:=.d)
FORCE:
.PHONY: all static test-programs fuzz-programs check check-nodeps lint check-asan check-32 check-valgrind \
	check-guest check-kmod check-kmod-debug check-kmod-full try-kmod bench-kmod modules dkms-dist install-dkms \
	fuzz deps demo bench completions install uninstall clean help FORCE
.DELETE_ON_ERROR:
