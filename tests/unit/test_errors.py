import pickle

import pytest

import limes
from limes import _native, errors


def test_every_kind_of_the_core_has_its_own_exception():
    kinds = [row[0] for row in _native.error_kinds()]
    classes = {kind: type(errors.from_native(kind, "op", "message", {})) for kind in kinds}
    assert [cls.kind for cls in classes.values()] == kinds
    assert len(set(classes.values())) == len(kinds)


def test_every_exception_is_public():
    for cls in errors.LimesError.__subclasses__():
        assert getattr(limes, cls.__name__) is cls


def test_the_numbers_are_those_of_the_core():
    for name, status, exit_code, retryable in _native.error_kinds():
        error = errors.from_native(name, "op", "message", {})
        assert (error.http_status, error.exit_code, error.retryable) == (status, exit_code, retryable)


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [("timeout", TimeoutError), ("invalid_argument", ValueError), ("io", OSError)],
)
def test_a_kind_python_knows_is_caught_as_python_s(kind: str, builtin: type[Exception]):
    with pytest.raises(builtin, match=r"^what happened$"):
        raise errors.from_native(kind, "op", "what happened", {})


def test_an_error_crosses_http_unchanged():
    sent = errors.from_native("limit_exceeded", "invoke", "too much", {"limit": "memory", "allowed": "10"})
    received = errors.from_http(sent.to_json(), sent.http_status)
    assert type(received) is errors.LimitExceeded
    assert received.to_json() == sent.to_json()


def test_an_error_crosses_processes_unchanged():
    sent = errors.from_native("guest_trap", "invoke", "unreachable", {"backtrace": "0: f"})
    received = pickle.loads(pickle.dumps(sent))
    assert type(received) is errors.GuestTrap
    assert received.to_json() == sent.to_json()


@pytest.mark.parametrize("payload", [None, [], {}, {"error": 3}, {"error": {"kind": "unheard_of"}}])
def test_an_answer_that_is_not_ours_still_becomes_the_error_of_its_status(payload: object):
    assert type(errors.from_http(payload, 404)) is errors.NotFound
    assert type(errors.from_http(payload, 418)) is errors.InternalError


def test_the_table_for_the_reference_has_a_row_for_each_kind():
    rows = errors.markdown_table().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == [row[0] for row in _native.error_kinds()]
