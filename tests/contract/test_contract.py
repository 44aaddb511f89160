"""The admin API held against its own document: requests made from it, right and wrong ones, on the real gateway.

No answer has a status or a shape that the document does not name, none is a server error, wrong requests are refused,
and no route is served without the token.
"""

import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "stage"))

from gateway import ROOT, Gateway

CONFIG = f"""
[[plugin]]
name = "redact"
path = "{ROOT}/plugins/redact"
"""
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
    "use_after_free",
)
# Cases per route, and the same ones each time: a test that fails does so again.
CASES = 20
SECONDS = 60


class Contract(unittest.TestCase):
    def test_the_admin_api_answers_as_its_document_says(self):
        with Gateway(CONFIG) as gateway:
            ended = subprocess.run(
                [
                    pathlib.Path(sys.executable).with_name("schemathesis"),
                    *("--no-color", "run", f"{gateway.admin_url}/openapi.json"),
                    *("--header", f"Authorization: Bearer {gateway.token}"),
                    *("--checks", ",".join(CHECKS)),
                    *("--max-examples", str(CASES), "--generation-deterministic"),
                    *("--phases", "examples,coverage,fuzzing", "--workers", "2", "--request-timeout", "10"),
                    # The stream of events does not end.
                    *("--exclude-path", "/api/events", "--warnings", "off"),
                ],
                cwd=gateway.folder,
                capture_output=True,
                text=True,
                timeout=SECONDS,
            )
            self.assertEqual(ended.returncode, 0, f"{ended.stdout}\n{ended.stderr}")


if __name__ == "__main__":
    unittest.main()
