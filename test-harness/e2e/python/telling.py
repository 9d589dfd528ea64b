"""How the clients of the interoperability matrix print what they were told."""

import json
import sys
from importlib.metadata import version

# The most that is printed of an exception.
SHOWN = 300


def main(package, tell):
    """Asks each endpoint of the command line, and prints the client's version and what it was told by each."""
    told = [tell(endpoint) for endpoint in sys.argv[1:]]
    name = f"Python's {package}" if package in sys.stdlib_module_names else f"{package} {version(package)}"
    print(json.dumps({"package": name, "told": told}))


def each(calls):
    """What each of the calls returned, or raised."""
    return {name: attempt(call) for name, call in calls.items()}


async def each_awaited(calls):
    """The same of coroutine functions."""
    told = {}
    for name, call in calls.items():
        try:
            told[name] = await call()
        except Exception as error:
            told[name] = raised(error)
    return told


def attempt(call):
    try:
        return call()
    except Exception as error:
        return raised(error)


def raised(error):
    return {"raised": f"{type(error).__name__}: {error}"[:SHOWN]}
