"""What a team writes today: an upload service with FastAPI, with the same durability as ours. Only the benchmark runs it.

An upload is answered when its bytes and its folder are synced and its row is committed at synchronous FULL. The
endpoints are ordinary functions, so that Starlette runs them on its threads and the syncs of one do not hold up
the others. `BENCH_DATA` names the folder, `BENCH_TOKEN` the credential.
"""

import hashlib
import hmac
import os
import sqlite3
import threading
import uuid
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException, UploadFile
from fastapi.responses import FileResponse

DATA = Path(os.environ["BENCH_DATA"])
FILES = DATA / "files"
EXPECTED = f"Bearer {os.environ['BENCH_TOKEN']}"
CHUNK = 1 << 20

local = threading.local()


def database():
    """This thread's connection, opened at first use."""
    if not hasattr(local, "connection"):
        local.connection = sqlite3.connect(DATA / "catalogue.db", timeout=60, isolation_level=None)
        local.connection.execute("PRAGMA journal_mode = WAL")
        local.connection.execute("PRAGMA synchronous = FULL")
        local.connection.execute(
            "CREATE TABLE IF NOT EXISTS attachments (id TEXT PRIMARY KEY, name TEXT, size INTEGER, sha256 TEXT)"
        )
    return local.connection


def authenticated(authorization: Annotated[str, Header()] = ""):
    if not hmac.compare_digest(authorization.encode(), EXPECTED.encode()):
        raise HTTPException(401, "Unauthorized", {"WWW-Authenticate": "Bearer"})


FILES.mkdir(parents=True, exist_ok=True)
app = FastAPI(dependencies=[Depends(authenticated)])


@app.post("/v1/attachments")
def upload(file: UploadFile) -> str:
    attachment = str(uuid.uuid4())
    part, final = FILES / f"{attachment}.part", FILES / attachment
    digest, size = hashlib.sha256(), 0
    with open(part, "xb", buffering=0) as out:
        while chunk := file.file.read(CHUNK):
            digest.update(chunk)
            size += out.write(chunk)
        os.fsync(out.fileno())
    part.rename(final)
    folder = os.open(FILES, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    name = os.path.basename(file.filename or "file")
    database().execute("INSERT INTO attachments VALUES (?, ?, ?, ?)", (attachment, name, size, digest.hexdigest()))
    return f"/attachments/{attachment}/{name}"


@app.get("/attachments/{attachment}/{name}")
def download(attachment: uuid.UUID, name: str) -> FileResponse:
    row = database().execute("SELECT name FROM attachments WHERE id = ?", (str(attachment),)).fetchone()
    if row is None:
        raise HTTPException(404, "Attachment not found")
    return FileResponse(FILES / str(attachment), filename=row[0], media_type="application/octet-stream")
