"""Where alerts arrive in tests: a web server on loopback that takes what it is sent, refuses it, or never answers."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Inbox:
    """Keeps what is posted to it. ``status`` is what it answers; ``hangs`` makes it answer nothing."""

    def __init__(self) -> None:
        self.status = 200
        self.hangs = False
        self.received: list[tuple[str, dict[str, Any]]] = []
        self._leave = threading.Event()
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["Content-Length"]))
                inbox.received.append((self.path, json.loads(text)))
                if inbox.hangs:
                    self._drip()
                    return
                self.send_response(inbox.status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def _drip(self) -> None:
                """A byte now and then, so that no timeout between two of them ends it."""
                while not inbox._leave.wait(0.2):
                    try:
                        self.wfile.write(b"H")
                    except OSError:
                        return

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def titles(self) -> list[str]:
        return [content["title"] for _path, content in self.received]

    @property
    def bodies(self) -> list[str]:
        return [content["message"] for _path, content in self.received]

    def let_go(self) -> None:
        """End what hangs."""
        self._leave.set()

    def stop(self) -> None:
        self.let_go()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
