# shellcheck shell=bash
# The private Redis. Sourced by stack.sh.

redis_port() { echo "$REDIS_PORT"; }

redis_settings() {
  cat <<CONF
bind 127.0.0.1
port $REDIS_PORT
dir "$DATA/redis"
requirepass $REDIS_PASSWORD
daemonize no
save ""
CONF
  if [[ ${STACK:-dev} == test ]]; then echo 'appendonly no'; else echo 'appendonly yes'; fi
}

redis_start() {
  command -v redis-server >/dev/null || die "Redis is not installed: run scripts/install.sh"
  need_port "$REDIS_PORT" "$PORT_ADVICE"
  as_server mkdir -p "$DATA/redis"
  redis_settings | put "$DATA/redis/redis.conf"
  spawn "$RUN/redis.pid" "$LOG/redis.log" redis-server "$DATA/redis/redis.conf"
}

redis_answers() {
  [[ $(REDISCLI_AUTH=$REDIS_PASSWORD redis-cli -h 127.0.0.1 -p "$REDIS_PORT" ping) == PONG ]]
}

redis_wait() { wait_ready redis "$RUN/redis.pid" "$LOG/redis.log" 30 redis_answers; }
redis_stop() { stop redis "$RUN/redis.pid" TERM 20; }
