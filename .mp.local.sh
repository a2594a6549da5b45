#!/bin/sh
# Keeps what must be local off a mount; `--help` says how.
#
# A folder that a VM shares with its host is no disk. It may refuse SQLite the memory that
# it shares, a build is slower there, and what npm and cargo put there for the host's
# system is of no use to the VM's. So those folders, and no others, get a folder of the
# VM's own disk bound over them. All that this adds to the mount is an empty folder for
# each that is not there.
set -eu

usage() {
  cat <<'EOF'
usage: eval "$(./.mp.local.sh)"     in the VM, and again when the VM was restarted
       ./.mp.local.sh --undo        gives the folders of the mount back

If this project lies on a folder of the VM's host, a folder of the VM's own disk is bound
over each of these:

  target, node_modules   of the project (and beside a Cargo.lock or package.json of a
                         folder that has a wrangler.toml)
  .wrangler, build       beside each wrangler.toml: state, and the built Worker
  .tools                 of the project, if it has an xtask

What the host has in them is hidden meanwhile, not lost. What is printed for `eval` has
`wrangler dev` look for changed files itself: a mount does not tell of the host's edits.
If the project lies on a disk of the VM's own, nothing is done.

It wants root or sudo, for `mount`. Settings, in the environment:
  MP_LOCAL   where the VM's folders are: ~/.local/state/mp-local, if not set. They stay
             after --undo and when the VM restarts. Delete them when you like.
EOF
}

say() { printf 'mp.local: %s\n' "$*" >&2; }
fail() {
  say "$*"
  exit 1
}

# Asks the kernel's table of mounts about a folder, by its full path. With `kind`: what
# file system it is on, such as ext4. With `here`: something if it is a mount itself.
#
# The table, because `stat -f` does not tell one FUSE file system from another, and
# `findmnt` is not everywhere. Of the mounts that the folder is in, the innermost counts,
# and of several at one place the last, which lies over the others.
ask() {
  MP_WHAT=$1 MP_FOLDER=$2 awk '
    BEGIN {
      folder = ENVIRON["MP_FOLDER"]
      # The table has no space but between its columns.
      gsub(/\\/, "\\134", folder)
      gsub(/ /, "\\040", folder)
      gsub(/\t/, "\\011", folder)
    }
    {
      point = $2
      sub(/\/$/, "", point)
      if (ENVIRON["MP_WHAT"] == "here") { if (point == folder) found = $3 }
      else if (index(folder "/", point "/") == 1 && length(point) >= longest) {
        longest = length(point)
        found = $3
      }
    }
    END { print found }
  ' /proc/self/mounts
}

# Whether such a file system is a folder of somebody else: of the VM's host, or of a
# server. One that is not listed is taken for a disk.
is_shared() {
  case $1 in
    fuse.fuse-overlayfs) false ;; # the layers of a container, on its own disk
    fuse.* | fuse) true ;;        # sshfs, vmhgfs-fuse, grpcfuse and their like
    9p | virtiofs | fakeowner | drvfs | vboxsf | vmhgfs | prl_fs) true ;;
    cifs | smb3 | nfs | nfs4) true ;;
    *) false ;;
  esac
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Calls a function with each folder that must be local.
each() {
  for config in "$root"/wrangler.toml "$root"/*/wrangler.toml \
    "$root"/*/*/wrangler.toml; do
    beside=${config%/*}
    case ${beside#"$root"}/ in */node_modules/* | */target/* | */build/*) continue ;; esac
    [ -f "$config" ] || continue
    "$1" "$beside/.wrangler"
    "$1" "$beside/build"
    [ "$beside" != "$root" ] || continue
    # Of a workspace, such as the book, only the root has these.
    [ ! -f "$beside/Cargo.lock" ] || "$1" "$beside/target"
    [ ! -f "$beside/package.json" ] || "$1" "$beside/node_modules"
  done
  "$1" "$root/target"
  "$1" "$root/node_modules"
  [ ! -d "$root/xtask" ] || "$1" "$root/.tools"
}

# A folder's twin on the disk has the same path below MP_LOCAL, so no two share one.
bind() {
  if [ -n "$(ask here "$1")" ]; then
    already=$((already + 1))
  elif [ -L "$1" ]; then
    say "$1 is a link: left as it is"
  elif mkdir -p "$1" "$MP_LOCAL$1" && as_root mount --bind "$MP_LOCAL$1" "$1"; then
    say "$1 is on the VM's disk now"
  else
    say "$1 could not be bound: it stays on the mount"
    failed=1
  fi
}

unbind() {
  # Two that ran at once may both have bound it.
  while [ -n "$(ask here "$1")" ]; do
    # What runs there wants the others too: they are left alone.
    as_root umount "$1" ||
      fail "$1 is in use: end what runs there, such as wrangler dev, and try again"
    say "$1 is on the mount again"
  done
  # What bind added, if it did. A folder with anything in it stays.
  rmdir "$1" 2>/dev/null || true
}

[ $# -le 1 ] || { usage >&2; exit 2; }
case ${1-} in
  '') action=bind ;;
  --undo) action=unbind ;;
  --help) usage; exit ;;
  *) usage >&2; exit 2 ;;
esac

[ -r /proc/self/mounts ] ||
  fail "this system has no /proc/self/mounts: run this in the VM"
root=$(unset CDPATH && cd -P -- "$(dirname -- "$0")" && pwd -P)
kind=$(ask kind "$root")
failed=''
already=0

if ! is_shared "$kind"; then
  say "$root is on a disk ($kind): nothing to do"
  exit
fi
if [ "$action" = unbind ]; then
  each unbind
  exit
fi

MP_LOCAL=${MP_LOCAL:-${HOME:?is not set, and MP_LOCAL neither}/.local/state/mp-local}
mkdir -p "$MP_LOCAL"
MP_LOCAL=$(unset CDPATH && cd -P -- "$MP_LOCAL" && pwd -P)
kind_there=$(ask kind "$MP_LOCAL")
if is_shared "$kind_there"; then
  fail "MP_LOCAL=$MP_LOCAL is on a mount itself ($kind_there): choose a folder on a disk"
fi
each bind
[ "$already" = 0 ] || say "$already folders were on the VM's disk already"
echo 'export CHOKIDAR_USEPOLLING=1'
[ -z "$failed" ]
