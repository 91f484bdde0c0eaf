#!/bin/sh
# Makes one cluster of servers that are none yet. Does nothing where there is one already.
set -eu
SECRETS=${SECRETS:-/run/secrets}
CLI=${CLI:-valkey-cli}

REDISCLI_AUTH=$(cat "$SECRETS/valkey/operator-password")
export REDISCLI_AUTH
cli() {
    "$CLI" --user operator --no-auth-warning --tls --cert "$SECRETS/tls/tls.crt" --key "$SECRETS/tls/tls.key" --cacert "$SECRETS/tls/ca.crt" "$@"
}
at() {
    peer=$1
    shift
    cli -h "${peer%:*}" -p "${peer##*:}" "$@"
}
known() { at "$1" cluster info | tr -d '\r' | sed -n 's/^cluster_known_nodes://p'; }

servers=0
for peer in $PEERS; do
    tries=0
    until [ "$(at "$peer" ping 2> /dev/null)" = PONG ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 120 ] || { echo "$peer does not answer"; exit 1; }
        sleep 1
    done
    servers=$((servers + 1))
done

# One that belongs to a cluster is enough: a second cluster over it would lose what the first one holds.
for peer in $PEERS; do
    if [ "$(known "$peer")" -gt 1 ]; then
        echo "there is a cluster already: $peer knows $(known "$peer") servers"
        exit 0
    fi
done

# Servers meet by address: CLUSTER MEET takes no names.
addresses=
for peer in $PEERS; do
    addresses="$addresses $(getent hosts "${peer%:*}" | awk 'NR == 1 { print $1 }'):${peer##*:}"
done
# The words are meant to be split.
# shellcheck disable=SC2086
cli --cluster create $addresses --cluster-replicas "$REPLICAS" --cluster-yes
for peer in $PEERS; do
    tries=0
    until at "$peer" cluster info | grep -q 'cluster_state:ok' && [ "$(known "$peer")" -ge "$servers" ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 60 ] || { echo "$peer does not see the whole cluster"; exit 1; }
        sleep 1
    done
done
echo "a cluster of $servers servers"
