"""A benchmark sends its requests in one asyncio.run() and closes the client in a second one.

The pooled connection belongs to the first loop, which is closed by then: its transport cannot
schedule its own end any more, close() raises "Event loop is closed" and the socket stays open.
Right: close it in the run that opened it.
"""

import asyncio
import http.server
import socketserver
import threading

import httpx

SOURCE = "https://github.com/LMCache/LMCache/pull/3440"
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


def request_sender():
    client = httpx.AsyncClient()

    async def send():
        await client.get(URL)

    async def close():
        await client.aclose()

    return send, close


def broken():
    send, close = request_sender()
    asyncio.run(send())
    asyncio.run(close())


def fixed():
    async def run():
        send, close = request_sender()
        try:
            await send()
        finally:
            await close()

    asyncio.run(run())
