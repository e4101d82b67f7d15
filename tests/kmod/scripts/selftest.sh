# shellcheck shell=sh disable=SC1091
# SPDX-License-Identifier: GPL-2.0-or-later
# What guest promises to a script.  /dev/vda is writable, /dev/vdb read-only with 4096-byte blocks,
# /dev/pmem0 and /dev/pmem1 are memory.
. /guest/lib.sh

say env args "$#:$1:$2"
say env cwd "$PWD"
say env uid "$(id -u)"
say env disks "$(grep -c ' vd[a-z]$' /proc/partitions)"
say env with "$(cat /guest/present.txt)"
say env renamed "$(cat /etc/elsewhere)"
say env kernel "$(uname -r)"
say env cpus "$(nproc)"
say ro flag "$(blockdev --getro /dev/vdb)"
say ro block "$(blockdev --getss /dev/vdb)"
try targets dmsetup targets
try snapshot modprobe dm-snapshot
try mkfs mkfs.ext4 -q -F /dev/vda
try loaded grep -c '^dm_delay ' /proc/modules
must dd if=/dev/pmem0 of=/dev/vda bs=512 count=1 2>/dev/null
say pmem dax "$(cat /sys/block/pmem0/queue/dax)"
say pmem other "$(sectors /dev/pmem1)"
echo "written by the guest" | dd of=/dev/pmem1 conv=notrunc 2>/dev/null
sync
try noisy sh -c 'echo to stdout; echo to stderr >&2; exit 3'
echo "a line for people"
exit 7
