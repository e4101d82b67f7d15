// SPDX-License-Identifier: GPL-2.0-or-later
/* the decoder of the library, compiled into the module */
#include "../../libdmfmt/format/snapshot.c"
