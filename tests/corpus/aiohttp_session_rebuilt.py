"""A transport makes a new aiohttp.ClientSession whenever the loop has changed, and drops the old.

Nothing fails, but the old session's connections are never closed: they stay open until the
collector comes by, one more for each loop ("Unclosed client session"). Right: whoever runs the
loop opens the session and closes it there.
"""

import asyncio
import http.server
import socketserver
import threading

import aiohttp

SOURCE = "https://github.com/BerriAI/litellm/issues/24230"
FINDS = ("LS202",)


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections alive
    wbufsize = -1

    def do_GET(self):
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args):
        pass


server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answer)
server.daemon_threads = True
server.handle_error = lambda *args: None  # a client that is gone
threading.Thread(target=server.serve_forever, daemon=True).start()
URL = f"http://127.0.0.1:{server.server_address[1]}/"


class Transport:
    session = None
    loop = None

    def valid_session(self):
        loop = asyncio.get_running_loop()
        if self.session is None or self.loop is not loop:
            self.session = aiohttp.ClientSession()
            self.loop = loop
        return self.session


transport = Transport()


async def broken():
    async with transport.valid_session().get(URL) as response:
        return response.status


async def fixed():
    async with aiohttp.ClientSession() as session, session.get(URL) as response:
        return response.status
