"""What the documentation shows is run: commands with their output, programs, manifests and configurations.

A fenced block says what becomes of it by its language and the words behind it:

- `console`: each `$ ` command is run, and what follows it is its output, where `…` stands for anything
- any, with `file=PATH` or `append=PATH`: goes into that file
- `python`: is run
- `toml`: is a whole configuration that `hookway check` takes
- `json manifest`: is a plugin.json that `hookway check` takes; other `json` is read
- `rust`: stands in the documentation of the Rust SDK, whose examples are compiled
- `js`: stands at the head of the file that speaks the protocol for plugins in Node.js

A document's blocks follow one another in one folder that looks like the repository after a build, before a gateway
that was started there with the shipped configuration.
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "stage"))

from gateway import BINARY, ROOT, Gateway

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
SHIPPED = ROOT / "config/hookway.toml"
LIBRARY = ROOT / "src/lib.rs"
RUST_SDK = ROOT / "plugins/sdk/rust/src/lib.rs"
NODE_SDK = ROOT / "plugins/templates/node/hookway.mjs"
FENCE = re.compile(r"^```([a-z]*) ?(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# A command, which goes on behind a backslash, and its output.
TRANSCRIPT = re.compile(r"((?:.*\\\n)*.*\n?)([\s\S]*)")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
COMMAND_SECONDS = 60


class Walk:
    """One document's examples, one after the other."""

    def __init__(self, test, gateway):
        self.test, self.gateway, self.folder = test, gateway, gateway.folder

    def prepare(self):
        for plugin in ("redact", "guard", "rescue"):
            shutil.copytree(ROOT / "plugins" / plugin, self.folder / "plugins" / plugin, symlinks=True)
        for program in ("hookway", "hookway-guard"):
            self.place(f"target/release/{program}").symlink_to(BINARY.parent / program)

    def place(self, path):
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        return file

    def block(self, language, words, text):
        attributes = dict(word.partition("=")[::2] for word in words.split())
        if "file" in attributes:
            self.place(attributes["file"]).write_text(text)
        elif "append" in attributes:
            with self.place(attributes["append"]).open("a") as file:
                file.write("\n" + text)
        elif language == "console":
            self.console(text)
        elif language == "python":
            self.run([sys.executable, "-c", self.real(text)])
        elif language == "toml":
            self.check(text)
        elif language == "json" and "manifest" in attributes:
            self.check_manifest(text)
        elif language == "json":
            json.loads(text)
        elif language == "rust":
            code = "".join(f"//! {line}".rstrip() + "\n" for line in text.splitlines())
            self.test.assertIn(code, RUST_SDK.read_text())
        elif language == "js":
            code = "".join(f"//     {line}".rstrip() + "\n" for line in text.splitlines())
            self.test.assertIn(code, NODE_SDK.read_text())
        else:
            self.test.assertIn(language, ("sh", "text", "ini", ""), "a language that nobody runs")

    def console(self, text):
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, output = TRANSCRIPT.match(part).groups()
            said = self.run(["bash", "-c", self.real(command)])
            pattern = ".*".join(re.escape(piece) for piece in output.strip().split("…"))
            self.test.assertRegex(said.strip(), re.compile(f"^{pattern}$", re.DOTALL), f"$ {command}")

    def check(self, config):
        file = self.place("config/checked.toml")
        file.write_text(config)
        self.run([BINARY, "check", "-c", file])

    def check_manifest(self, text):
        manifest = json.loads(text)
        name = manifest["name"]
        self.place(f"checked/{name}/plugin.json").write_text(text)
        if "main" in manifest:
            self.place(f"checked/{name}/{manifest['main']}").touch()
        self.check(f'[[plugin]]\nname = "{name}"\npath = "../checked/{name}"\n')

    def real(self, text):
        """The example, with the addresses of this gateway."""
        data, admin = (url.removeprefix("http://") for url in (self.gateway.url, self.gateway.admin_url))
        return text.replace("127.0.0.1:8080", data).replace("127.0.0.1:8081", admin)

    def run(self, command):
        """What the command said. It has to succeed."""
        ended = subprocess.run(
            command,
            cwd=self.folder,
            env=self.gateway.environment
            | {"OPENAI_API_KEY": "sk-test", "HOOKWAY_ADMIN_URL": self.gateway.admin_url},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
        )
        self.test.assertEqual(ended.returncode, 0, f"{command}\n{ended.stdout}{ended.stderr}\n{self.gateway.log()}")
        return ended.stdout


def names(folder, enum):
    """The words an enum of the gateway has for its variants: the arms `Self::Name => "word"` of its own methods."""
    code = "".join(file.read_text() for file in (ROOT / folder).rglob("*.rs"))
    own = code[code.index(f"impl {enum} {{") :]
    return re.findall(r'Self::\w+ => "(\w+)"', own[: own.index("\n}\n")])


class Documents(unittest.TestCase):
    def test_every_example_does_what_it_shows(self):
        shipped = re.sub(r'"127\.0\.0\.1:808[01]"', '"127.0.0.1:0"', SHIPPED.read_text())
        shipped = shipped.replace('# format = "pretty"', 'format = "json"')
        for document in DOCUMENTS:
            blocks = FENCE.findall(document.read_text())
            walk = Walk(self, Gateway(shipped, own=""))
            walk.prepare()
            with self.subTest(document.name), walk.gateway:
                for language, words, text in blocks:
                    walk.block(language, words, text)

    def test_the_documentation_names_what_the_code_has(self):
        sources = {
            "docs/plugins.md": names("src/hook", "HookName"),
            "docs/failure.md": names("src/hook", "Cause"),
            "docs/protocol.md": names("plugins/wire/src", "FrameType"),
        }
        with Gateway("") as gateway:
            helps = re.findall("^# HELP hookway_(\\w+)", gateway.admin("/metrics"), re.MULTILINE)
            tools = [word for word in names("src/admin/mcp", "ToolName") if word.startswith("plugin_")]
            sources["docs/operations.md"] = helps + tools
        for document, words in sources.items():
            text = (ROOT / document).read_text()
            self.assertTrue(words)
            missing = [word for word in words if not re.search(rf"\b{word}\b", text)]
            self.assertEqual(missing, [], document)

    def test_operators_read_of_every_route(self):
        contract = json.loads((ROOT / "docs/openapi.json").read_text())
        text = (ROOT / "docs/operations.md").read_text()
        ends = [path.removeprefix("/api/plugins/{name}") or path for path in contract["paths"]]
        self.assertTrue(ends)
        self.assertEqual([end for end in ends if f"{end}`" not in text], [])

    def test_the_floors_of_the_architecture_are_those_of_the_code(self):
        told = re.findall(r"^\| (\d+) \| `(\w+)` \|", (ROOT / "ARCHITECTURE.md").read_text(), re.MULTILINE)
        groups = [re.findall(r"^(?:pub )?mod (\w+);", group, re.MULTILINE) for group in LIBRARY.read_text().split("\n\n")]
        floors = enumerate(group for group in groups if group)
        self.assertEqual(told, [(str(floor), name) for floor, group in floors for name in group])

    def test_the_tests_that_hold_invariants_are_there(self):
        text = (ROOT / "ARCHITECTURE.md").read_text()
        invariants = text[text.index("## Invariants") : text.index("## Decisions")]
        code = "".join(file.read_text() for part in ("src", "tests") for file in (ROOT / part).rglob("*.rs"))
        held_by = re.findall(r"`(\w+(?:_\w+){3,})`", invariants)
        self.assertTrue(held_by)
        self.assertEqual([name for name in held_by if f"fn {name}(" not in code], [])

    def test_every_link_leads_somewhere(self):
        for document in DOCUMENTS:
            for target in LINK.findall(document.read_text()):
                with self.subTest(document.name, target=target):
                    self.assertTrue((document.parent / target).exists())


if __name__ == "__main__":
    unittest.main()
