"""The fixtures of the tests with real clients: a service of one's own, or one shared by a file's tests."""

import pytest

import service

LIVE = []


@pytest.fixture(scope="session", autouse=True)
def _the_binary_is_there():
    if not service.BINARY.exists():
        pytest.exit(f"{service.BINARY} is missing: build it with cargo build --release, or set SATCHEL_BIN", returncode=1)


@pytest.fixture
def start(tmp_path):
    """Starts services: `start()`, `start(config="lenient_references = true")`; all are ended after the test."""
    started = []

    def start_one(config="", data=None, environment=None):
        folder = data or tmp_path / f"data-{len(started)}"
        started.append(service.Satchel(folder, config, environment))
        LIVE.append(started[-1])
        return started[-1]

    yield start_one
    end_all(started)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One service on the defaults, shared by the tests of a file."""
    one = service.Satchel(tmp_path_factory.mktemp("service") / "data")
    LIVE.append(one)
    yield one
    end_all([one])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Adds the end of each running service's log to the report of a test that failed."""
    report = yield
    if report.failed:
        report.sections += [(f"log of the service on {one.data}", one.log_tail()) for one in LIVE]
    return report


def end_all(services):
    """Ends every service first, then judges: a service that crashed or hung fails the test that it served."""
    statuses = [one.stop() for one in services]
    for one in services:
        LIVE.remove(one)
    logs = "\n".join(one.log_tail() for one in services)
    assert not any(statuses), f"a service ended badly, exit statuses {statuses}\n{logs}"
