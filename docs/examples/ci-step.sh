#!/bin/sh
# A step of a CI job that fails when a load test shows a grave problem, and tells in the job's
# summary what is new since the last release.
pcapdoc batch captures --out findings --baseline last-release --fail-on high
status=$?
cat findings/rollup.md >> "${GITHUB_STEP_SUMMARY:-/dev/stdout}"
exit $status
