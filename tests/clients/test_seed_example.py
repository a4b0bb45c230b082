"""The documentation's own Python example, with nothing changed but the host, to the end.

Both forms: `response.text` as printed there, whose prompt line then reads `ATTACHMENT:""url""`, and
`response.json()`. The figures of the report are compared with ones computed here.
"""

import csv
import io
import random
import statistics

import pytest

import report
import service

EXAMPLE = '''\
import os
import requests

DEVIN_API_KEY = os.getenv("DEVIN_API_KEY")

# Step 1: Upload the file
with open("data.csv", "rb") as f:
    response = requests.post(
        "https://api.devin.ai/v1/attachments",
        headers={"Authorization": f"Bearer {DEVIN_API_KEY}"},
        files={"file": f}
    )
file_url = response.text

# Step 2: Create a session that references the uploaded file
session_response = requests.post(
    "https://api.devin.ai/v1/sessions",
    headers={"Authorization": f"Bearer {DEVIN_API_KEY}"},
    json={
        "prompt": f"""Please analyze the data in the attached CSV file and create a summary report.
Focus on identifying trends and key insights.

ATTACHMENT:"{file_url}"
"""
    }
)

print(session_response.json())
'''
STATUSES = {"working", "blocked", "finished"}


@pytest.mark.parametrize("answer", ["response.text", "response.json()"])
@pytest.mark.parametrize("kind", ["personal_key", "service_key"])
def test_the_documented_example_brings_back_a_report(server, tmp_path, monkeypatch, capsys, answer, kind):
    key = getattr(server, kind)
    data = example_csv(seed=f"{answer} {kind}")
    (tmp_path / "data.csv").write_bytes(data)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEVIN_API_KEY", key)

    code = EXAMPLE.replace("https://api.devin.ai", server.url).replace("response.text", answer)
    names = {}
    exec(compile(code, "the documented example", "exec"), names)

    created = names["session_response"].json()
    assert names["session_response"].status_code == 200, created
    assert str(created) in capsys.readouterr().out
    assert created["session_id"].startswith("devin-")
    assert created["is_new_session"] is True
    assert not created.get("notices"), "the documented form needs no notice"
    file_url = names["file_url"].strip('"')

    client = server.v1(key)
    session = settled_through_documented_statuses(client, created["session_id"])
    assert session["status_enum"] == "blocked"

    receipts = service.good(client.get(f"/sessions/{created['session_id']}/receipts"))
    assert [(r["state"], r["path"], r["sha256"], r["size"], r["source"]) for r in receipts if r["source"] == "user"] == [
        ("delivered", "attachments/data.csv", service.sha256(data), len(data), "user")
    ]
    assert receipts[0]["url"] == file_url

    first, *others = session["messages"]
    assert first["type"] == "initial_user_message"
    answers = [m["message"] for m in others if m["type"] == "devin_message"]
    assert any(a.startswith(report.FIRST_SENTENCE) for a in answers), answers
    results = [url for a in answers for url in service.attachment_urls(a)]
    assert [url.rsplit("/", 1)[1] for url in results] == ["report.md"]
    assert_figures(client.download(results[0]).decode(), data)
    assert client.download(file_url) == data


def settled_through_documented_statuses(client, session_id):
    seen = []

    def look():
        seen.append(service.good(client.get(f"/sessions/{session_id}")))
        return seen[-1] if seen[-1]["status_enum"] in ("blocked", "finished") else None

    session = service.until(look, 60, f"the end of {session_id}")
    assert {s["status_enum"] for s in seen} <= STATUSES
    return session


def example_csv(seed):
    """120 rows: a day, a region, whole units that rise, and a price in quarters, whose sums are exact."""
    chance = random.Random(seed)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["day", "region", "units", "price"])
    for row in range(120):
        day = f"2026-{row // 28 + 1:02}-{row % 28 + 1:02}"
        region = chance.choice(["north", "south", "east, west"])
        rows.writerow([day, region, 10 * row + chance.randrange(8), chance.randrange(1, 4000) / 4])
    return text.getvalue().encode()


def assert_figures(text, data):
    """Compares each figure of the report with one computed here by other means."""
    rows = list(csv.DictReader(io.StringIO(data.decode())))
    found = report.read(text)
    assert (found.rows, found.columns) == (120, 4)
    assert service.sha256(data) in text
    for column in ("units", "price"):
        values = [float(row[column]) for row in rows]
        figures = found.column(column)
        assert figures["type"] == ("integer" if column == "units" else "number")
        assert float(figures["minimum"]) == min(values)
        assert float(figures["maximum"]) == max(values)
        assert float(figures["sum"]) == sum(values)
        assert float(figures["mean"]) == pytest.approx(statistics.fmean(values), rel=1e-9)
        assert float(figures["standard deviation"]) == pytest.approx(statistics.stdev(values), rel=1e-8)
        assert float(figures["distinct"]) == len(set(values))
    assert found.column("day")["minimum"] == min(row["day"] for row in rows)
    assert found.column("day")["maximum"] == max(row["day"] for row in rows)
    assert found.column("day")["type"] == "date"
    assert found.column("region")["type"] == "text"
    assert found.column("units")["trend"].startswith("rising")
