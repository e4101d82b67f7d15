# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A volume with a file system and a snapshot of it, taken before its files changed; then /guest/script, or
# a shell for whoever sits there.

prepare() (
	set -e
	modprobe dm-snapshot
	mkdir -p /mnt/origin /mnt/snap
	vgcreate -q lab /dev/vda
	lvcreate -q -L 64M -n origin lab
	mkfs.ext4 -q /dev/lab/origin
	mount -t ext4 /dev/lab/origin /mnt/origin
	echo "as it was" >/mnt/origin/letter
	sync
	lvcreate -q -s -L 32M -n snap lab/origin
	echo "as it is now" >/mnt/origin/letter
	sync
	mount -t ext4 -o ro,noload /dev/lab/snap /mnt/snap
)

prepare >/tmp/setup.log 2>&1
rc=$?
if [ $rc -ne 0 ]; then
	cat /tmp/setup.log
	exit 1
fi
if [ -r /guest/script ]; then
	exec sh /guest/script
fi

cat <<END

Linux $(uname -r), $(modprobe -D dm-snapshot | sed -n "s/^insmod //p" | tail -n 1)

	/dev/lab/origin on /mnt/origin	$(cat /mnt/origin/letter)
	/dev/lab/snap   on /mnt/snap	$(cat /mnt/snap/letter)

Things to try:
	dmsetup table; dmsetup status
	lvs -a -o +devices
	dd if=/dev/urandom of=/mnt/origin/more bs=1M count=8; sync; lvs
	umount /mnt/snap /mnt/origin; lvconvert --merge lab/snap
	dmesg | tail; dmtool --help
exit (or Ctrl-D) ends the machine; nothing of it stays.

END
cd /root || exit
if [ -x /usr/bin/bash ]; then
	PS1='lab:\w# ' exec bash --norc -i
fi
exec sh -i
