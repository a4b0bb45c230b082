"""Over v3 with a `cog_` credential: upload, create with `attachment_urls`, poll, read, download, and go on."""

import random

import report
import service

STATUSES = {"new", "claimed", "running", "resuming"}


def test_a_session_over_v3_from_upload_to_a_second_turn(server):
    client = server.v3()
    assert service.good(client.get(server.url + "/v3/self"))["principal_type"] == "service_user"

    first = b"day,units\n2026-01-01,3\n2026-01-02,5\n"
    image = random.Random(1).randbytes(70_000)
    uploads = [client.upload("data.csv", first), client.upload("größe ümlaut.bin", image)]
    for upload, name in zip(uploads, ["data.csv", "größe ümlaut.bin"]):
        assert set(upload) == {"attachment_id", "name", "url"}
        assert upload["name"] == name
        assert upload["url"].startswith(f"{server.url}/attachments/{upload['attachment_id']}/")

    created = client.create("Describe both files.", attachment_urls=[u["url"] for u in uploads], title="two files")
    session_id = created["session_id"]
    assert created["org_id"] == server.org_id
    assert created["title"] == "two files"
    assert created["status"] in STATUSES

    session = settled(client, session_id)
    assert (session["status"], session["status_detail"]) == ("running", "waiting_for_user")
    messages = all_messages(client, session_id)
    assert [m["source"] for m in messages][0] == "user"
    assert service.attachment_urls(messages[0]["message"]) == [u["url"] for u in uploads]
    assert any(m["source"] == "devin" and m["message"].startswith(report.FIRST_SENTENCE) for m in messages)

    assert_delivered(client, session_id, {"data.csv": first, "größe ümlaut.bin": image})
    listed = service.good(client.get(f"/sessions/{session_id}/attachments"))
    assert [a["name"] for a in listed if a["source"] == "user"] == ["data.csv", "größe ümlaut.bin"]
    reports = [a for a in listed if a["source"] == "devin"]
    assert [a["name"] for a in reports] == ["report.md"]
    contents = {a["name"]: client.download(a["url"]) for a in listed}
    assert contents["data.csv"] == first
    assert contents["größe ümlaut.bin"] == image
    assert service.sha256(image) in contents["report.md"].decode()

    second = b"day,units\n2026-01-03,8\n2026-01-04,13\n"
    more = client.upload("data.csv", second)
    service.good(
        client.post(
            f"/sessions/{session_id}/messages",
            json={"message": f'And this one, of the same name.\nATTACHMENT:"{more["url"]}"\n'},
        )
    )
    session = service.until(
        lambda: answered_twice(client, session_id) and settled(client, session_id), 60, "the second turn's answer"
    )
    assert (session["status"], session["status_detail"]) == ("running", "waiting_for_user")
    assert_delivered(client, session_id, {"data.csv": first, "größe ümlaut.bin": image, "data-2.csv": second})
    reports = [
        client.download(a["url"]).decode()
        for a in service.good(client.get(f"/sessions/{session_id}/attachments"))
        if a["source"] == "devin"
    ]
    assert len(reports) == 2
    assert service.sha256(second) in reports[1]
    assert service.sha256(second) not in reports[0]

    # The id is good with its prefix and without, and the older alias is the same route.
    bare = session_id.removeprefix("devin-")
    assert service.good(client.get(f"/sessions/{bare}"))["session_id"] == session_id
    alias = f"{server.url}/v3beta1/organizations/{server.org_id}/sessions/{session_id}"
    assert service.good(client.get(alias))["session_id"] == session_id


def test_a_file_named_wrongly_is_diagnosed_and_an_unknown_one_refused(server):
    client = server.v3()
    upload = client.upload("notes.txt", b"hello\n")
    created = client.create(f'Read it.\nATTACHMENTS:"{upload["url"]}"\n')
    assert [(n["line"], n["corrected"]) for n in created["notices"]] == [(2, f'ATTACHMENT:"{upload["url"]}"')]
    settled(client, created["session_id"])
    receipts = service.good(client.get(f"/sessions/{created['session_id']}/receipts"))
    assert [r for r in receipts if r["source"] == "user"] == []

    unknown = upload["url"].replace(upload["attachment_id"], "01999999-9999-7999-8999-999999999999")
    refused = client.post("/sessions", json={"prompt": f'Read it.\nATTACHMENT:"{unknown}"\n'})
    assert refused.status_code == 422
    assert refused.json()["detail"][0]["loc"] == ["body", "prompt", 2]


def settled(client, session_id):
    return client.settled_v3(session_id)


def answered_twice(client, session_id):
    answers = [m for m in all_messages(client, session_id) if m["message"].startswith(report.FIRST_SENTENCE)]
    return len(answers) >= 2


def all_messages(client, session_id):
    """Every message, page by page with a small page, oldest first."""
    items, after = [], None
    while True:
        page = service.good(client.get(f"/sessions/{session_id}/messages", params={"first": 2, "after": after}))
        items += page["items"]
        if not page["has_next_page"]:
            return items
        after = page["end_cursor"]


def assert_delivered(client, session_id, files):
    receipts = service.good(client.get(f"/sessions/{session_id}/receipts"))
    user = [r for r in receipts if r["source"] == "user"]
    assert {r["state"] for r in user} == {"delivered"}, receipts
    assert {r["path"]: (r["sha256"], r["size"]) for r in user} == {
        f"attachments/{name}": (service.sha256(content), len(content)) for name, content in files.items()
    }
