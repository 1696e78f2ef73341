"""`dispatcher echo`."""

from typing import Annotated

import typer

from dispatcher.cli.api import Url, call_json
from dispatcher.cli.console import out
from dispatcher.cli.moments import At, In, moment
from dispatcher.kernel.errors import InvalidRequestError


def echo(
    message: Annotated[str, typer.Argument(help="The text, 1 to 4,096 characters.")],
    *,
    at: At = None,
    in_: In = None,
    json: Annotated[bool, typer.Option("--json", help="The API's answer as it is, for programs.")] = False,
    url: Url = None,
) -> None:
    """Print a text on the console of the service at a time, once, on one of its replicas.

    Its id is printed, and the time as the service understood it. The text waits in the database until then, whatever
    is restarted: `dispatcher move` gives it another time, `dispatcher cancel` takes it back.

    Examples:
      dispatcher echo "Hello" --in 10s
      dispatcher echo "Dinner is ready" --at 2030-12-24T18:00:00+03:00
      dispatcher echo "Hello" --at $(( $(date +%s) + 5 ))
    """
    try:
        message.encode()
    except UnicodeEncodeError:
        raise InvalidRequestError("the text has a character that is not valid Unicode") from None
    answer = call_json("POST", "/echoAtTime", url=url, body={"time": moment(at, in_), "message": message})
    if json:
        out.print_json(data=answer)
    else:
        out.print(f"{answer['id']} is due at {answer['time']}", markup=False)
