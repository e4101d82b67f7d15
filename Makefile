# SPDX-License-Identifier: GPL-2.0-or-later
# One Makefile for user space; `make help` lists the targets.
PREFIX ?= /usr/local
DESTDIR ?=
BUILD ?= build
PKG_CONFIG ?= pkg-config
CFLAGS ?= -O2 -g
VERSION := 0.1.0
SOVERSION := 0
ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-6s %s\n'
endif

WARN := -Wall -Wextra -Wmissing-prototypes -Wstrict-prototypes -Wformat=2 -Wundef -Wno-unused-parameter
BASE_CFLAGS := -std=gnu11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -fvisibility=hidden -pthread $(WARN)

have = $(shell $(PKG_CONFIG) --exists $(1) 2>/dev/null && echo 1)
LIB_PKGS := libzstd blkid
HAVE_URING ?= $(call have,liburing)
HAVE_DEVMAPPER ?= $(call have,devmapper)
FEATURES := $(if $(HAVE_URING),-DHAVE_LIBURING) $(if $(HAVE_DEVMAPPER),-DHAVE_DEVMAPPER)
LIB_PKGS += $(if $(HAVE_URING),liburing) $(if $(HAVE_DEVMAPPER),devmapper)
LIB_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(LIB_PKGS)) $(FEATURES)
LIB_LIBS := $(shell $(PKG_CONFIG) --libs $(LIB_PKGS)) -pthread
TOOL_CFLAGS := $(shell $(PKG_CONFIG) --cflags json-c)
TOOL_LIBS := $(shell $(PKG_CONFIG) --libs json-c)

LIB_SRCS := $(sort $(wildcard libdmfmt/format/*.c libdmfmt/io/*.c libdmfmt/core/*.c libdmfmt/ops/*.c libdmfmt/sys/*.c))
TOOL_SRCS := $(sort $(wildcard tools/*.c))
LIB_OBJS := $(LIB_SRCS:%.c=$(BUILD)/%.o)
TOOL_OBJS := $(TOOL_SRCS:%.c=$(BUILD)/%.o)

LIB_A := $(BUILD)/libdmfmt.a
LIB_SO := $(BUILD)/libdmfmt.so.$(SOVERSION)
DMTOOL := $(BUILD)/dmtool

all: $(LIB_A) $(LIB_SO) $(DMTOOL)

$(BUILD)/libdmfmt/%.o: libdmfmt/%.c
	$(say) CC $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(BASE_CFLAGS) $(LIB_CFLAGS) -fPIC $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/tools/%.o: tools/%.c
	$(say) CC $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(BASE_CFLAGS) $(TOOL_CFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(LIB_A): $(LIB_OBJS)
	$(say) AR $@
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(LIB_SO): $(LIB_OBJS) libdmfmt/libdmfmt.map
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,-soname,libdmfmt.so.$(SOVERSION) -Wl,--version-script,libdmfmt/libdmfmt.map -Wl,-z,defs -o $@ $(LIB_OBJS) $(LIB_LIBS)
	$(Q)ln -sf libdmfmt.so.$(SOVERSION) $(BUILD)/libdmfmt.so

$(DMTOOL): $(TOOL_OBJS) $(LIB_A)
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(TOOL_OBJS) $(LIB_A) $(TOOL_LIBS) $(LIB_LIBS)

clean:
	rm -rf $(BUILD)

-include $(LIB_OBJS:.o=.d) $(TOOL_OBJS:.o=.d)
.PHONY: all clean
