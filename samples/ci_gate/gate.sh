#!/usr/bin/env bash
# gate.sh BASELINE CANDIDATE: trace both versions of the agent, judge them, and say whether the candidate may be shipped.
# Exit codes: 0 PASS, 1 FAIL, 3 INCONCLUSIVE. Writes gate.md and gate.xml; annotations for GitHub go to stdout.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export TRACEKIT_STORE=${TRACEKIT_STORE:-.tracekit}

for version in "$1" "$2"; do
  python "$here/agent.py" "$version" cases.jsonl
  tracekit eval --agent "stdlib-helper@$version" --dataset cases.jsonl --judge 'retrieved?k=5' --name "$version" >/dev/null
done
tracekit gate "$2" --baseline "$1" --policy "$here/gate.yaml" --format github -o gate.md -o gate.xml
