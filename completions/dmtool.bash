# SPDX-License-Identifier: GPL-2.0-or-later
# bash completion for dmtool; written by completions/generate, do not edit
# shellcheck shell=bash
_dmtool()
{
	local cur prev command='' i
	cur=${COMP_WORDS[COMP_CWORD]}
	prev=${COMP_WORDS[COMP_CWORD-1]}
	COMPREPLY=()
	# bash breaks --option=argument at the equals sign
	if [[ $cur == = ]]; then
		cur=
	elif [[ $prev == = ]]; then
		prev=${COMP_WORDS[COMP_CWORD-2]}
	fi
	if [[ ${COMP_WORDS[0]##*/} == fsck.* ]]; then
		case ${COMP_WORDS[0]##*/} in
		fsck.DM_snapshot_cow) command=snapshot-repair ;;
		fsck.dm_writecache) command=writecache-repair ;;
		esac
	else
		for ((i = 1; i < COMP_CWORD; i++)); do
			if [[ ${COMP_WORDS[i]} != -* ]]; then
				command=${COMP_WORDS[i]}
				break
			fi
		done
	fi
	case "$command $prev" in
	'image --format')
		return
		;;
	'snapshot-export --format' | 'writecache-export --format')
		mapfile -t COMPREPLY < <(compgen -W 'raw qcow2' -- "$cur")
		return
		;;
	'snapshot-delta --format')
		mapfile -t COMPREPLY < <(compgen -W 'text json json-lines bmap' -- "$cur")
		return
		;;
	*' --accept-loss' | *' --block-size' | *' --change' | *' --chunk-size' | *' --length' | *' --max-findings' | *' --memory' | *' --offset' | *' --origin-range' | *' --origin-size' | *' --rate' | *' --samples' | *' --size' | *' --start-sector' | *' --to-start-sector' | *' --width' | *' -C')
		return
		;;
	*' --progress')
		mapfile -t COMPREPLY < <(compgen -W 'auto bar json none' -- "$cur")
		return
		;;
	*' --seq-count')
		mapfile -t COMPREPLY < <(compgen -W 'max max+1' -- "$cur")
		return
		;;
	*' --from')
		mapfile -t COMPREPLY < <(compgen -W 'qcow2' -- "$cur")
		return
		;;
	*' --mapfile' | *' --origin' | *' --origin-fingerprint' | *' --other-cow' | *' --output' | *' --save' | *' --side-file' | *' --svg' | *' --to' | *' --undo')
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		compopt -o filenames
		return
		;;
	esac
	if [[ -z $command ]]; then
		mapfile -t COMPREPLY < <(compgen -W 'cat fingerprint image probe snapshot-check snapshot-convert snapshot-create snapshot-delta snapshot-discard snapshot-dump snapshot-export snapshot-find snapshot-info snapshot-ls snapshot-map snapshot-merge snapshot-receive snapshot-repair snapshot-restore snapshot-send snapshot-size undo writecache-check writecache-convert writecache-create writecache-dump writecache-export writecache-find writecache-flush writecache-info writecache-map writecache-repair writecache-restore -h --help -V --version --describe' -- "$cur")
		return
	fi
	if [[ $cur == -* ]]; then
		case $command in
		cat)
			mapfile -t COMPREPLY < <(compgen -W '--offset --length --origin --origin-fingerprint --start-sector --live --memory -h --help -V --version -v --verbose --progress' -- "$cur")
			;;
		fingerprint)
			mapfile -t COMPREPLY < <(compgen -W '--output --samples --json --live -h --help -V --version -v --verbose --progress' -- "$cur")
			;;
		image)
			mapfile -t COMPREPLY < <(compgen -W '--output --expand --obfuscate --include-suspect --format --origin-size --start-sector --json --live --memory -h --help -V --version -v --verbose --progress' -- "$cur")
			;;
		probe)
			mapfile -t COMPREPLY < <(compgen -W '--udev --start-sector --json --live -h --help -V --version -v --verbose --progress' -- "$cur")
			;;
		snapshot-check)
			mapfile -t COMPREPLY < <(compgen -W '--data --strict --max-findings --origin --origin-size --json --json-lines --live --memory -h --help -V --version -v --verbose --progress' -- "$cur")
			;;
		snapshot-convert)
			mapfile -t COMPREPLY < <(compgen -W '--output --chunk-size --size --from --force --origin --origin-size --origin-fingerprint --json --memory -h --help -V --version -v --verbose --progress' -- "$cur")
			;;
		snapshot-create)
			mapfile -t COMPREPLY < <(compgen -W '--chunk-size --origin --force --dry-run --list-writes --undo --no-undo --json -h --help -V --version -v --verbose --progress' -- "$cur")
			;;
		snapshot-delta)
			mapfile -t COMPREPLY < <(compgen -W '--format --exact --origin --origin-size --origin-fingerprint --json --json-lines --live --memory -h --help -V --version -v --verbose --progress' -- "$cur")
			;;
		snapshot-discard)
			mapfile -t COMPREPLY < <(compgen -W '--yes --dry-run --list-writes --undo --no-undo --json --memory -h --help -V --version -v --verbose --progress' -- "$cur")
			;;
		snapshot-dump)
			mapfile -t COMPREPLY < <(compgen -W '--json --json-lines --ranges --live --memory -h --help -V --version -v --verbose --progress' -- "$cur")
			;;
		snapshot-export)
			mapfile -t COMPREPLY < <(compgen -W '--output --format --rate --verify --origin --origin-fingerprint --json --live --memory -h --help -V --version -v --verbose --progress' -- "$cur")
			;;
		snapshot-find)
			mapfile -t COMPREPLY < <(compgen -W '--reverse --origin --origin-size --json --live --memory -h --help -V --version -v --verbose --progress' -- "$cur")
			;;
		snapshot-info)
			mapfile -t COMPREPLY < <(compgen -W '--header-only --origin --origin-size --json --live --memory -h --help -V --version -v --verbose --progress' -- "$cur")
			;;
		snapshot-ls)
			mapfile -t COMPREPLY < <(compgen -W '--origin-range --json --live --memory -h --help -V --version -v --verbose --progress' -- "$cur")
			;;
		snapshot-map)
			mapfile -t COMPREPLY < <(compgen -W '--svg --width --ascii --origin --origin-size --json --live --memory -h --help -V --version -v --verbose --progress' -- "$cur")
			;;
		snapshot-merge)
			mapfile -t COMPREPLY < <(compgen -W '--dry-run --only-snapshot --other-cow --keep-going --mapfile --save --undo --rate --verify --origin --origin-fingerprint --json --memory -h --help -V --version -v --verbose --progress' -- "$cur")
			;;
		snapshot-receive)
			mapfile -t COMPREPLY < <(compgen -W '--dry-run --undo --no-undo --json --memory -h --help -V --version -v --verbose --progress' -- "$cur")
			;;
		snapshot-repair)
			mapfile -t COMPREPLY < <(compgen -W '-n -a -p -y -f -C --accept-loss --revalidate --origin-unmodified --rebuild-header --chunk-size --keep-tail --interrupted-create --output --data --strict --max-findings --origin --origin-size --dry-run --list-writes --undo --no-undo --json --json-lines --live --memory -t -r -h --help -V --version -v --verbose --progress' -- "$cur")
			;;
		snapshot-restore)
			mapfile -t COMPREPLY < <(compgen -W '--output --metadata-only --force --dry-run --list-writes --undo --no-undo --json --memory -h --help -V --version -v --verbose --progress' -- "$cur")
			;;
		snapshot-send)
			mapfile -t COMPREPLY < <(compgen -W '--forward --backward --output --origin --origin-fingerprint --json --live --memory -h --help -V --version -v --verbose --progress' -- "$cur")
			;;
		snapshot-size)
			mapfile -t COMPREPLY < <(compgen -W '--origin --origin-size --change --chunk-size --json -h --help -V --version -v --verbose --progress' -- "$cur")
			;;
		undo)
			mapfile -t COMPREPLY < <(compgen -W '--list --dry-run --json -h --help -V --version -v --verbose --progress' -- "$cur")
			;;
		writecache-check)
			mapfile -t COMPREPLY < <(compgen -W '--data --strict --max-findings --origin --origin-size --start-sector --json --json-lines --live --memory -h --help -V --version -v --verbose --progress' -- "$cur")
			;;
		writecache-convert)
			mapfile -t COMPREPLY < <(compgen -W '--output --block-size --size --to-start-sector --resize --force --origin --origin-size --origin-fingerprint --start-sector --dry-run --list-writes --undo --no-undo --json --memory -h --help -V --version -v --verbose --progress' -- "$cur")
			;;
		writecache-create)
			mapfile -t COMPREPLY < <(compgen -W '--block-size --origin --force --start-sector --dry-run --list-writes --undo --no-undo --json -h --help -V --version -v --verbose --progress' -- "$cur")
			;;
		writecache-dump)
			mapfile -t COMPREPLY < <(compgen -W '--json --json-lines --resolved --start-sector --live --memory -h --help -V --version -v --verbose --progress' -- "$cur")
			;;
		writecache-export)
			mapfile -t COMPREPLY < <(compgen -W '--output --format --rate --verify --origin --origin-fingerprint --start-sector --json --live --memory -h --help -V --version -v --verbose --progress' -- "$cur")
			;;
		writecache-find)
			mapfile -t COMPREPLY < <(compgen -W '--reverse --origin --origin-size --start-sector --json --live --memory -h --help -V --version -v --verbose --progress' -- "$cur")
			;;
		writecache-flush)
			mapfile -t COMPREPLY < <(compgen -W '--dry-run --to --keep-going --accept-loss --device-was-cut --mapfile --save --undo --rate --verify --origin --origin-fingerprint --start-sector --json --memory -h --help -V --version -v --verbose --progress' -- "$cur")
			;;
		writecache-info)
			mapfile -t COMPREPLY < <(compgen -W '--header-only --origin --origin-size --start-sector --json --live --memory -h --help -V --version -v --verbose --progress' -- "$cur")
			;;
		writecache-map)
			mapfile -t COMPREPLY < <(compgen -W '--svg --width --ascii --origin --origin-size --start-sector --json --live --memory -h --help -V --version -v --verbose --progress' -- "$cur")
			;;
		writecache-repair)
			mapfile -t COMPREPLY < <(compgen -W '-n -a -p -y -f -C --accept-loss --rebuild-superblock --seq-count --block-size --side-file --output --data --strict --max-findings --origin --origin-size --start-sector --dry-run --list-writes --undo --no-undo --json --json-lines --live --memory -t -r -h --help -V --version -v --verbose --progress' -- "$cur")
			;;
		writecache-restore)
			mapfile -t COMPREPLY < <(compgen -W '--output --metadata-only --force --start-sector --dry-run --list-writes --undo --no-undo --json --memory -h --help -V --version -v --verbose --progress' -- "$cur")
			;;
		esac
		return
	fi
	mapfile -t COMPREPLY < <(compgen -f -- "$cur")
	compopt -o filenames
}
complete -F _dmtool dmtool fsck.DM_snapshot_cow fsck.dm_writecache
