"""What a team writes today: an upload service with FastAPI, with the same durability as ours. Only the benchmark runs it.

An upload is answered when its bytes and its folder are synced and its row is committed at synchronous FULL. The
endpoint is there twice: as an `async def`, which is how FastAPI's tutorial takes uploads and where a sync holds up
all others of its process, and as a plain function, which Starlette runs on its threads. `BENCH_DATA` names the folder, `BENCH_TOKEN` the credential.
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


class Intake:
    """One upload on its way in: bytes hashed and written, then synced under its name, then its row."""

    def __init__(self, filename):
        self.name = os.path.basename(filename or "file")
        self.id = str(uuid.uuid4())
        self.digest, self.size = hashlib.sha256(), 0
        self.part = FILES / f"{self.id}.part"
        self.out = open(self.part, "xb", buffering=0)

    def write(self, chunk):
        self.digest.update(chunk)
        self.size += self.out.write(chunk)

    def keep(self):
        os.fsync(self.out.fileno())
        self.out.close()
        self.part.rename(FILES / self.id)
        folder = os.open(FILES, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        row = (self.id, self.name, self.size, self.digest.hexdigest())
        database().execute("INSERT INTO attachments VALUES (?, ?, ?, ?)", row)
        return f"/attachments/{self.id}/{self.name}"


@app.post("/v1/attachments")
async def upload(file: UploadFile) -> str:
    intake = Intake(file.filename)
    while chunk := await file.read(CHUNK):
        intake.write(chunk)
    return intake.keep()


@app.post("/threads/v1/attachments")
def upload_on_a_thread(file: UploadFile) -> str:
    intake = Intake(file.filename)
    while chunk := file.file.read(CHUNK):
        intake.write(chunk)
    return intake.keep()


@app.get("/attachments/{attachment}/{name}")
def download(attachment: uuid.UUID, name: str) -> FileResponse:
    row = database().execute("SELECT name FROM attachments WHERE id = ?", (str(attachment),)).fetchone()
    if row is None:
        raise HTTPException(404, "Attachment not found")
    return FileResponse(FILES / str(attachment), filename=row[0], media_type="application/octet-stream")
