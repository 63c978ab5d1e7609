"""waitress on an inherited socket: its command line cannot do that, its `serve()` can."""

import socket
import sys

from waitress import serve
from wsgi_app import app

serve(app, sockets=[socket.socket(fileno=int(sys.argv[1]))])
