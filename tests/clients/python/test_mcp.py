"""The official MCP client in Python operates the gateway's plugins, over HTTP and through `hookway mcp`."""

import asyncio
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import unittest
import urllib.error
import urllib.request

import httpx2
import mcp
from mcp.client.streamable_http import streamable_http_client

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "stage"))

from gateway import BINARY, ROOT, Gateway

TOOLS = "list install activate deactivate uninstall configure executions scan".split()
CONFIG = """
[plugins]
dirs = ["../found"]
"""
# What a client of today asks, and one from before sessions were dropped.
MODES = ("auto", "legacy")


class Operator(unittest.IsolatedAsyncioTestCase):
    def setUp(self):
        self.gateway = self.enterContext(Gateway(CONFIG))
        self.folder = self.gateway.folder
        self.environment = {"HOOKWAY_ADMIN_URL": self.gateway.admin_url, "HOME": str(self.folder)}

    @contextlib.asynccontextmanager
    async def over_http(self, mode):
        headers = {"authorization": f"Bearer {self.gateway.token}"}
        async with httpx2.AsyncClient(headers=headers) as http:
            transport = streamable_http_client(f"{self.gateway.admin_url}/mcp", http_client=http)
            async with mcp.Client(transport, mode=mode) as client:
                yield client

    @contextlib.asynccontextmanager
    async def over_stdio(self, mode):
        server = mcp.StdioServerParameters(
            command=str(BINARY), args=["mcp"], env=self.environment, cwd=str(self.folder)
        )
        async with mcp.Client(server, mode=mode) as client:
            yield client

    def ways(self):
        return [(way, mode) for way in (self.over_http, self.over_stdio) for mode in MODES]

    def plugin(self, name, at="new"):
        """A plugin's folder, made by the command for it."""
        made = self.folder / at
        subprocess.run([BINARY, "plugin", "new", name, "--lang", "python", "--in", made], check=True, stdout=subprocess.DEVNULL)
        return made / name

    async def done(self, client, tool, **arguments):
        result = await client.call_tool(f"plugin_{tool}", arguments)
        self.assertFalse(result.is_error, result)
        # Clients that know no structure read the same as text.
        self.assertEqual(json.loads(result.content[0].text), result.structured_content)
        return result.structured_content

    async def refused(self, client, tool, **arguments):
        result = await client.call_tool(f"plugin_{tool}", arguments)
        self.assertTrue(result.is_error, result)
        return result.content[0].text

    def said(self):
        """What the built-in upstream was told."""
        body = json.dumps({"model": "echo", "messages": [{"role": "user", "content": "It is swordfish."}]}).encode()
        request = urllib.request.Request(
            f"{self.gateway.url}/v1/chat/completions", body, {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)["choices"][0]["message"]["content"]

    async def test_the_tools_say_what_they_take_answer_and_do(self):
        for way, mode in self.ways():
            async with way(mode) as client:
                tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            self.assertEqual(set(tools), {f"plugin_{tool}" for tool in TOOLS})
            for name, tool in tools.items():
                self.assertTrue(tool.title and tool.description, name)
                self.assertEqual(tool.input_schema["additionalProperties"], False, name)
                self.assertEqual(tool.output_schema["type"], "object", name)
                self.assertFalse(tool.annotations.open_world_hint, name)
            self.assertEqual(tools["plugin_activate"].input_schema["required"], ["name"])
            self.assertEqual(tools["plugin_configure"].input_schema["required"], ["name", "config"])
            looks = {name for name, tool in tools.items() if tool.annotations.read_only_hint}
            self.assertEqual(looks, {"plugin_list", "plugin_executions"})
            destroys = {name for name, tool in tools.items() if tool.annotations.destructive_hint}
            self.assertEqual(destroys, {"plugin_uninstall", "plugin_configure"})

    async def test_a_plugin_lives_its_whole_life_by_tools(self):
        for number, (way, mode) in enumerate(self.ways()):
            name = f"mask{number}"
            found = self.plugin(name, "found")
            async with way(mode) as client:
                self.assertIn(name, (await self.done(client, "scan"))["added"])
                shutil.rmtree(found)
                await self.done(client, "uninstall", name=name)

                source = self.plugin(name)
                installed = await self.done(client, "install", path=str(source))
                self.assertEqual([plugin["name"] for plugin in installed["plugins"]], [name])
                self.assertEqual(self.said(), "It is swordfish.")
                self.assertIn("see the whole body", await self.refused(client, "activate", name=name))
                activated = await self.done(client, "activate", name=name, grant=True)
                self.assertEqual((activated["changed"], activated["plugin"]["observed"]["state"]), (True, "active"))
                self.assertEqual(self.said(), "It is ***.")
                await self.done(client, "configure", name=name, config={"replacement": "gone"})
                self.assertEqual(self.said(), "It is gone.")
                listed = (await self.done(client, "list", status="active"))["plugins"]
                self.assertEqual([plugin["name"] for plugin in listed], [name])
                await self.recorded(client, name)
                await self.done(client, "deactivate", name=name)
                self.assertEqual(self.said(), "It is swordfish.")
                await self.done(client, "uninstall", name=name)
                self.assertEqual((await self.done(client, "list"))["plugins"], [])

    async def recorded(self, client, name):
        """Calls are recorded beside the requests, a moment later."""
        for _ in range(100):
            runs = (await self.done(client, "executions", name=name, limit=1))["executions"]
            if runs:
                return self.assertEqual((runs[0]["hook"], runs[0]["outcome"]), ("onRequest", "patch"))
            await asyncio.sleep(0.05)
        self.fail("no call was recorded")

    async def test_what_fails_is_told_in_the_words_of_the_api(self):
        for way, mode in self.ways():
            async with way(mode) as client:
                for tool, arguments, told in [
                    ("activate", {"name": "ghost"}, "ghost"),
                    ("activate", {"nme": "ghost"}, 'did you mean "name"?'),
                    ("list", {"status": "happy"}, "has to be one of"),
                    ("install", {"path": "relative"}, "absolute"),
                    ("configure", {"name": "ghost", "config": []}, "has to be an object"),
                    ("scan", {"deep": True}, "is not known"),
                ]:
                    self.assertIn(told, await self.refused(client, tool, **arguments))
                with self.assertRaises(mcp.MCPError):
                    await client.call_tool("plugin_explode", {})

    def test_without_the_token_nothing_is_said(self):
        for headers in ({}, {"authorization": "Bearer wrong"}):
            request = urllib.request.Request(f"{self.gateway.admin_url}/mcp", b"{}", headers, method="POST")
            with self.assertRaises(urllib.error.HTTPError) as raised:
                urllib.request.urlopen(request, timeout=10)
            raised.exception.close()
            self.assertEqual(raised.exception.code, 401)


class Bridge(unittest.TestCase):
    """`hookway mcp` by its lines."""

    def lines(self, *lines, environment):
        bridge = subprocess.run(
            [BINARY, "mcp"],
            input="".join(f"{line}\n" for line in lines),
            env=os.environ | environment,
            cwd=ROOT / "config",
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual(bridge.returncode, 0, bridge.stderr)
        return [json.loads(line) for line in bridge.stdout.splitlines()], bridge.stderr

    def test_a_gateway_that_is_not_there_is_an_answer_and_not_the_end(self):
        environment = {"HOOKWAY_ADMIN_URL": "http://127.0.0.1:1", "HOOKWAY_ADMIN_TOKEN": "an-admin-token-0123"}
        asked = ['{"jsonrpc":"2.0","id":1,"method":"ping"}', '{"jsonrpc":"2.0","method":"notifications/initialized"}']
        (answer,), told = self.lines(*asked, environment=environment)
        self.assertEqual(answer["id"], 1)
        self.assertIn("no gateway answers at http://127.0.0.1:1", answer["error"]["message"])
        self.assertIn("no gateway answers", told)

    def test_a_line_that_is_no_json_is_told_so(self):
        (answer,), _ = self.lines("hello", environment={"HOOKWAY_ADMIN_TOKEN": "an-admin-token-0123"})
        self.assertEqual((answer["id"], answer["error"]["code"]), (None, -32700))


if __name__ == "__main__":
    unittest.main()
