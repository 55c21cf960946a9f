"""To JSON Schema 1.0 is an integer, and to the server it is none: whole numbers are sent as such.
And a 500 of an invocation has to be the function's own failure."""

import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):
    case.body = whole(case.body)


def whole(value):
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: whole(member) for name, member in value.items()}
    if isinstance(value, list):
        return [whole(item) for item in value]
    return value


@schemathesis.check
def a_500_is_the_functions_own(ctx, response, case):
    if response.status_code == 500:
        code = response.json()["error"]["code"]
        assert code == "EXECUTION_ERROR", f"a failure of the server: {code}"
