"""`schemathesis` against the service: with the documentation's own OpenAPI documents, and with the service's.

No server error, no status that the document does not name, no content type and no shape that differs. The
documentation's pages leave out the path parameter `org_id`, which is declared here and set to a real
organisation, and three statuses that every service of this kind answers: 401, 403 and 413.
"""

import subprocess
from pathlib import Path

import pytest
import requests
import yaml

import service

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
EXAMPLES = 400 if service.FULL else 40
HERE = Path(__file__).parent

pytestmark = pytest.mark.timeout(3600)


@pytest.mark.parametrize("version", ["v1", "v3"])
def test_the_documented_page_holds(server, tmp_path, version):
    document = yaml.safe_load((HERE / f"seed-{version}.yaml").read_text())
    for path, item in document["paths"].items():
        if "{org_id}" in path:
            org = {"name": "org_id", "in": "path", "required": True, "schema": {"type": "string", "enum": [server.org_id]}}
            item["post"]["parameters"] = [org]
        for status in ("401", "403", "413"):
            item["post"]["responses"][status] = {"description": "left out of the page"}
    run_schemathesis(server, version, document, tmp_path)


@pytest.mark.parametrize("version", ["v1", "v3"])
def test_the_services_own_document_holds(server, tmp_path, version):
    answer = requests.get(f"{server.url}/{version}-openapi.yaml", timeout=30)
    assert answer.status_code == 200
    document = yaml.safe_load(answer.text)
    assert document["openapi"] == "3.1.0"
    seed = yaml.safe_load((HERE / f"seed-{version}.yaml").read_text())
    for path, item in seed["paths"].items():
        ours = document["paths"][path]["post"]
        assert ours["operationId"] == item["post"]["operationId"]
        assert ours["requestBody"] == item["post"]["requestBody"]
        assert subset(item["post"]["responses"]["200"], ours["responses"]["200"])
        assert ours["responses"]["422"]["content"] == item["post"]["responses"]["422"]["content"]
    schemas = document["components"]["schemas"]
    for name, schema in seed["components"]["schemas"].items():
        assert subset(schema, schemas[name]), f"{name}: {schemas[name]}"
    name_real_organisation(document, server.org_id)
    end_streams(document)
    run_schemathesis(server, version, document, tmp_path)


def subset(wanted, found):
    """Whether `found` says all that `wanted` says; it may say more, descriptions for example."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(key in found and subset(value, found[key]) for key, value in wanted.items())
    return wanted == found


def name_real_organisation(document, org_id):
    """Lets half of the calls reach the real organisation; ids that do not exist are tried as well."""
    for item in document["paths"].values():
        for holder in [item, *(value for value in item.values() if isinstance(value, dict))]:
            for parameter in holder.get("parameters", []):
                if (parameter.get("name"), parameter.get("in")) == ("org_id", "path"):
                    parameter["schema"] = {"anyOf": [{"enum": [org_id]}, parameter["schema"]]}


def end_streams(document):
    """A stream of events stays open as long as its session; the calls ask for what has happened so far."""
    for item in document["paths"].values():
        for parameter in item.get("get", {}).get("parameters", []):
            if (parameter["name"], parameter["in"]) == ("until", "query"):
                parameter.update(required=True, schema={"enum": ["now"]})


def run_schemathesis(server, version, document, folder):
    schema = folder / f"{version}-openapi.yaml"
    schema.write_text(yaml.safe_dump(document))
    key = {"v1": server.personal_key, "v3": server.service_user_token}[version]
    done = subprocess.run(
        [
            service.TOOLS / "venv/bin/schemathesis",
            "--no-color",
            "run",
            schema,
            f"--url={server.url}",
            f"--header=Authorization: Bearer {key}",
            f"--checks={CHECKS}",
            "--phases=examples,coverage,fuzzing",
            f"--max-examples={EXAMPLES}",
            "--continue-on-failure",
            "--generation-database=none",
            "--seed=20261122",
            "--suppress-health-check=all",
            "--warnings=off",
            "--request-timeout=30",
        ],
        cwd=folder,
        env=service.clean_environment(),
        capture_output=True,
        text=True,
        timeout=3600,
    )
    if done.returncode != 0:
        pytest.fail((done.stdout + done.stderr).replace(key, "KEY")[-12000:], pytrace=False)
    assert requests.get(server.url + "/health/ready", timeout=10).status_code == 200
