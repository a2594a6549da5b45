#!/bin/sh
# Opens a shell in a Multipass VM, in this project's folder, with the worker's port
# forwarded. `./.mp.dive.sh --help` says the rest; the page "Working in a VM" says why.
#
# POSIX sh and POSIX tools only, for it runs on the host: macOS or Linux.
set -u
umask 077

help() {
  cat <<'HELP'
./.mp.dive.sh [--launch | --help]

Opens a shell in your Multipass VM, in this project's folder. What listens there on
port 8787 is at http://localhost:8787 here. `exit` brings you back.

A VM that sleeps is started. The VM `durable-objects` is made if there is none; a VM
of a name of your own is made with --launch. A folder that is not in the VM yet is
mounted. Multipass itself and an ssh key of yours are all that must be there.

Set in the environment:
  PORT=8787              ports to forward: 8787,9229 for two of them,
                         8788:8787 if 8788 here is to be 8787 in the VM
  MP_NAME=durable-objects  the VM
  MP_DIR=                the folder in the VM; otherwise: where this one is mounted
  MP_USER=ubuntu         the user in the VM
  MP_KEY=                your private key; otherwise the first of ~/.ssh/id_ed25519,
                         id_ecdsa and id_rsa that has a .pub beside it
  MP_SSH_PORT=22         where ssh listens in the VM
  MP_WAIT=60             how many seconds to wait for the VM, and then for its ssh
  MP_CPUS=4 MP_MEMORY=8G MP_DISK=30G   the size of a new VM

  MP_NAME=second PORT=8788:8787 ./.mp.dive.sh --launch    a second VM beside the first

It ends with the status of the shell in the VM; or with 1 if it could not get there,
2 if it was asked for something that makes no sense.
HELP
}

say() { printf 'mp.dive: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
misuse() { say "$*"; exit 2; }

# What a program had to complain of, as one line.
words() { sed '/^debug1: /d; /open failed:/d' "$tmp/words" | tr -s '\n\r\t ' '    ' | sed 's/ *$//'; }
# A text as one word of a shell, whatever is in it.
quote() { printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")"; }
now() { date +%s; }

# Runs a program that reads what is open as 3, and waits for it. A shell hears signals
# while it waits, but not while it runs a program in the foreground.
child=
run() {
  "$@" <&3 3<&- &
  child=$!
  wait "$child"
  set -- $?
  child=
  return "$1"
}

# shellcheck disable=SC2317 # The trap below calls it.
finish() {
  status=$?
  trap '' HUP INT TERM
  if [ -n "$child" ]; then
    kill -s TERM "$child" 2>/dev/null
    kill -s CONT "$child" 2>/dev/null
    wait "$child" 2>/dev/null
  fi
  rm -rf "$tmp"
  exit "$status"
}

# Asks Multipass; the answer is in $tmp/out, complaints are in $tmp/words.
ask() { run multipass "$@" >"$tmp/out" 2>"$tmp/words" 3</dev/null; }
# Has Multipass do what may take a while; its progress is seen.
order() { run multipass "$@" >&2 2>"$tmp/words"; }

# Reads JSON and prints a line for each string, number and word in it: the keys that
# lead there, then the value, with tabs between. Backslashes stay before whatever
# would break such a line, and before letters that are not ASCII: Multipass writes
# those as they are. In the C locale bytes pass through every awk unchanged.
flatten() {
  LC_ALL=C awk '
    function plain(text,   out, c, n) {
      out = ""
      while ((n = index(text, "\\")) > 0) {
        out = out substr(text, 1, n - 1)
        c = substr(text, n + 1, 1)
        text = substr(text, n + 2)
        if (c == "u" && text ~ /^00[2-7]/ && text !~ /^007[fF]/) {
          c = sprintf("%c", 16 * substr(text, 3, 1) + \
            index("123456789abcdef", tolower(substr(text, 4, 1))))
          text = substr(text, 5)
        } else if (c !~ /["\\\/]/) c = "\\" c
        out = out c
      }
      return out text
    }
    function leaf(value,   line, i) {
      line = ""
      for (i = 1; i <= depth; i++) line = line key[i] "\t"
      print line value
    }
    { text = text $0 "\n" }
    END {
      while (text != "") {
        c = substr(text, 1, 1)
        size = 1
        if (match(text, /^[ \t\r\n]+/)) size = RLENGTH
        else if (c == "{" || c == "[") {
          depth++; kind[depth] = c; key[depth] = 0; wants_key = (c == "{"); seen = 1
        } else if (c == "}" || c == "]") {
          if (depth < 1 || kind[depth] != (c == "}" ? "{" : "[")) exit 1
          depth--; wants_key = 0
        } else if (c == ",") {
          if (kind[depth] == "{") wants_key = 1; else key[depth]++
        } else if (c == "\"") {
          if (!match(text, /^"([^"\\]|\\.)*"/)) exit 1
          size = RLENGTH
          value = plain(substr(text, 2, size - 2))
          if (wants_key) { key[depth] = value; wants_key = 0 } else leaf(value)
        } else if (c != ":") {
          if (!match(text, /^[-+.A-Za-z0-9]+/)) exit 1
          size = RLENGTH
          leaf(substr(text, 1, size))
        }
        text = substr(text, size + 1)
      }
      exit !(seen && depth == 0)
    }'
}

# Looks up the VM: $state, with "none" if there is no such VM, and $tmp/info.
look() {
  if ask info "$name" --format json; then
    flatten <"$tmp/out" >"$tmp/info" || die 'multipass info: that is not JSON'
    state=$(awk -F '\t' '$1 == "info" && $3 == "state" { print $4 }' "$tmp/info")
  elif grep -q 'does not exist' "$tmp/words"; then
    state=none
  else
    die "multipass info: $(words)"
  fi
}

launch() {
  [ -f "$here/.mp.cloud-init.yaml" ] || die "there is no $here/.mp.cloud-init.yaml"
  # Without its comment, which may hold anything.
  public=$(awk 'NR == 1 { print $1, $2 }' "$key.pub")
  case $public in
    *[!A-Za-z0-9@.+/=\ -]*) die "$key.pub is not a public key" ;;
    ssh-*' '?* | ecdsa-*' '?* | sk-*' '?*) sed "s|^  - PUBLIC_KEY\$|  - $public|" "$here/.mp.cloud-init.yaml" >"$tmp/cloud-init" ;;
    *) die "$key.pub is not a public key" ;;
  esac
  say "making $name: ${MP_CPUS:-4} CPUs, ${MP_MEMORY:-8G} of memory, ${MP_DISK:-30G} of disk; this takes some minutes"
  order launch 24.04 --name "$name" --cpus "${MP_CPUS:-4}" --memory "${MP_MEMORY:-8G}" \
    --disk "${MP_DISK:-30G}" --timeout 1800 --cloud-init - 3<"$tmp/cloud-init" ||
    die "multipass launch: $(words)"
}

# Brings the VM up and finds its $address: the first is that of its default network.
surface() {
  started=
  deadline=$(($(now) + wait))
  while :; do
    look
    case $state in
      Running)
        address=$(awk -F '\t' '$1 == "info" && $3 == "ipv4" && $4 == 0 { print $5 }' "$tmp/info")
        case $address in
          '' | *[!0-9.]*) still='has no address' ;;
          *) return ;;
        esac
        ;;
      none)
        if [ -z "$may_launch" ]; then
          ask list --format json || die "multipass list: $(words)"
          there=$(flatten <"$tmp/out" | awk -F '\t' '$1 == "list" && $3 == "name" { printf " %s", $4 }')
          die "there is no VM $name (there is:${there:- none}); make it: MP_NAME=$name ./.mp.dive.sh --launch"
        fi
        may_launch=
        launch
        deadline=$(($(now) + wait))
        continue
        ;;
      Stopped | Suspended | 'Delayed Shutdown')
        if [ -z "$started" ]; then
          say "$name is $state: starting it"
          order start "$name" 3</dev/null || die "multipass start: $(words)"
          started=yes
          deadline=$(($(now) + wait))
          continue
        fi
        still="is $state"
        ;;
      Starting | Restarting | Suspending) still="is $state" ;;
      Deleted) die "$name is deleted; bring it back: multipass recover $name, or remove it for good: multipass purge" ;;
      *) die "multipass does not know how $name is ($state); try: multipass restart $name" ;;
    esac
    [ "$(now)" -lt "$deadline" ] || die "$name still $still after $wait s; look: multipass info $name, or wait longer: MP_WAIT=300 ./.mp.dive.sh"
    run sleep 1 3</dev/null
  done
}

# Finds this folder in the VM, or mounts it there: $folder.
find_folder() {
  folder=${MP_DIR:-}
  [ -z "$folder" ] || return 0
  longest=-1
  while IFS=$tab read -r target source; do
    # As Multipass was told it: perhaps by way of a symbolic link.
    real=$([ -n "$source" ] && CDPATH='' cd -P -- "$source" 2>/dev/null && pwd -P) || continue
    real=${real%/}
    case $here/ in
      "$real"/*)
        if [ "${#real}" -gt "$longest" ]; then
          longest=${#real}
          folder=${target%/}${here#"$real"}
        fi
        ;;
      *) ;;
    esac
  done <<MOUNTS
$(awk -F '\t' '$1 == "info" && $3 == "mounts" && $5 == "source_path" { print $4 "\t" $6 }' "$tmp/info")
MOUNTS
  [ -z "$folder" ] || return 0
  folder=/home/$user/${here##*/}
  say "mounting $here in $name as $folder"
  order mount "$here" "$name:$folder" 3</dev/null ||
    die "multipass mount: $(words) (if it cannot read this folder: git clone it in the VM, then MP_DIR=... ./.mp.dive.sh)"
}

# What the VM does first. Text, as it runs in a shell over there.
# shellcheck disable=SC2016
over_there='
cd -- "$1" 2>/dev/null || printf "mp.dive: there is no folder %s in the VM; you are in %s\n" "$1" "$PWD" >&2
if [ -f .mp.local.sh ]; then
  words=$(sh ./.mp.local.sh </dev/null) ||
    echo "mp.dive: .mp.local.sh failed; what must be local may lie on a mount" >&2
  eval "$words"
fi
exec "${SHELL:-/bin/sh}" -l'

# Becomes ssh: shell and tunnels in one. It runs in $tmp, for a path in an option of
# ssh would have to be free of spaces and percent signs. What ssh itself complains of
# goes to a file, so that it does not write across the screen of what runs in the VM;
# LogVerbose has it note there that the shell has ended, and did not just fall silent.
# shellcheck disable=SC2317 # `run` calls it.
dive() {
  cd "$tmp" || exit 1
  : >words
  if [ -t 0 ]; then terminal=-t; else terminal=-T; fi
  exec ssh -E words "$terminal" -i "$(printf '%s' "$key" | sed 's/%/%%/g')" \
    -p "$ssh_port" -l "$user" \
    -o UserKnownHostsFile=known_hosts -o GlobalKnownHostsFile=/dev/null \
    -o HostKeyAlias="$name" -o StrictHostKeyChecking=yes -o CheckHostIP=no \
    -o HostKeyAlgorithms=ssh-ed25519 -o UpdateHostKeys=no -o VerifyHostKeyDNS=no \
    -o IdentitiesOnly=yes -o PreferredAuthentications=publickey \
    -o ConnectTimeout=5 -o ServerAliveInterval=5 -o ServerAliveCountMax=3 \
    -o ExitOnForwardFailure=yes -o ControlMaster=no -o ControlPath=none \
    -o ProxyCommand=none -o RemoteCommand=none -o LogLevel=INFO \
    -o LogVerbose='*:client_input_channel_req():*' \
    -o PermitLocalCommand=yes -o LocalCommand='touch connected' \
    "$@" -- "$address" "exec sh -c $(quote "$over_there") sh $(quote "$folder")"
}

# Says why ssh has ended with 255 before there was a shell.
explain() {
  taken=$(sed -n 's/.*cannot listen to port: \([0-9]*\).*/\1/p' "$tmp/words" | head -n 1)
  if [ -n "$taken" ]; then
    far=$taken
    for pair in $(printf '%s' "${PORT:-8787}" | tr , ' '); do
      case $pair in "$taken":*) far=${pair#*:} ;; *) ;; esac
    done
    die "port $taken of this computer is taken; choose another: PORT=$((taken % 65535 + 1)):$far ./.mp.dive.sh"
  elif grep -q 'Host key verification failed' "$tmp/words"; then
    die "the ssh server at $address is not that of $name: its host key is another one; nothing was sent to it"
  elif grep -q 'Permission denied' "$tmp/words"; then
    ssh-keygen -y -P '' -f "$key" >/dev/null 2>&1 </dev/null ||
      say "$key has a passphrase; tell it to your agent: ssh-add $(quote "$key")"
    die "$name does not let in $key; put it there: multipass exec $name -- sh -c 'cat >> ~/.ssh/authorized_keys' < $(quote "$key.pub")"
  elif hopeful; then
    die "ssh of $name does not answer after $wait s: $(words)"
  fi
  die "ssh: $(words)"
}

# Whether ssh may yet get through to a VM that is still coming up.
hopeful() {
  grep -E -q 'refused|timed out|reset by|closed by|No route to host|unreachable|is down' "$tmp/words" &&
    ! grep -q 'Permission denied' "$tmp/words"
}

may_launch=
[ -n "${MP_NAME:-}" ] || may_launch=yes
for option in "$@"; do
  case $option in
    --help) help; exit ;;
    --launch) may_launch=yes ;;
    *) misuse "what is $option? ./.mp.dive.sh --help" ;;
  esac
done

name=${MP_NAME:-durable-objects}
user=${MP_USER:-ubuntu}
ssh_port=${MP_SSH_PORT:-22}
wait=${MP_WAIT:-60}
tab=$(printf '\t')
case $name in
  [!A-Za-z]* | *[!A-Za-z0-9-]* | *-) misuse "MP_NAME=$name: letters, digits and hyphens; a letter first, no hyphen last" ;;
  *) ;;
esac
case $user in
  [!a-z_]* | *[!a-z0-9_-]*) misuse "MP_USER=$user: small letters, digits, _ and -" ;;
  *) ;;
esac
is_port() {
  case $1 in
    '' | *[!0-9]* | 0* | ??????*) return 1 ;;
    *) [ "$1" -le 65535 ] ;;
  esac
}
is_port "$ssh_port" || misuse "MP_SSH_PORT=$ssh_port: a port is a number from 1 to 65535"
case $wait in
  *[!0-9]* | 0* | ?????*) misuse "MP_WAIT=$wait: seconds, from 1 to 9999" ;;
  *) ;;
esac

# From here on "$@" is what ssh is to forward.
set --
opened=
rest=${PORT:-8787},
while [ -n "$rest" ]; do
  pair=${rest%%,*}
  rest=${rest#*,}
  { is_port "${pair%%:*}" && is_port "${pair#*:}"; } ||
    misuse "PORT=$PORT: ports from 1 to 65535, such as 8787 or 8787,9229 or 8788:8787"
  case " $opened " in
    *" ${pair%%:*} "*) misuse "PORT=$PORT: ${pair%%:*} stands there twice" ;;
    *) opened="$opened ${pair%%:*}" ;;
  esac
  # At the far end localhost, as wrangler listens on 127.0.0.1 or ::1.
  set -- "$@" -L "127.0.0.1:${pair%%:*}:localhost:${pair#*:}"
done

command -v multipass >/dev/null || die 'there is no multipass here; install it: https://canonical.com/multipass/install'
command -v ssh >/dev/null || die 'there is no ssh here; install it: apt install openssh-client'
ssh -F /dev/null -o LogVerbose=none -G localhost >/dev/null 2>&1 ||
  die "this ssh is too old, it knows no LogVerbose: $(ssh -V 2>&1); install a newer OpenSSH"
key=${MP_KEY:-}
for kind in ed25519 ecdsa rsa; do
  default=${HOME:-}/.ssh/id_$kind
  if [ -z "$key" ] && [ -f "$default" ] && [ -f "$default.pub" ]; then key=$default; fi
done
[ -n "$key" ] || die 'there is no ssh key in ~/.ssh; make one: ssh-keygen -t ed25519'
case $key in /*) ;; *) key=$PWD/$key ;; esac
[ -f "$key" ] || die "there is no key $key; make it: ssh-keygen -t ed25519 -f $(quote "$key")"
[ -f "$key.pub" ] || die "there is no $key.pub; make it: ssh-keygen -y -f $(quote "$key") > $(quote "$key.pub")"

# The project's folder is where this script really is, whatever links lead here.
self=$0
while [ -L "$self" ]; do
  link=$(readlink "$self")
  case $link in /*) self=$link ;; *) self=$(dirname -- "$self")/$link ;; esac
done
here=$(CDPATH='' cd -P -- "$(dirname -- "$self")" && pwd -P) || die "where is $self?"

tmp=${TMPDIR:-/tmp}/mp-dive.$$
mkdir "$tmp" || die "cannot make $tmp"
trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

surface
find_folder
# No trust on first use, and none in what lived at this address before: the VM's own
# key, by way of Multipass. That is as sure as `multipass shell` is.
ask exec "$name" -- cat /etc/ssh/ssh_host_ed25519_key.pub || die "multipass exec: $(words)"
case $(cat "$tmp/out") in
  'ssh-ed25519 '*) ;;
  *) die "$name has no host key in /etc/ssh/ssh_host_ed25519_key.pub" ;;
esac
printf '%s %s\n' "$name" "$(head -n 1 "$tmp/out")" >"$tmp/known_hosts"

say "$name ($address), $folder; forwarded:$opened; exit brings you back"
deadline=$(($(now) + wait))
run dive "$@" 3<&0
status=$?
while [ ! -e "$tmp/connected" ] && [ "$status" = 255 ] && hopeful && [ "$(now)" -lt "$deadline" ]; do
  run sleep 1 3</dev/null
  run dive "$@" 3<&0
  status=$?
done
if [ "$status" = 255 ]; then
  [ -e "$tmp/connected" ] || explain
  # A shell may end with 255 as well; then ssh was told so.
  grep -q 'rtype exit-' "$tmp/words" || {
    reason=$(words)
    die "the connection to $name was lost${reason:+: $reason}"
  }
fi
exit "$status"
