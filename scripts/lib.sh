# shellcheck shell=bash
# Shared by the scripts: messages, secrets, ports, and daemons known by a pid file. Sourced, never run.
# The .env file is in dotenv.sh, the Rust toolchain in rust.sh.

# A failure inside $(…) ends the script too.
shopt -s inherit_errexit

# shellcheck disable=SC2034  # used by the scripts that source this file
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Command words put before every daemon, for instance to run it as another user.
RUN_AS=()

say() { printf '==> %s\n' "$*"; }
note() { printf '    %s\n' "$*"; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# lock FILE: one run at a time; held until the script ends. Daemons must not inherit it (see spawn).
lock() {
  exec 9>"$1"
  flock -w 300 9 || die "another run has held $1 for five minutes; wait for it or end it"
}

random_hex() { od -An -v -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

# A password of 17 characters with lower and upper case, digits and one special character.
random_password() {
  local word=
  until [[ $word =~ [a-z] && $word =~ [A-Z] && $word =~ [0-9] ]]; do
    word=$(head -c 48 /dev/urandom | base64 -w0 | tr -d '+/=')
    word=${word:0:16}
  done
  printf '%s@' "$word"
}

port_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# need_port PORT WHAT-TO-DO
need_port() {
  port_free "$1" || die "port $1 is taken by another program (ss -ltnp 'sport = :$1' names it). $2"
}

# A pid file holds "pid start-time". Pids are reused and some daemons rewrite their command line, so only the
# start time (field 22 of /proc/PID/stat) tells whether the process is still the one that was started.
alive() {
  local pid started stat fields
  { read -r pid started <"$1" && read -r stat <"/proc/$pid/stat"; } 2>/dev/null || return 1
  read -ra fields <<<"${stat##*) }"
  [[ ${fields[0]} != Z && ${fields[19]} == "$started" ]]
}

pid_of() { cut -d' ' -f1 "$1"; }

# Runs inside the new process: writes the pid file, then becomes the daemon.
# shellcheck disable=SC2016
RECORD_AND_EXEC='pidfile=$1 log=$2; shift 2
read -r stat </proc/$$/stat; read -ra fields <<<"${stat##*) }"
echo "$$ ${fields[19]}" >"$pidfile"
exec "$@" </dev/null >>"$log" 2>&1'

# spawn PIDFILE LOG COMMAND…: starts a daemon in a session of its own
spawn() {
  local pidfile=$1
  rm -f "$pidfile"
  setsid -f "${RUN_AS[@]}" bash -c "$RECORD_AND_EXEC" daemon "$@" 9>&-
  for _ in {1..500}; do
    [[ -s $pidfile ]] && return
    sleep 0.01
  done
  die "could not start: ${*:3}"
}

# wait_ready NAME PIDFILE LOG SECONDS COMMAND…: until COMMAND succeeds; shows the log if the daemon ends before
wait_ready() {
  local name=$1 pidfile=$2 log=$3 seconds=$4 end=$((SECONDS + $4)) reason=
  shift 4
  until "$@" >/dev/null 2>&1; do
    alive "$pidfile" || reason="$name ended while starting"
    ((SECONDS < end)) || reason="$name is not ready after $seconds s"
    if [[ $reason ]]; then
      tail -n 20 "$log" >&2
      die "$reason; the lines above are the end of $log"
    fi
    sleep 0.05
  done
}

# stop NAME PIDFILE SIGNAL SECONDS: asks, waits, and kills the whole session if it does not listen
stop() {
  local name=$1 pidfile=$2 pid target i
  if alive "$pidfile"; then
    pid=$(pid_of "$pidfile")
    target=$pid
    [[ $3 == KILL ]] && target=-$pid
    kill -"$3" -- "$target" 2>/dev/null || ! alive "$pidfile" ||
      die "$name (pid $pid) runs as $(stat -c %U "/proc/$pid"): stop it as that user or as root"
    for ((i = 0; i < $4 * 20; i++)); do
      alive "$pidfile" || break
      sleep 0.05
    done
    if alive "$pidfile"; then kill -KILL -- "-$pid" 2>/dev/null || true; fi
    note "$name stopped"
  fi
  rm -f "$pidfile"
}
