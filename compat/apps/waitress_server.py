"""waitress on an inherited socket, which `serve()` supports but the command line does not."""

import socket
import sys

from waitress import serve
from wsgi_app import app

serve(app, sockets=[socket.socket(fileno=int(sys.argv[1]))])
