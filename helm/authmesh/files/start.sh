#!/bin/sh
# Starts a server of the cluster, or tells whether it is ready (`start.sh ready`).
set -eu
CONFIG=${CONFIG:-/etc/valkey}
SECRETS=${SECRETS:-/run/secrets}
DATA=${DATA:-/data}
PORT=${PORT:-6379}
SERVER=${SERVER:-valkey-server}
CLI=${CLI:-valkey-cli}
PAUSE=${PAUSE:-5}

REDISCLI_AUTH=$(cat "$SECRETS/valkey/operator-password")
export REDISCLI_AUTH
cli() {
    "$CLI" --user operator --no-auth-warning --tls --cert "$SECRETS/tls/tls.crt" --key "$SECRETS/tls/tls.key" --cacert "$SECRETS/tls/ca.crt" -p "$PORT" "$@"
}

if [ "${1:-}" = ready ]; then
    [ "$(cli ping)" = PONG ]
    exit
fi

# What `cluster info` says of a name, here or, with -h and -p, elsewhere.
fact() {
    name=$1
    shift
    cli "$@" cluster info | tr -d '\r' | sed -n "s/^$name://p"
}

# Primaries that have slots: the number of their replicas, and the ID; fewest first.
primaries() {
    cli cluster nodes | tr -d '\r' | awk '
        $3 ~ /fail|handshake|noaddr/ { next }
        $3 ~ /slave/ { replicas[$4] += 1 }
        $3 ~ /master/ && NF > 8 { primary[$1] = 1 }
        END { for (id in primary) print replicas[id] + 0, id }' | sort -n
}

# A server that starts again says hello to the others by name: pods get new addresses, and the others may all have moved, too. One that lost its
# data joins the cluster that it finds, and becomes a replica of whoever has fewest. One that finds none waits for the bootstrap job.
hello() {
    idle=0
    rounds=30
    while [ "$rounds" -gt 0 ]; do
        rounds=$((rounds - 1))
        sleep "$PAUSE"
        # The shell becomes the server: its number stays.
        kill -0 $$ || return 0
        [ "$(cli ping)" = PONG ] || continue
        for peer in $PEERS; do
            address=$(getent hosts "${peer%:*}" | awk 'NR == 1 { print $1 }')
            [ -n "$address" ] || continue
            if [ "$(fact cluster_known_nodes)" -gt 1 ] || [ "$(fact cluster_state -h "$address" -p "${peer##*:}")" = ok ]; then
                cli cluster meet "$address" "${peer##*:}" || true
            fi
        done
        # Twice in a row: the bootstrap job is about to say whose replica it will be.
        if [ "$(fact cluster_state)" = ok ] && cli cluster nodes | awk '/myself/ && $3 ~ /master/ && NF == 8 { none = 1 } END { exit !none }'; then
            idle=$((idle + 1))
        else
            idle=0
        fi
        if [ "$idle" -ge 2 ]; then
            cli cluster replicate "$(primaries | awk 'NR == 1 { print $2 }')" || true
        fi
    done
}
hello > /dev/null 2>&1 &

umask 077
{
    cat "$CONFIG/valkey.conf"
    echo "cluster-announce-hostname $ANNOUNCE"
    echo "masteruser operator"
    echo "masterauth $REDISCLI_AUTH"
} > "$DATA/valkey.conf"
unset REDISCLI_AUTH
exec "$SERVER" "$DATA/valkey.conf"
