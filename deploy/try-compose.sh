#!/usr/bin/env bash
# Tests the containers: builds them, starts the service with N workers, orders slides over the published port, kills one
# worker, stops another and restarts Redis during the work; then restarts everything a minute before Redis and orders once
# more. Every order must be delivered exactly once.
#
#   deploy/try-compose.sh                          with Docker, on CPUs (COMPOSE_PROFILES=gpu for GPUs)
#   COMPOSE="podman-compose" ENGINE="podman" deploy/try-compose.sh
#
# BUILD= (empty) uses existing images; ORDERS, WORKERS (three or more), LATE_S, API_PORT, FLOWER_PORT and
# RECEIVER_PORT override. Needs curl, openssl and python3. Runs as a separate project, which it removes at the end; your own service is not touched.
set -euo pipefail
cd "$(dirname "$0")/.."
compose=${COMPOSE:-docker compose} engine=${ENGINE:-docker}
orders=${ORDERS:-30} workers=${WORKERS:-3} within_s=${WITHIN_S:-600} late_s=${LATE_S:-60}
export COMPOSE_PROFILES=${COMPOSE_PROFILES:-cpu} COMPOSE_PROJECT_NAME=slidelane-try
export API_PORT=${API_PORT:-18000} FLOWER_PORT=${FLOWER_PORT:-15555} RECEIVER_PORT=${RECEIVER_PORT:-19000}
export API_ADDRESS=127.0.0.1 FLOWER_ADDRESS=127.0.0.1 FLOWER_USER=flower SLIDELANE_WORKER__GRACE_S=2
api=http://127.0.0.1:$API_PORT receiver=http://127.0.0.1:$RECEIVER_PORT flower=http://127.0.0.1:$FLOWER_PORT
files=(-f docker-compose.yml -f deploy/try-compose.yml)
[[ $engine != *podman* ]] || files+=(-f deploy/compose/podman.yml)
SLIDES=$(mktemp -d) && export SLIDES
MODELS=$(mktemp -d) && export MODELS

say() { printf '%s  %s\n' "$(date +%T)" "$*"; }
fail() { say "FAILED: $*"; exit 1; }
dc() { $compose "${files[@]}" "$@"; }
now() { date +%s.%N; }
since() { python3 -c "import sys; print(f'{float(sys.argv[2]) - float(sys.argv[1]):.1f} s')" "$1" "$(now)"; }
secret() { python3 -c 'import secrets; print(secrets.token_hex(24))'; }
# the running containers of one service, or with -a all of them
containers() { $engine ps -q "${@:2}" --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" --filter "label=com.docker.compose.service=$1"; }
ask() { curl -sS --noproxy '*' --max-time 30 -H "Authorization: Bearer $key" "$@"; }
status() { curl -s --noproxy '*' --max-time 10 -o /dev/null -w '%{http_code}' "$@" || true; }
until_true() { # WHAT COMMAND...: true within a time, or the test has failed
  local what=$1 end=$((SECONDS + within_s)); shift
  until "$@" >/dev/null 2>&1; do ((SECONDS < end)) || fail "$what did not come true within $within_s s"; sleep 0.5; done
}
is() { [[ $(status "${@:2}") == "$1" ]]; }
count() { ask "$api/v1/orders?state=$1&limit=200" | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["orders"]))'; }
has() { [[ $(count "$1") -ge $2 ]]; }
deliveries() { curl -sS --noproxy '*' "$receiver/_ledger" | python3 -c 'import json, sys; seen = [e["note"]["task"] for e in json.load(sys.stdin)]; print(len(seen), len(set(seen)))'; }

finish() {
  local code=$?
  ((code == 0)) || for name in api courier worker redis flower; do
    for id in $(containers "$name" -a); do say "the end of $name $id:"; $engine logs --tail 15 "$id" 2>&1 | cut -c1-300; done
  done
  $engine ps -aq --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" | xargs -r $engine rm -f >/dev/null 2>&1 || true
  dc down -v >/dev/null 2>&1 || true
  rm -rf "$SLIDES" "$MODELS"
  exit "$code"
}

order() { # NUMBER; the same number is the same order
  ask -f -o /dev/null -H 'Content-Type: application/json' -H "Idempotency-Key: try-$1" "$api/v1/orders" -d "{
    \"algorithm\": \"ki67\",
    \"scans\": [{\"id\": \"$1\", \"source\": {\"type\": \"path\", \"path\": \"/slides/$1.svs\"}}],
    \"destination\": {\"type\": \"techcyte\", \"base_url\": \"http://receiver:9000\", \"task_id\": \"$1\", \"jwt_token\": \"$token\"}
  }"
}

# placeholders, so that Compose can read the file before there is a key
export REDIS_PASSWORD REDIS_API_PASSWORD REDIS_WORKER_PASSWORD REDIS_FLOWER_PASSWORD FLOWER_PASSWORD SLIDELANE_SERVICES__KEYS
export SLIDELANE_BROKER__SECRET_KEY VIEWER_PASSWORD
REDIS_PASSWORD=$(secret) REDIS_API_PASSWORD=$(secret) REDIS_WORKER_PASSWORD=$(secret) REDIS_FLOWER_PASSWORD=$(secret)
FLOWER_PASSWORD=$(secret) VIEWER_PASSWORD=$(secret) SLIDELANE_SERVICES__KEYS=[] SLIDELANE_BROKER__SECRET_KEY=$(openssl rand -base64 32 | tr +/ -_)
if [[ ${BUILD-yes} ]]; then say "building"; dc build; fi
trap finish EXIT
trap 'exit 130' INT TERM

printed=$($engine run --rm slidelane-api slidelane new-key 2>/dev/null)
key=$(awk '/^key:/ {print $2}' <<<"$printed")
SLIDELANE_SERVICES__KEYS="[{\"name\": \"try\", \"sha256\": \"$(awk '/^sha256:/ {print $2}' <<<"$printed")\"}]"
chmod 777 "$SLIDES"
$engine run --rm -v "$PWD/deploy:/try:ro" -v "$SLIDES:/slides" "slidelane-worker:$COMPOSE_PROFILES" python /try/try_slides.py /slides "$((orders + 1))" 2>/dev/null
say "drew $(find "$SLIDES" -name '*.svs' | wc -l) slides"

began=$(now)
dc up -d --no-build --scale "worker=$workers" >/dev/null 2>&1 || fail "up"
say "up returned after $(since "$began")"
until_true "the API" is 200 "$api/healthz"
[[ $(status "$api/v1/orders") == 401 ]] || fail "the API answers without a key"
until_true "the receiver" is 200 "$receiver/_ledger"
token=$($engine logs "$(containers receiver)" 2>/dev/null | grep -o '"jwt_token": "[^"]*"' | cut -d'"' -f4)
until_true "a worker that makes ki67 known" order 0
until_true "the first order" has delivered 1
say "first order delivered $(since "$began") after up"
until_true "readyz" is 200 "$api/readyz"

placed=$(now)
for ((number = 1; number < orders; number++)); do order "$number" || fail "order $number was not taken"; done
say "placed $((orders - 1)) more in $(since "$placed")"
until_true "a third of the orders" has delivered $((orders / 4))
read -r victim stopped _ <<<"$(containers worker | tr '\n' ' ')"
$engine kill "$victim" >/dev/null && say "killed worker $victim with $(count delivered) of $orders delivered"
began=$(now)
$engine stop -t 60 "$stopped" >/dev/null # stop_grace_period, which podman-compose does not pass on
ended=$($engine inspect -f '{{.State.ExitCode}}' "$stopped")
[[ $ended == 0 ]] || fail "the stopped worker ended with $ended"
say "stopped worker $stopped in $(since "$began"), by itself"
$engine start "$stopped" >/dev/null && say "started it again"
until_true "half of the orders" has delivered $((orders / 2))
$engine restart -t 30 "$(containers redis)" >/dev/null && say "restarted Redis while orders were running"
until_true "all orders" has delivered "$orders"
say "all $orders delivered $(since "$placed") after they were placed"

redis=$(containers redis)
network=$($engine inspect -f '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}' "$redis")
$engine network disconnect "$network" "$redis" # not stopped: podman starts nothing without what it depends on
for name in worker courier api flower; do containers "$name" -a; done | xargs $engine restart -t 30 >/dev/null
say "disconnected Redis and restarted everything else"
until_true "the API without Redis" is 503 "$api/readyz"
sleep "$late_s"
$engine network connect --alias redis "$network" "$redis" && say "connected Redis again $late_s s later"
until_true "an order after that" order "$orders"
orders=$((orders + 1))
until_true "its delivery" has delivered "$orders"

read -r made different <<<"$(deliveries)"
[[ $made == "$orders" && $different == "$orders" ]] || fail "$made deliveries of $different orders"
say "the receiver holds $made deliveries, each of another order"
until_true "Flower" is 200 -u "flower:$FLOWER_PASSWORD" "$flower/workers"
for open in workers api/workers; do [[ $(status "$flower/$open") == 401 ]] || fail "Flower answers /$open without its password"; done
say "Flower answers with its password and not without"
for role in api courier viewer flower; do
  until_true "health of $role" $engine exec "$(containers "$role")" slidelane health "$role"
  say "$($engine exec "$(containers "$role")" slidelane health "$role" 2>/dev/null)"
done
until_true "health of the started worker" $engine exec "$stopped" slidelane health worker
say "$($engine exec "$stopped" slidelane health worker 2>/dev/null)"
worker=$(containers worker | head -n 1)
$engine exec "$worker" slidelane doctor --in-container || fail "a worker that tries itself out"
say "TRUE: every order was delivered, once"
