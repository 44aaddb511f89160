"""The least a plugin in Python can do: it is asked, and lets every request pass as it is."""

import hookway

plugin = hookway.Plugin(threads=0)


@plugin.on_request
def look(call):
    return call.proceed()


plugin.run()
