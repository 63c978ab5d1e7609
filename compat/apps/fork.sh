#!/bin/sh
# A start script that stays, and waits for the server.
"$@" &
wait
