"""The least a plugin can do: looks at a request and lets it pass."""

import hookway

hookway  # placeholder until the SDK's shape is known
