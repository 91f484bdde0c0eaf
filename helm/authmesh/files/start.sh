#!/bin/sh
# Starts a server of the cluster, or tells whether it is ready (`start.sh ready`).
set -eu
CONFIG=${CONFIG:-/etc/valkey}
SECRETS=${SECRETS:-/run/secrets}
DATA=${DATA:-/data}
PORT=${PORT:-6379}
SERVER=${SERVER:-valkey-server}
CLI=${CLI:-valkey-cli}

REDISCLI_AUTH=$(cat "$SECRETS/valkey/operator-password")
export REDISCLI_AUTH
cli() {
    "$CLI" --user operator --no-auth-warning --tls --cert "$SECRETS/tls/tls.crt" --key "$SECRETS/tls/tls.key" --cacert "$SECRETS/tls/ca.crt" -p "$PORT" "$@"
}

if [ "${1:-}" = ready ]; then
    [ "$(cli ping)" = PONG ]
    exit
fi

# Pods get new addresses when they start again. The others may all have moved, too, so it says hello by name.
hello() {
    for round in 1 2 3 4 5 6; do
        sleep 5
        # The shell becomes the server: its number stays.
        kill -0 $$ || return 0
        [ "$(cli ping)" = PONG ] || continue
        # A server that never belonged to a cluster waits for the bootstrap job.
        [ "$(cli cluster info | tr -d '\r' | sed -n 's/^cluster_known_nodes://p')" -gt 1 ] || continue
        for peer in $PEERS; do
            address=$(getent hosts "${peer%:*}" | awk 'NR == 1 { print $1 }') || continue
            [ -z "$address" ] || cli cluster meet "$address" "${peer##*:}" || true
        done
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
