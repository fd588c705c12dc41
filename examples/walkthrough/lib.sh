# What the procedures have in common: a deployment to try them on, and checks. They source it, and are then in an empty
# folder with the commands meshpass and controlplane. At the end everything is stopped and removed.

set -euo pipefail

patience=60 # seconds, for what ought to happen soon

script=$(basename "$0" .sh)
folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/walk.XXXXXX")
state=$work/.state # of each process NAME: NAME.log, .pid, .address, and .seen, the lines of its log that were expected
mkdir "$state"
cd "$work"

if [ -z "${WALKTHROUGH_BIN:-}" ]; then
	WALKTHROUGH_BIN=$work/.bin
	trap 'rm -rf "$work"' EXIT
	"$folder/build" "$WALKTHROUGH_BIN"
fi
PATH=$WALKTHROUGH_BIN:$PATH
unset "${!MESHPASS_@}" "${!KUMA_@}" "${!KMESH_@}" # what the procedures do not set is not set

# What the operator's commands are and say goes to a log, and is shown with WALKTHROUGH_VERBOSE.
if [ -n "${WALKTHROUGH_VERBOSE:-}" ]; then exec 3>&1; else exec 3>"$state/operator.log"; fi

end() {
	local status=$? file
	set +e
	trap - EXIT ERR
	trap '' PIPE # whoever reads may be gone
	for file in "$state"/*.pid; do
		[ ! -e "$file" ] || kill "$(cat "$file")" 2>/dev/null || true
	done
	wait
	if [ "$status" -ne 0 ]; then
		printf '\n%s FAILED with status %d. The ends of the logs:\n' "$script" "$status"
		tail -n 12 "$state"/*.log
	fi >&2
	cd /
	rm -rf "$work"
	exit "$status"
}
trap end EXIT
trap 'printf "%s: line %d failed\n" "$script" "$LINENO" >&2' ERR
trap 'exit 130' INT TERM HUP PIPE

fail() {
	printf '%s: %s\n' "$script" "$*" >&2
	exit 1
}

# say tells what has been shown.
say() { printf '   %s\n' "$*"; }

# What an operator types.
meshpass() { shown meshpass "$@"; }
curl() { shown curl --silent --show-error --fail "$@"; }
shown() {
	printf '   $ %s\n' "$*" >&3
	command "$@" 2>&3
}

# start runs a program in the background.
start() { # NAME COMMAND...
	local name=$1
	shift
	touch "$state/$name.log"
	wc -l <"$state/$name.log" >"$state/$name.seen"
	"$@" >>"$state/$name.log" 2>&1 &
	echo $! >"$state/$name.pid"
}

# stop ends a program, which must have nothing to complain about.
stop() { # NAME
	local pid
	pid=$(cat "$state/$1.pid")
	rm "$state/$1.pid"
	kill "$pid" || fail "$1 had ended by itself"
	wait "$pid" || fail "$1 ended with status $?"
}

# expect waits for a line in the log of a process, after the line that was expected before. No line in between may match the
# second pattern.
expect() { # NAME PATTERN [PATTERN]
	local log=$state/$1.log seen line deadline=$((SECONDS + patience))
	seen=$(cat "$state/$1.seen")
	while true; do
		line=$(awk -v seen="$seen" -v pattern="$2" 'NR > seen && $0 ~ pattern { print NR; exit }' "$log")
		[ -z "$line" ] || break
		kill -0 "$(cat "$state/$1.pid")" 2>/dev/null || fail "$1 has ended and did not log: $2"
		[ "$SECONDS" -lt "$deadline" ] || fail "$1 did not log: $2"
		sleep 0.05
	done
	[ -z "${3:-}" ] || expect_none "$1" "$3" "$line"
	echo "$line" >"$state/$1.seen"
}

# expect_none makes sure that there has been no such line since the one that was expected last.
expect_none() { # NAME PATTERN [NUMBER of a line before which to stop]
	local line
	line=$(awk -v seen="$(cat "$state/$1.seen")" -v pattern="$2" -v end="${3:-0}" \
		'NR == end { exit } NR > seen && $0 ~ pattern' "$state/$1.log")
	[ -z "$line" ] || fail "$1 logged: $line"
}

# expect_output runs a command, which must succeed and print a line that matches.
expect_output() { # PATTERN COMMAND...
	local pattern=$1 text
	shift
	text=$("$@")
	printf '%s\n' "$text" >&3
	grep -Eq -- "$pattern" <<<"$text" || fail "'$*' printed no line that matches $pattern, but: $text"
}

# expect_failure runs a command, which must fail and print a line that matches.
expect_failure() { # PATTERN COMMAND...
	local pattern=$1 text
	shift
	printf '   $ %s\n' "$*" >&3
	if text=$(command "$@" 2>&1); then
		fail "'$*' succeeded: $text"
	fi
	printf '%s\n' "$text" >&3
	grep -Eq -- "$pattern" <<<"$text" || fail "'$*' printed no line that matches $pattern, but: $text"
}

# eventually repeats a command until it succeeds.
eventually() { # COMMAND...
	local deadline=$((SECONDS + patience))
	until "$@"; do
		[ "$SECONDS" -lt "$deadline" ] || fail "did not succeed: $*"
		sleep 0.1
	done
}

# address_of is where a control plane listens, also when it is restarted.
address_of() { # NAME
	cat "$state/$1.address" 2>/dev/null || echo 127.0.0.1:0
}

# listening waits until a control plane can be used. What else it has done since it was started can still be expected: it does
# several things at once.
listening() { # NAME
	local started
	started=$(cat "$state/$1.seen")
	expect "$1" '"msg":"listening"'
	field "$1" address >"$state/$1.address"
	field "$1" metrics >"$state/$1.metrics"
	echo "$started" >"$state/$1.seen"
}

field() { # NAME FIELD of the line that was expected last
	sed -n "$(cat "$state/$1.seen")s/.*\"$2\":\"\([^\"]*\)\".*/\1/p" "$state/$1.log"
}

# metrics_of prints what a control plane exports.
metrics_of() { command curl --silent --show-error --fail "http://$(cat "$state/$1.metrics")/metrics"; }

# connected waits until a zone has a stream from the global control plane.
connected() { eventually has_stream "$1"; } # NAME
has_stream() { metrics_of "$1" | grep -x 'controlplane_global_connected 1' >&3; }

# informed waits until a zone has what the global control plane publishes: the first key of the mesh.
informed() { eventually has_key "$1"; } # NAME
has_key() { command meshpass keys list --mesh default --store "dir:$1/store" 2>/dev/null | grep '^1 ' >&3; }

# start_global starts the global control plane: its keys are in global/store, its socket is global/admin.sock.
start_global() { # FLAGS...
	mkdir -p global
	start global controlplane global -dir global -cert global.pem -listen "$(address_of global)" -zone-authentication none "$@"
	listening global
}

# start_zone starts the control plane of a zone, whose socket is NAME/admin.sock.
start_zone() { # NAME FLAGS...
	local name=$1
	shift
	mkdir -p "$name"
	start "$name" controlplane zone -name "$name" -dir "$name" -cert "zone-$name.pem" -listen "$(address_of "$name")" \
		-global "$(address_of global)" -ca ca.pem -token-file "$name.token" "$@"
	listening "$name"
}

# restart_zone starts it again, such as with another configuration.
restart_zone() { # NAME FLAGS...
	stop "$1"
	start_zone "$@"
	connected "$1"
}

# start_proxy starts a proxy of zone west with the token in NAME.token. It connects, and when its stream ends it connects again.
start_proxy() { # NAME FLAGS...
	local name=$1
	shift
	start "$name" controlplane proxy -name "$name" -mesh default -service backend \
		-address "$(address_of west)" -zone west -ca ca.pem -token-file "$name.token" "$@"
}

# deploy starts a global control plane and zone west, which has what the global one publishes.
deploy() { # FLAGS of the zone
	controlplane certificates -dir . -zones west,east
	start_global
	start_zone west "$@"
	informed west
}
