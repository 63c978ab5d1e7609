# Tell that we have begun, then do nothing. Under drum-supervise, say that we are ready.
echo "$$" > "$STAMPS"
if [ -n "${DRUM_SUPERVISOR_REPORT_FD:-}" ]; then
    echo '{"kind": "ready"}' >&4
fi
exec sleep 1000000
