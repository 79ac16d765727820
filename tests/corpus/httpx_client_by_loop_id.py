"""httpx clients are cached for each loop under id(loop), and nobody takes out those of ended loops.

An orderly run closes its client, so nothing keeps its loop alive: the next one gets the same
address, is taken for it and handed the closed client. Right: no registry, the client belongs to
the run (a key that is the loop itself would do too, if it leaves the dict when the run ends).
"""

import asyncio
import http.server
import socketserver
import threading

import httpx

SOURCE = "https://github.com/e2b-dev/E2B/pull/1434"
FINDS = ("LS204",)
RUN = {"loops": 3, "schedule": "recycled"}


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

clients = {}


def client_of_loop():
    key = id(asyncio.get_running_loop())
    if key not in clients:
        clients[key] = httpx.AsyncClient()
    return clients[key]


async def broken():
    client = client_of_loop()
    try:
        response = await client.get(URL)
    finally:
        await client.aclose()
    return response.status_code


async def fixed():
    async with httpx.AsyncClient() as client:
        response = await client.get(URL)
    return response.status_code
