"""Tries to get out of a session, and prints what came of each attempt as a line of JSON."""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys

facts = json.loads(sys.stdin.read())


def attempt(name, action):
    try:
        result = action()
    except BaseException as error:  # whatever stops it
        print(json.dumps({"attempt": name, "got": None, "error": repr(error)}), flush=True)
    else:
        print(json.dumps({"attempt": name, "got": repr(result)}), flush=True)


def write(path):
    with open(path, "w") as file:
        file.write("changed")
    return "written"


def make_writable_and_write():
    try:
        os.chmod("attachments/data.csv", 0o666)
    except OSError:
        pass
    return write("attachments/data.csv")


def remount():
    libc = ctypes.CDLL(None, use_errno=True)
    for target in (b"attachments", b"/workspace/attachments"):
        if libc.mount(b"none", target, None, 32, None) == 0:  # MS_REMOUNT without MS_RDONLY
            return "remounted"
    raise OSError(ctypes.get_errno(), "mount")


def read(path):
    with open(path, "rb") as file:
        return file.read()[:100]


def ptrace(pid):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(16, pid, 0, 0) != 0:  # PTRACE_ATTACH
        raise OSError(ctypes.get_errno(), "ptrace")


def connect_abstract():
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0" + facts["abstract"])
        return "connected"


print(json.dumps({"attempt": "read the delivered file", "got": read("attachments/data.csv").decode()}))
service, data, other = facts["service"], facts["database"], facts["other_session"]
attempt("write the delivered file", lambda: write("attachments/data.csv"))
attempt("chmod and write the delivered file", make_writable_and_write)
attempt("truncate the delivered file", lambda: os.truncate("attachments/data.csv", 0))
attempt("remove the delivered file", lambda: os.remove("attachments/data.csv"))
attempt("rename the delivered file", lambda: os.rename("attachments/data.csv", "mine"))
attempt("link the delivered file", lambda: os.link("attachments/data.csv", "output/data.csv"))
attempt("add a delivered file", lambda: write("attachments/new.csv"))
attempt("remount", remount)
attempt("read the database", lambda: read(data))
attempt("write the database", lambda: write(data))
attempt("remove the database", lambda: os.remove(data))
attempt("read the database by the service's root", lambda: read(f"/proc/{service}/root{data}"))
attempt("list the service's folder", lambda: os.listdir(os.path.dirname(data)))
attempt("read the other session", lambda: read(other))
attempt("list the other session", lambda: os.listdir(os.path.dirname(other)))
attempt("read the service's environment", lambda: read(f"/proc/{service}/environ"))
attempt("read the service's memory", lambda: open(f"/proc/{service}/mem", "rb").close())
attempt("list the service's descriptors", lambda: os.listdir(f"/proc/{service}/fd") and read(f"/proc/{service}/fd/0"))
if facts["parent_is_supervisor"]:
    attempt("read the supervisor's environment", lambda: read(f"/proc/{os.getppid()}/environ"))
    attempt("kill the supervisor", lambda: os.kill(os.getppid(), signal.SIGKILL))
    attempt("trace the supervisor", lambda: ptrace(os.getppid()))
attempt("signal the service", lambda: os.kill(service, signal.SIGCONT))
attempt("trace the service", lambda: ptrace(service))
if facts["abstract"]:
    attempt("connect to an abstract socket", connect_abstract)
attempt("write to the system", lambda: write("/usr/satchel-was-here"))
attempt("read the shadow file", lambda: read("/etc/shadow"))

os.mkfifo("output/pipe")
with open("output/report.md", "w") as file:
    file.write("report")
with open("own", "w") as file:
    file.write("own")
os.link("own", "output/hard")
os.symlink(data, "output/link")
subprocess.Popen(["setsid", "sleep", "1000"])
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.pause()
    os._exit(0)
