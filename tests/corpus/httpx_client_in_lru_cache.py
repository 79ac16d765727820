"""functools.lru_cache makes one httpx.AsyncClient for each base URL, for all loops to come.

No global names it, and its pooled connection stays with the loop that opened it: every second run
raises "Event loop is closed", after the request has been sent, so an SDK that retries sends it
twice. Right: a client for the run, closed in it.
"""

import functools
import http.server
import socketserver
import threading

import httpx

SOURCE = "https://github.com/langchain-ai/langchain/issues/35783"
FINDS = ("LS103",)


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


@functools.lru_cache
def cached_client(base_url):
    return httpx.AsyncClient(base_url=base_url)


async def broken():
    response = await cached_client(URL).get("/")
    return response.status_code


async def fixed():
    async with httpx.AsyncClient(base_url=URL) as client:
        response = await client.get("/")
    return response.status_code
