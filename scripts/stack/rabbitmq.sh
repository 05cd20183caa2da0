# shellcheck shell=bash
# The private RabbitMQ with the Erlang port mapper it needs. Sourced by stack.sh.

# The wrapper in /usr/sbin insists on the user rabbitmq and /var/lib/rabbitmq; this is the server itself.
RABBITMQ_SERVER=/usr/lib/rabbitmq/bin/rabbitmq-server
RABBITMQ_SIGNAL=TERM

rabbitmq_port() { echo "$AMQP_PORT"; }

rabbitmq_settings() {
  cat <<CONF
listeners.tcp.1 = 127.0.0.1:$AMQP_PORT
management.tcp.ip = 127.0.0.1
management.tcp.port = $MANAGEMENT_PORT
default_user = aisha
default_pass = $AMQP_PASSWORD
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 200MB
CONF
}

# A port mapper of its own, or stopping one stack would hurt another. Erlang's schedulers must not spin while idle.
rabbitmq_environment() {
  local base=$DATA/rabbitmq
  RABBITMQ_ENVIRONMENT=(
    HOME="$DATA/home" # of the Erlang cookie
    RABBITMQ_NODENAME=aisha@localhost
    RABBITMQ_CONF_ENV_FILE=/dev/null
    RABBITMQ_CONFIG_FILE="$base/rabbitmq.conf"
    RABBITMQ_ADVANCED_CONFIG_FILE="$base/advanced.config"
    RABBITMQ_ENABLED_PLUGINS_FILE="$base/enabled_plugins"
    RABBITMQ_MNESIA_BASE="$base/mnesia"
    RABBITMQ_GENERATED_CONFIG_DIR="$base/generated"
    RABBITMQ_FEATURE_FLAGS_FILE="$base/feature_flags"
    RABBITMQ_LOG_BASE="$LOG"
    RABBITMQ_PID_FILE="$base/pid"
    RABBITMQ_DIST_PORT="$ERLANG_PORT"
    ERL_EPMD_PORT="$EPMD_PORT"
    ERL_EPMD_ADDRESS=127.0.0.1
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}'
    RABBITMQ_SERVER_ERL_ARGS='+S 2:2 +A 16 +sbwt none +sbwtdcpu none +sbwtdio none'
  )
}

rabbitmq_start() {
  local port cookie=$DATA/home/.erlang.cookie
  [[ -x $RABBITMQ_SERVER ]] || die "RabbitMQ is not installed: run scripts/install.sh"
  for port in "$AMQP_PORT" "$MANAGEMENT_PORT" "$ERLANG_PORT"; do need_port "$port" "$PORT_ADVICE"; done
  as_server mkdir -p "$DATA/rabbitmq"
  rabbitmq_settings | put "$DATA/rabbitmq/rabbitmq.conf"
  put "$DATA/rabbitmq/enabled_plugins" <<<'[rabbitmq_management].'
  as_server test -f "$cookie" || { random_hex 24 | put "$cookie" && as_server chmod 400 "$cookie"; }
  if ! alive "$RUN/epmd.pid"; then
    need_port "$EPMD_PORT" "$PORT_ADVICE"
    spawn "$RUN/epmd.pid" "$LOG/epmd.log" epmd -port "$EPMD_PORT" -address 127.0.0.1
  fi
  rabbitmq_environment
  spawn "$RUN/rabbitmq.pid" "$LOG/rabbitmq.log" env "${RABBITMQ_ENVIRONMENT[@]}" "$RABBITMQ_SERVER"
}

# A broker that is up answers the AMQP 0-9-1 header with a method frame (its first byte is 1), at once; rabbitmqctl
# would boot an Erlang machine for the same news.
rabbitmq_answers() (
  exec 3<>"/dev/tcp/127.0.0.1/$AMQP_PORT" || exit 1
  printf 'AMQP\0\0\x09\x01' >&3
  [[ $(timeout 2 head -c 1 <&3 | od -An -tu1 | tr -d ' ') == 1 ]] && ! port_free "$MANAGEMENT_PORT"
)

rabbitmq_wait() { wait_ready rabbitmq "$RUN/rabbitmq.pid" "$LOG/rabbitmq.log" 120 rabbitmq_answers; }

rabbitmq_stop() {
  stop rabbitmq "$RUN/rabbitmq.pid" "$RABBITMQ_SIGNAL" 60
  stop "port mapper" "$RUN/epmd.pid" TERM 10 >/dev/null
}
