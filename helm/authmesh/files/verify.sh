#!/bin/sh
# Asks a node as a proxy does, and judges the answers. Tokens go through files, never through arguments.
set -eu
CREDENTIALS=${CREDENTIALS:-/credentials}
TOKEN=${TOKEN:-/token/token}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say() { echo "authmesh test: $*"; }
refuse() { say "FAILED: $*"; exit 1; }

# ask TOKEN_FILE: the status of /verify; the headers are in $work/headers, the body in $work/body.
ask() {
    if [ -n "$1" ]; then
        printf 'Authorization: Bearer %s' "$(tr -d '\r\n' < "$1")" > "$work/authorization"
    else
        : > "$work/authorization"
    fi
    curl --silent --show-error --max-time 15 --output "$work/body" --dump-header "$work/headers" --write-out '%{http_code}' \
        --header "@$work/authorization" --header "X-Forwarded-Method: GET" --header "X-Forwarded-Uri: $TEST_PATH" \
        "$AUTHMESH_URL/verify"
}

header() { tr -d '\r' < "$work/headers" | sed -n "s/^$1: //ip"; }

say "asking $AUTHMESH_URL"
curl --silent --show-error --fail --max-time 15 --retry 10 --retry-delay 1 --retry-all-errors --output /dev/null "$AUTHMESH_URL/readyz" \
    || refuse "no node is ready"

status=$(ask "")
[ "$status" = 401 ] || refuse "a request without a token was answered with $status and not 401. Is $TEST_PATH a public route? Set test.path to another one"
header www-authenticate | grep -q Bearer || refuse "the 401 has no challenge"

echo "not.a.token" > "$work/garbage"
status=$(ask "$work/garbage")
[ "$status" = 401 ] || refuse "garbage was answered with $status and not 401: $(cat "$work/body")"
say "refused: no token, and garbage"

if [ -n "${TOKEN_URL:-}" ]; then
    # Credentials in a file of curl's own, so that no process list shows them.
    {
        if [ "${TOKEN_AUTH:-client_secret_basic}" = client_secret_post ]; then
            printf 'data-urlencode = "client_id=%s"\n' "$(cat "$CREDENTIALS/client-id")"
            printf 'data-urlencode = "client_secret=%s"\n' "$(cat "$CREDENTIALS/client-secret")"
        else
            printf 'user = "%s:%s"\n' "$(cat "$CREDENTIALS/client-id")" "$(cat "$CREDENTIALS/client-secret")"
        fi
        printf 'data-urlencode = "grant_type=client_credentials"\n'
        [ -z "${TOKEN_SCOPE:-}" ] || printf 'data-urlencode = "scope=%s"\n' "$TOKEN_SCOPE"
        [ -z "${TOKEN_AUDIENCE:-}" ] || printf 'data-urlencode = "audience=%s"\n' "$TOKEN_AUDIENCE"
        [ -z "${TOKEN_RESOURCE:-}" ] || printf 'data-urlencode = "resource=%s"\n' "$TOKEN_RESOURCE"
    } > "$work/curlrc"
    curl --silent --show-error --fail --max-time 15 --config "$work/curlrc" --output "$work/answer" "$TOKEN_URL" \
        || refuse "$TOKEN_URL gave no token"
    sed -n 's/.*"access_token"[[:space:]]*:[[:space:]]*"\([^"]*\)".*/\1/p' "$work/answer" > "$work/token"
elif [ -s "$TOKEN" ]; then
    cat "$TOKEN" > "$work/token"
else
    say "passed, as far as it went: no token was given (test.clientCredentials, test.tokenSecret)"
    exit 0
fi
[ -s "$work/token" ] || refuse "there is no access token in the answer of $TOKEN_URL"

for try in first second; do
    status=$(ask "$work/token")
    [ "$status" = 200 ] || refuse "the token was answered with $status at its $try use: $(cat "$work/body")"
done
header cache-control | grep -q no-store || refuse "the answer may be cached by proxies"

# One letter of the payload changed: the signature no longer matches.
sed 's/^\([^.]*\.\)\(.\)/\1_/' "$work/token" > "$work/tampered"
if ! cmp -s "$work/token" "$work/tampered"; then
    status=$(ask "$work/tampered")
    [ "$status" = 401 ] || refuse "a tampered token was answered with $status and not 401"
fi
say "passed: the token was verified twice, and refused once it was tampered with"
