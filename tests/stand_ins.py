"""Servers of a few lines for clients that are real: what they answer is what the wire asks for.

    with http_server() as url: ...

There is no wheel of MongoDB or Kafka, and no need of one: a client binds to its loop when it
connects and has been answered once.
"""

import contextlib
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextlib.contextmanager
def _serving(server: socketserver.BaseServer) -> Iterator[int]:
    """Serve in a thread; what clients have left open is not waited for."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Hello(BaseHTTPRequestHandler):
    """Answers anything with XML, which is an empty answer of S3's as well, and keeps alive."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = b"<Hello/>" if self.path != "/large" else bytes(1_000_000)
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # a broken twin does not read it all
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


class _HttpServer(ThreadingHTTPServer):
    block_on_close = False


@contextlib.contextmanager
def http_server() -> Iterator[str]:
    """An HTTP server that keeps connections open, as real ones do."""
    with _serving(_HttpServer(("127.0.0.1", 0), _Hello)) as port:
        yield f"http://127.0.0.1:{port}/"


@contextlib.contextmanager
def websocket_server() -> Iterator[str]:
    """A WebSocket server that says again what it is told."""
    from websockets.sync.server import serve

    def echo(connection) -> None:
        for message in connection:
            connection.send(message)

    with serve(echo, "127.0.0.1", 0, close_timeout=0.1) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def grpc_server() -> Iterator[str]:
    """A gRPC server whose one method gives back what it is given."""
    import concurrent.futures

    import grpc

    handlers = {"Get": grpc.unary_unary_rpc_method_handler(lambda request, context: request)}
    with concurrent.futures.ThreadPoolExecutor(1) as workers:
        server = grpc.server(workers)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Api", handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


@contextlib.contextmanager
def mcp_server() -> Iterator[str]:
    """An MCP server with one tool, over streamable HTTP."""
    import uvicorn
    from mcp.server.mcpserver import MCPServer

    application = MCPServer("remedies")

    @application.tool()
    def add(left: int, right: int) -> int:
        return left + right

    served = application.streamable_http_app()
    config = uvicorn.Config(served, loop="asyncio", log_level="critical", ws="none")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
        finally:
            server.should_exit = server.force_exit = True
            thread.join()


# -- MongoDB --------------------------------------------------------------------------------------


class _Mongo(socketserver.StreamRequestHandler):
    """Answers each OP_MSG, and the OP_QUERY that a client begins with, as a primary would."""

    def handle(self) -> None:
        import bson

        greeting = {"ok": 1, "helloOk": True, "isWritablePrimary": True, "ismaster": True}
        answer = bson.encode(greeting | {"minWireVersion": 0, "maxWireVersion": 25})
        with contextlib.suppress(ConnectionError):
            while head := self.rfile.read(16):
                size, request, _, kind = struct.unpack("<iiii", head)
                self.rfile.read(size - 16)
                if kind == 2004:  # OP_QUERY: an OP_REPLY with one document
                    body, kind = struct.pack("<iqii", 8, 0, 0, 1) + answer, 1
                else:
                    body = struct.pack("<ib", 0, 0) + answer
                self.wfile.write(struct.pack("<iiii", 16 + len(body), 1, request, kind) + body)


class _SocketServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False


@contextlib.contextmanager
def mongo_server() -> Iterator[str]:
    """What a MongoDB says to who greets and pings it."""
    with _serving(_SocketServer(("127.0.0.1", 0), _Mongo)) as port:
        yield f"mongodb://127.0.0.1:{port}/?directConnection=true"


# -- Kafka ----------------------------------------------------------------------------------------


class _Kafka(socketserver.StreamRequestHandler):
    """Says which versions it speaks, and that there is one broker, itself, and one topic."""

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            while head := self.rfile.read(12):
                size, kind, version, request = struct.unpack(">ihhi", head)
                self.rfile.read(size - 8)
                body = struct.pack(">i", request) + self._answer(kind, version)
                self.wfile.write(struct.pack(">i", len(body)) + body)

    def _answer(self, kind: int, version: int) -> bytes:
        if kind == 18:  # ApiVersions: of each request the oldest that a client asks for
            refused = 35 if version else 0
            ranges = [(0, 3, 3), (1, 4, 4), (3, 1, 1), (18, 0, 0)]
            packed = b"".join(struct.pack(">hhh", *one) for one in ranges)
            return struct.pack(">hi", refused, len(ranges)) + packed
        host, port = self.server.server_address[:2]
        broker = struct.pack(">iih", 1, 0, len(host)) + host.encode() + struct.pack(">ih", port, -1)
        partition = struct.pack(">hiiiiii", 0, 0, 0, 1, 0, 1, 0)
        topic = struct.pack(">ihh6sbi", 1, 0, 6, b"orders", 0, 1) + partition
        return broker + struct.pack(">i", 0) + topic


@contextlib.contextmanager
def kafka_server() -> Iterator[str]:
    """What a Kafka broker says to who asks it for its topics."""
    with _serving(_SocketServer(("127.0.0.1", 0), _Kafka)) as port:
        yield f"127.0.0.1:{port}"
