#!/usr/bin/env bash
# Runs the README's commands in a clone as somebody who has just made it: an
# ordinary user, nothing in the environment but HOME and PATH, umask 077.
#
#   tools/stranger.sh CLONE [COMMAND...]
#
# CLONE    a fresh clone, owned by the user that runs this
# COMMAND  run: make run until the README's curl command scores, then Ctrl-C
#          anything else: that target of make
#          default: run test
#
# Afterwards git must see no change in the clone. Prints how long each took.
set -euo pipefail

# Start again without what the caller's environment holds.
if [[ -z ${STRANGER-} ]]; then
	exec env -i HOME="$HOME" PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games STRANGER=1 "$BASH" "$0" "$@"
fi
unset STRANGER
umask 077
cd "$1"
shift
(($#)) || set -- run test

die() {
	printf 'stranger: %s\n' "$1" >&2
	exit 1
}

# run starts the server as a terminal does, in a process group of its own.
run() {
	local server curl status answer=''
	curl=$(sed -n 's/^\$ \(curl .*\)$/\1/p' README.md | head -n 1)
	[[ -n $curl ]] || die "the README has no curl command"
	set -m
	make run &
	server=$!
	set +m
	# Two cores need some minutes to compile everything.
	for ((i = 0; i < 1200; i++)); do
		answer=$(bash -c "$curl" 2>/dev/null) || true
		[[ $answer != *'"score":'[0-9]* ]] || break
		kill -0 "$server" 2>/dev/null || die "make run ended by itself"
		sleep 1
	done
	kill -INT -- "-$server"
	# make ends by the same signal when what it runs has ended.
	wait "$server" && status=0 || status=$?
	((status == 0 || status == 130)) || die "after Ctrl-C make run ended with status $status"
	! bash -c "$curl" >/dev/null 2>&1 || die "after Ctrl-C a server still answers"
	[[ $answer == *'"score":'[0-9]* ]] || die "the README's curl command answered: $answer"
	printf 'The curl command answered: %s\n' "${answer:0:120}"
}

for command in "$@"; do
	begin=$SECONDS
	echo "== make $command"
	if [[ $command == run ]]; then run; else make "$command"; fi
	echo "== make $command: $((SECONDS - begin)) s"
done
changes=$(git status --porcelain)
[[ -z $changes ]] || die "git sees changes: $changes"
echo "== git status: nothing"
