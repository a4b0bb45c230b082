"""A foreign program as an agent: it does its job, and it tries to get out. Not a test; a profile names it.

It reads the prompt from standard input, in which one line is a JSON object of what to attack, prints the SHA-256
of the first attached file, and writes what it tried into `output/attempts.json`: for each attempt whether it
succeeded, with a word on how it went. It uses nothing but Python's own library.
"""

import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

ATTACHMENTS = Path("attachments")
OUTPUT = Path("output")


def main():
    plan = json.loads(next(line for line in sys.stdin if line.startswith("{")))
    first = sorted(p for p in ATTACHMENTS.iterdir() if p.name != "MANIFEST.json")[0]
    content = first.read_bytes()
    if plan.get("leave_children"):
        leave_children(plan["leave_children"])
    if plan.get("swap_output_for"):
        swap_output(plan["swap_output_for"])
    else:
        attempts = {name: attempt(action) for name, action in attacks(plan, first).items()}
        attempts["the file changed"] = ["yes" if first.read_bytes() != content else "no", str(first)]
        OUTPUT.mkdir(exist_ok=True)
        (OUTPUT / "attempts.json").write_text(json.dumps(attempts, indent=1))
    print(f"sha256={hashlib.sha256(content).hexdigest()}")


def attempt(action):
    """`["yes", how]` when the attack got anywhere, else `["no", why]`."""
    try:
        return ["yes", str(action())[:200]]
    except (OSError, PermissionError) as error:
        return ["no", type(error).__name__]


def attacks(plan, first):
    """Every attack by name; one that returns has succeeded, one that raises OSError has failed."""
    found = {
        "overwrite the delivered file": lambda: first.write_bytes(b"changed"),
        "append to the delivered file": lambda: open(first, "ab").write(b"changed"),
        "make the delivered file writable and overwrite it": lambda: made_writable(first),
        "remove the delivered file": first.unlink,
        "rename the delivered file": lambda: first.rename(OUTPUT / "taken"),
        "add a file beside the delivered one": lambda: (first.parent / "planted").write_bytes(b"x"),
        "overwrite the manifest": lambda: (first.parent / "MANIFEST.json").write_text("[]"),
        "read a service's environment": lambda: environment_with(plan["canary"]),
        "find the canary in the own environment": lambda: own_environment(plan["canary"]),
        "signal the service": lambda: signalled(plan["pid"]),
    }
    for path in plan["read"]:
        found[f"read {path}"] = lambda path=path: readable(Path(path))
    for path in plan["write"]:
        found[f"write {path}"] = lambda path=path: (Path(path) / "planted").write_bytes(b"x")
    return found


def made_writable(path):
    os.chmod(path.parent, 0o755)
    os.chmod(path, stat.S_IRUSR | stat.S_IWUSR)
    return path.write_bytes(b"changed")


def readable(path):
    """What a file holds or a folder lists; an empty folder or one that is not there is no success."""
    found = sorted(os.listdir(path)) if path.is_dir() else path.read_bytes()[:50]
    if not found:
        raise FileNotFoundError(path)
    return found


def environment_with(canary):
    """Which process's environment holds the canary."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if canary.encode() in (entry / "environ").read_bytes():
                    return entry
            except OSError:
                continue
    raise FileNotFoundError("no such environment")


def own_environment(canary):
    if canary in json.dumps(dict(os.environ)):
        return "inherited"
    raise FileNotFoundError("not inherited")


def signalled(pid):
    """Whether the service can be reached by a signal; a process of the same number that is not it does not count."""
    if b"serve" not in Path(f"/proc/{pid}/cmdline").read_bytes():
        raise FileNotFoundError("not the service")
    os.kill(pid, 0)
    return pid


def leave_children(marker):
    """Processes that outlive their parent unless somebody ends them: own sessions, and a grandchild."""
    sleep = [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(900)", marker]
    subprocess.Popen(sleep, start_new_session=True)
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.Popen(sleep, start_new_session=True, **quiet)
    if os.fork() == 0:
        os.setsid()
        subprocess.Popen(sleep, **quiet)
        os._exit(0)


def swap_output(target):
    """Puts a link in the place of `output/`."""
    OUTPUT.rename("output-before")
    OUTPUT.symlink_to(target)


main()
