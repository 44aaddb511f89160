"""The least a plugin in Python can do: it is asked, and lets every request pass as it is."""

import hookway

plugin = hookway.Plugin()


@plugin.on_request
def look(call):
    return call.proceed()


plugin.run()
