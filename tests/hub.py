"""A stand-in for the Hugging Face Hub: enough of its protocol for the Hub's own client to create
repositories, upload folders (small files in the commit, large ones by LFS) and download snapshots.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LARGE = 10_000  # bytes from which a file goes by LFS


@dataclass
class Hub:
    """What the server holds.

    Attributes:
        repositories: name -> commits, the newest last: (id, path -> content).
        private: of each repository, whether it is.
        objects: LFS content by SHA-256.
        token: what clients must send.
    """

    url: str = ""
    token: str = "hf_stand_in"
    repositories: dict[str, list[tuple[str, dict[str, bytes]]]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)

    def files(self, name: str, revision: str = "main") -> tuple[str, dict[str, bytes]] | None:
        commits = self.repositories.get(name, [])
        if revision == "main":
            return commits[-1] if commits else None
        return next((c for c in commits if c[0] == revision), None)


def handler_of(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def answer(
            self, body: Any = None, status: int = 200, headers: dict[str, str] | None = None
        ) -> None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for key, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def missing(self, code: str) -> None:
            self.answer({"error": code}, 404, {"X-Error-Code": code, "X-Error-Message": code})

        def read(self) -> bytes:
            if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def do_PUT(self) -> None:
            body, oid = self.read(), self.path.rpartition("/")[2]
            assert hashlib.sha256(body).hexdigest() == oid
            hub.objects[oid] = body
            self.answer({})

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/(.+?)", path):
                name, revision = found[1], found[2].partition("/")[0]
                there = hub.files(name, revision)
                if there is None:
                    return self.missing("RevisionNotFound")
                return self.answer([entry(p, c) for p, c in sorted(there[1].items())])
            if found := re.fullmatch(r"/api/models/([^/]+/[^/]+?)(?:/revision/(.+))?", path):
                if self.headers.get("Authorization") != f"Bearer {hub.token}":
                    return self.missing("RepoNotFound")
                there = hub.files(found[1], found[2] or "main")
                if there is None:
                    return self.missing("RepoNotFound")
                files = [{"rfilename": p} for p in there[1]]
                about = {"id": found[1], "sha": there[0], "private": hub.private[found[1]]}
                return self.answer({**about, "siblings": files, "tags": []})
            found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
            there = hub.files(found[1], found[2]) if found else None
            if there is None or found is None or found[3] not in there[1]:
                return self.missing("EntryNotFound")
            content = there[1][found[3]]
            etag = entry(found[3], content).get("lfs", {}).get("oid") or blob_id(content)
            self.answer(content, headers={"ETag": f'"{etag}"', "X-Repo-Commit": there[0]})
            return None

        def do_POST(self) -> None:
            path, body = self.path.partition("?")[0], self.read()
            if path.endswith("/info/lfs/objects/batch"):
                objects = []
                for asked in json.loads(body)["objects"]:
                    link = {"href": f"{hub.url}/lfs/{asked['oid']}", "header": {}}
                    objects.append({**asked, "actions": {"upload": link}})
                return self.answer({"transfer": "basic", "objects": objects})
            if path == "/api/validate-yaml":
                front = json.loads(body)["content"].split("---")[1]
                return self.answer({"warnings": [], "errors": [] if front else [{"message": "?"}]})
            if self.headers.get("Authorization") != f"Bearer {hub.token}":
                return self.answer({"error": "Invalid credentials"}, 401)
            if path == "/api/repos/create":
                asked = json.loads(body)
                name = f"{asked.get('organization') or 'me'}/{asked['name']}"
                is_there = name in hub.repositories
                hub.repositories.setdefault(name, [])
                hub.private.setdefault(
                    name, asked.get("visibility") == "private" or bool(asked.get("private"))
                )
                about = {"url": f"{hub.url}/{name}", "id": name, "name": name}
                return self.answer(about, 409 if is_there else 200)
            name = "/".join(path.split("/")[3:5])
            if name not in hub.repositories:
                return self.missing("RepoNotFound")
            if "/preupload/" in path:
                files = [
                    {
                        "path": f["path"],
                        "uploadMode": "lfs" if f["size"] >= LARGE else "regular",
                        "shouldIgnore": False,
                    }
                    for f in json.loads(body)["files"]
                ]
                return self.answer({"files": files})
            return self.answer(commit(hub, name, body))

    return Handler


def commit(hub: Hub, name: str, body: bytes) -> dict[str, str]:
    lines = [json.loads(line) for line in body.splitlines() if line.strip()]
    before = hub.files(name)
    files = dict(before[1]) if before else {}
    for line in lines:
        value = line["value"]
        if line["key"] == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif line["key"] == "lfsFile":
            files[value["path"]] = hub.objects[value["oid"]]
    oid = hashlib.sha1(body + str(len(hub.repositories[name])).encode()).hexdigest()
    hub.repositories[name].append((oid, files))
    return {"commitUrl": f"{hub.url}/{name}/commit/{oid}", "commitOid": oid, "success": "true"}


def entry(path: str, content: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": "file",
        "path": path,
        "size": len(content),
        "oid": blob_id(content),
    }
    if len(content) >= LARGE:
        sha = hashlib.sha256(content).hexdigest()
        found["lfs"] = {"oid": sha, "size": len(content), "pointerSize": 130}
    return found


def blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def serving() -> Iterator[Hub]:
    """A Hub on a free port, until the block ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(hub))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
