#!/bin/sh
# A start script that becomes the server.
echo "preparing" >&2
exec "$@"
