#!/bin/sh
# Fetches the slide and posts its size with curl.
set -eu
size=$(curl -sS --fail "$SCAN_URL" | wc -c)
curl -sS --fail -o /dev/null -w 'status %{http_code}\n' -X POST \
  -H "Authorization: Bearer $JWT_TOKEN" -H 'Content-Type: application/json' \
  -d "{\"scanResults\": [{\"scanId\": \"$SCAN_ID\", \"results\": {\"summary\": \"$((size)) bytes\"}}]}" \
  "https://api.$HOST/api/v3/external/results/$TASK_ID"
